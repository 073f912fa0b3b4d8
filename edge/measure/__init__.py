"""Plans, windows, statistics, validity: from a running model to a measurement."""
