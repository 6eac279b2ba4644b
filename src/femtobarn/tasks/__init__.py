"""Tasks: one folder for each question that a model answers."""
