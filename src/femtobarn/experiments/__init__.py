"""Experiments: one YAML, checked before a file is opened."""
