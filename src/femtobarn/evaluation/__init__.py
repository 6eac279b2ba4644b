"""What the metrics of every task share: measurements with errors, bootstrap, tables."""
