"""Runs jobs on a board: reads requests and writes results as JSON lines over stdio."""
