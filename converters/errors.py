"""The root of all errors, and the errors of the converters.

EdgeError                     exit 1   anything a user should read as a message, not a traceback
├── MissingPartError          exit 8   a package or program that is needed is not installed
└── ConverterError            exit 6   base of the converters
    ├── SourceError           exit 3   the model to convert is missing, unreadable or of the wrong type
    ├── ModelFileError        exit 4   a .tflite file is damaged or uses unsupported features
    ├── PreprocessingError    exit 5   a preprocessing contradicts itself, or a picture does not fit it
    ├── CalibrationError      exit 5   the calibration set is empty or does not fit the model's input
    ├── ConversionError       exit 6   TensorFlow Lite could not convert the model
    ├── NotCuttable           exit 5   a model cannot be cut, or not into so many pieces; the message says why
    ├── ParityError           exit 7   a variant differs from the Keras model by more than its stated tolerance
    └── WriteError            exit 13  a file could not be written (disk full, no permission)

Every room's tree starts at EdgeError: edge/errors.py, edge/runtime/errors.py, devices/errors.py,
firmware_tools/errors.py.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Root of every error that a user reads as a message: `exit_code` ends the command, `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class MissingPartError(EdgeError):
    """A package or program that is needed is not installed."""

    exit_code = 8


class ConverterError(EdgeError):
    """Base of the converters' errors."""

    exit_code = 6


class SourceError(ConverterError):
    """The model to convert is missing, unreadable or of the wrong type."""

    exit_code = 3


class ModelFileError(ConverterError):
    """A .tflite file is damaged or uses unsupported features."""

    exit_code = 4


class PreprocessingError(ConverterError):
    """A preprocessing contradicts itself, or a picture does not fit it."""

    exit_code = 5


class CalibrationError(ConverterError):
    """The calibration set is empty or does not fit the model's input."""

    exit_code = 5


class ConversionError(ConverterError):
    """TensorFlow Lite could not convert the model."""

    exit_code = 6


class NotCuttable(ConverterError):  # noqa: N818  (what the model is, not a fault)
    """A model cannot be cut, or not into so many pieces."""

    exit_code = 5


class ParityError(ConverterError):
    """A variant differs from the Keras model by more than its stated tolerance."""

    exit_code = 7


class WriteError(ConverterError):
    """A file could not be written."""

    exit_code = 13
