"""Inspects .tflite files: operators, parameters, work, size, sparsity, quantization, memory."""
