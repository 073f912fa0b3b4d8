"""Renders results: measurements as HTML, Markdown or JSON, and everything that is printed on a terminal."""
