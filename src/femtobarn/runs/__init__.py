"""Runs: one experiment in one folder, and everything that is done with a finished one."""
