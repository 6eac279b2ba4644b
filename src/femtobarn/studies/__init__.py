"""Studies: many runs, side by side or tuned, here or on a cluster."""
