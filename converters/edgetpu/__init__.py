"""Google's Edge TPU: what its compiler will map, the graphs it takes, running it, and what is in the files it makes."""

from converters.edgetpu.compiled import CompiledReport, compiled_report
from converters.edgetpu.mapping import TARGET, Forecast, forecast

__all__ = ["TARGET", "CompiledReport", "Forecast", "compiled_report", "forecast"]
