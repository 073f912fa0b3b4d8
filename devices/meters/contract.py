"""What a power meter can do, whatever it is. Every wait has a deadline.

A meter is a context manager: entering opens it and asks what it is, leaving stops it and lets go of it. Between `start`
and `stop`, `read` is called again and again by one thread; nothing is read behind the caller's back, so a caller who
does not read loses samples, and the trace says how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from firmware_tools.trace import Trace


@dataclass(frozen=True)
class MeterInfo:
    """What a meter is, what it was set to, and how far its numbers may be off."""

    kind: str  # edge, ppk2, um25c, tc66c, fnirsi, csv, hwmon, pmic, rapl or replay
    name: str  # as the user calls it: a name of meters.toml, or KIND:ADDRESS
    identity: str  # model, serial number, firmware: what the meter said of itself
    settings: Mapping[str, Any]  # what the meter acknowledged, not what it was asked for
    nominal_rate_hz: float | None
    gain_uncertainty: float  # relative standard uncertainty (k = 1) of power
    offset_uncertainty_w: float  # absolute standard uncertainty (k = 1) of power
    accuracy_source: str  # where these two come from: data sheet, calibration, assumption
    clock: str  # "meter": samples carry the meter's own time; "host": this machine's time.monotonic()
    has_trigger: bool  # a digital input is in each sample
    is_estimate: bool  # computed from a part of the board (PMIC rails, RAPL), not measured at its supply


class Meter(Protocol):
    """A power meter."""

    @property
    def name(self) -> str:
        """The name the user calls it by."""

    def __enter__(self) -> Meter: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def info(self) -> MeterInfo:
        """Return what it is; known once it is entered."""

    def start(self) -> None:
        """Let samples come; what came before is forgotten.

        Raises:
            MeterSilentError: It did not answer.
        """

    def read(self, deadline_s: float) -> Trace:
        """Return the samples that have come since the last call, waiting for the first at most so long; maybe none.

        Raises:
            MeterGoneError: It was unplugged. What earlier calls returned stays good.
            EndOfReplayError: It is a recording, and at its end.
        """

    def stop(self) -> None:
        """Let no more samples come; may be repeated."""
