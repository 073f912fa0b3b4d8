"""Prepares a board over its serial console: logs in, sets its name and key, and starts the bridge."""
