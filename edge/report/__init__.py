"""Measurements to JSON, Markdown and one self-contained HTML page."""
