"""Errors of choosing and installing a runtime.

DeviceError (devices.errors)  exit 10
├── NoRuntimeFits             exit 8   no runtime, or not the one asked for, can work on this board
├── WheelError                exit 8   a wheel could not be downloaded, or is not what it was before
└── SetupError                exit 10  the board refused the installation, or the runtime failed its check there
"""

from __future__ import annotations

from devices.errors import DeviceError


class NoRuntimeFits(DeviceError):  # noqa: N818  (what was found out, not a fault)
    """No runtime can work on the board; `reasons` says of each runtime why not, the hint what would change it."""

    exit_code = 8

    def __init__(self, message: str, *, reasons: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons


class WheelError(DeviceError):
    """A wheel could not be downloaded, or is not what it was at first download."""

    exit_code = 8


class SetupError(DeviceError):
    """The board refused the installation or the runtime failed its check there; what was installed before serves on."""
