"""Errors of choosing and installing a runtime.

DeviceError (devices.errors)  exit 10
├── NoRuntimeFits             exit 8   no runtime, or not the one asked for, can work on this board
├── WheelError                exit 8   a wheel could not be downloaded, or has changed since its first download
└── SetupError                exit 10  the board refused the installation, or the runtime failed its check there
"""

from __future__ import annotations

from devices.errors import DeviceError


class NoRuntimeFits(DeviceError):  # noqa: N818  (a result, not a fault)
    """No runtime can work on the board; `reasons` has the reason for each runtime, the hint what would change that."""

    exit_code = 8

    def __init__(self, message: str, *, reasons: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons


class WheelError(DeviceError):
    """A wheel could not be downloaded, or has changed since its first download."""

    exit_code = 8


class SetupError(DeviceError):
    """The board refused the installation or the runtime failed its check; the previous runtime stays in use."""
