"""Provides Keras definitions of CNNs by name, their facts as data, and their weights.

Importing this package loads neither TensorFlow nor Keras; `build` does.
"""

from edge.models.catalog import ModelSpec
from edge.models.registry import arguments_of, build, register, spec_of, specs

__all__ = ["ModelSpec", "arguments_of", "build", "register", "spec_of", "specs"]
