"""Builds the charts of the report as Vega-Lite specifications."""
