"""Errors of cutting.

ConverterError
└── NotCuttable           exit 5   the model cannot be cut, or not into so many pieces; the message says why
"""

from __future__ import annotations

from converters.errors import ConverterError


class NotCuttable(ConverterError):  # noqa: N818  (what the model is, not a fault)
    """The model cannot be cut, or not into so many pieces."""

    exit_code = 5
