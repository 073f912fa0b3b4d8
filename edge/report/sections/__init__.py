"""Builds the sections of the report as values, before they are HTML or Markdown."""
