"""Formats of event files: one reader per format, and what the readers share."""
