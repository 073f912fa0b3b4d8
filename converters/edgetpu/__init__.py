"""Google's Edge TPU: what its compiler will map, the graphs it takes, running it, and what is in the files it makes."""

from converters.edgetpu.compiled import CompiledReport, describe_compiled
from converters.edgetpu.mapping import TARGET, MappingPrediction, predict_mapping

__all__ = ["TARGET", "CompiledReport", "MappingPrediction", "describe_compiled", "predict_mapping"]
