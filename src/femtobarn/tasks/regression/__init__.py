"""Regression: the value of numeric columns of an event."""
