"""Keras definitions of CNNs by name, their facts as data, their weights.

Importing this package loads neither TensorFlow nor Keras; `build` does.
"""

from edge.models.catalog import register_builtin
from edge.models.registry import ModelSpec, arguments_of, build, register, spec_of, specs

register_builtin()

__all__ = ["ModelSpec", "arguments_of", "build", "register", "spec_of", "specs"]
