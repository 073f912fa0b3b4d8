"""Predicts what Google's Edge TPU compiler maps, adapts graphs to it, runs it, and reads the files it writes."""

from converters.edgetpu.compiled import CompiledReport, describe_compiled
from converters.edgetpu.mapping import TARGET, MappingPrediction, predict_mapping

__all__ = ["TARGET", "CompiledReport", "MappingPrediction", "describe_compiled", "predict_mapping"]
