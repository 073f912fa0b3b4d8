"""Load TensorFlow and Keras once, without the lines that native code writes while it looks for devices."""

from __future__ import annotations

import os
from typing import Any

from converters.capture_output import capture_output
from converters.optional_packages import import_optional


def start_keras() -> Any:  # noqa: ANN401  (the module keras)
    """Return the module keras, its TensorFlow backend ready.

    Raises:
        MissingPartError: TensorFlow or Keras is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with capture_output():
        tensorflow = import_optional("tensorflow", "tensorflow", "training")
        tensorflow.config.list_logical_devices()
        return import_optional("keras", "keras", "training")
