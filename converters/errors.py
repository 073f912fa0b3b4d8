"""Errors of the converters.

ConverterError            exit 6   base
├── SourceError           exit 3   the model to convert is missing, unreadable or of the wrong type
├── ModelFileError        exit 4   a .tflite file is damaged or uses what cannot be read
├── CalibrationError      exit 5   the calibration set is empty or does not fit the model's input
├── ConversionError       exit 6   TensorFlow Lite could not convert the model
├── ParityError           exit 7   a variant differs from the Keras model by more than its stated tolerance
├── ToolMissingError      exit 8   a program that is no part of the project is needed and not there
└── WriteError            exit 13  a file could not be written (disk full, no permission)
"""

from __future__ import annotations


class ConverterError(Exception):
    """Base of the tree; `hint` says what to do next."""

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SourceError(ConverterError):
    """The model to convert is missing, unreadable or of the wrong type."""

    exit_code = 3


class ModelFileError(ConverterError):
    """A .tflite file is damaged or uses what cannot be read."""

    exit_code = 4


class CalibrationError(ConverterError):
    """The calibration set is empty or does not fit the model's input."""

    exit_code = 5


class ConversionError(ConverterError):
    """TensorFlow Lite could not convert the model."""

    exit_code = 6


class ParityError(ConverterError):
    """A variant differs from the Keras model by more than its stated tolerance."""

    exit_code = 7


class ToolMissingError(ConverterError):
    """A program that is no part of the project is needed and not there."""

    exit_code = 8


class WriteError(ConverterError):
    """A file could not be written."""

    exit_code = 13
