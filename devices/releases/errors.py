"""Errors of releases. After each of them, the previous release is still current.

DeviceError                  exit 10  see devices/errors.py
└── ReleaseError             exit 10  the board refused a step
    ├── UnknownReleaseError  exit 3   no release of that name, or none to go back to
    ├── BusyError            exit 10  somebody else is deploying to this board
    ├── FullError            exit 10  no space is left on the board
    ├── DamagedError         exit 10  a file on the board is not what was deployed
    └── GoldenError          exit 14  the model's outputs on the board differ from those here
"""

from __future__ import annotations

from collections.abc import Mapping

from devices.errors import DeviceError
from devices.messages.upload_jobs import StepRefusal


class ReleaseError(DeviceError):
    """The board refused a step of a deployment."""


class UnknownReleaseError(ReleaseError):
    """There is no release of that name, or none to go back to."""

    exit_code = 3


class BusyError(ReleaseError):
    """Somebody else is deploying to this board."""


class FullError(ReleaseError):
    """No space is left on the board."""


class DamagedError(ReleaseError):
    """A file on the board is not what was deployed."""


class GoldenError(ReleaseError):
    """The model's outputs on the board differ from those on this machine."""

    exit_code = 14


_KINDS: Mapping[str, type[ReleaseError]] = {
    "unknown": UnknownReleaseError,
    "busy": BusyError,
    "full": FullError,
    "damaged": DamagedError,
}


def refusal_error(device: str, refusal: StepRefusal) -> ReleaseError:
    """Return the error for what a board's agent refused."""
    kind, hint = _KINDS.get(refusal.kind, ReleaseError), refusal.hint
    if kind is FullError and hint is None:
        hint = "free some space on the board, or keep fewer releases (--keep)"
    if kind is UnknownReleaseError and hint is None:
        there = f"there are: {', '.join(refusal.releases)}"
        hint = there if refusal.releases else "nothing has been deployed there yet"
    return kind(f"{device}: {refusal.message}", hint=hint)
