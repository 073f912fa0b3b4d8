"""Inspects .tflite files: operators, parameters, work, size, sparsity, quantization, memory."""

from converters.inspection.inspect import inspect, inspect_model
from converters.inspection.inspection_values import Inspection

__all__ = ["Inspection", "inspect", "inspect_model"]
