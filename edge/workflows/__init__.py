"""Implements the commands that use several packages: convert, run, deploy and split."""
