"""Errors of the host side of `edge`.

EdgeError                 exit 1   anything a user should read as a message, not a traceback
├── InputError            exit 3   a file or name the user gave is missing, unreadable or of the wrong type
├── DataError             exit 5   a data source is empty, of the wrong shape, or its labels do not fit
├── MeasurementInvalid    exit 11  a measurement broke a validity rule and --strict was asked for
├── RegressionFound       exit 12  `edge compare` found the second measurement slower than allowed
└── OutputError           exit 13  a result could not be written (disk full, no permission)
"""

from __future__ import annotations

from converters.errors import EdgeError, MissingPartError

__all__ = [
    "DataError",
    "EdgeError",
    "InputError",
    "MeasurementInvalid",
    "MissingPartError",
    "OutputError",
    "RegressionFound",
]


class InputError(EdgeError):
    """A file or name the user gave is missing, unreadable or of the wrong type."""

    exit_code = 3


class DataError(EdgeError):
    """A data source is empty, of the wrong shape, or its labels do not fit the model."""

    exit_code = 5


class MeasurementInvalid(EdgeError):  # noqa: N818  (the field's word is a verdict, not an error)
    """A measurement broke a validity rule and the user asked for strictness."""

    exit_code = 11


class RegressionFound(EdgeError):  # noqa: N818
    """The second measurement is slower than the first by more than was allowed."""

    exit_code = 12


class OutputError(EdgeError):
    """A result could not be written."""

    exit_code = 13
