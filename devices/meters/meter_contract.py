"""Defines the interface and the description of every power meter.

A meter is a context manager: entering opens it and identifies it, leaving stops and closes it. Between `start` and
`stop`, one thread calls `read` repeatedly; there is no reading in the background, so a caller who does not read loses
samples, and the trace counts them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from firmware_tools.errors import RecordingError

if TYPE_CHECKING:
    from firmware_tools.trace import Trace

_TEXTS = ("kind", "name", "identity", "accuracy_source", "clock")
_NUMBERS = ("gain_uncertainty", "offset_uncertainty_w")
_FLAGS = ("has_trigger", "is_estimate")
# No meter is beyond these, and nothing could be computed.
_MOST_GAIN, _MOST_OFFSET_W, _RATES_HZ = 1.0, 1e9, (1e-6, 1e9)


@dataclass(frozen=True)
class MeterInfo:
    """A meter's identity, its settings, and the uncertainty of its values."""

    kind: str  # one of kinds.KINDS
    name: str  # as the user calls it: a name in meters.toml, or KIND:ADDRESS
    identity: str  # model, serial number, firmware, as the meter reports them
    settings: Mapping[str, object]  # JSON values that the meter acknowledged, not those requested
    nominal_rate_hz: float | None
    gain_uncertainty: float  # relative standard uncertainty (k = 1) of power
    offset_uncertainty_w: float  # absolute standard uncertainty (k = 1) of power
    accuracy_source: str  # source of these two: data sheet, calibration, assumption
    clock: str  # "meter": samples carry the meter's own time; "host": this machine's time.monotonic()
    has_trigger: bool  # a digital input is in each sample
    is_estimate: bool  # computed from a part of the board (PMIC rails, RAPL), not measured at its supply

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return {**asdict(self), "settings": dict(self.settings)}


def parse_info(raw: object) -> MeterInfo:
    """Read a meter's description from JSON.

    Raises:
        RecordingError: A field is missing, unknown, of the wrong type, or beyond what a meter can be.
    """
    if not isinstance(raw, Mapping) or set(raw) != set(MeterInfo.__dataclass_fields__):
        raise RecordingError("the meter's description does not have the required fields")
    rate = raw["nominal_rate_hz"]
    valid = (
        all(isinstance(raw[name], str) for name in _TEXTS)
        and raw["clock"] in ("meter", "host")
        and all(_is_number(raw[name]) for name in _NUMBERS)
        and (rate is None or _is_number(rate))
        and all(isinstance(raw[name], bool) for name in _FLAGS)
        and isinstance(raw["settings"], Mapping)
    )
    if not valid:
        raise RecordingError("the meter's description has a field of the wrong type")
    if raw["gain_uncertainty"] > _MOST_GAIN or raw["offset_uncertainty_w"] > _MOST_OFFSET_W:
        raise RecordingError("the meter's description has an impossible uncertainty")
    if rate is not None and not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
        raise RecordingError(f"the meter's description has an impossible rate, {rate:g} Hz")
    return MeterInfo(**{str(name): value for name, value in raw.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


class Meter(Protocol):
    """A power meter. Every wait has a deadline."""

    @property
    def name(self) -> str:
        """The name the user calls it by."""

    def __enter__(self) -> Meter: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def info(self) -> MeterInfo:
        """Return its description; known once it is open."""

    def start(self) -> None:
        """Start measuring; earlier samples are discarded.

        Raises:
            NoAnswerError: The meter did not answer.
        """

    def read(self, deadline_s: float) -> Trace:
        """Return the samples received since the last call, possibly none; waits at most so long for the first.

        Raises:
            LineError: The meter was unplugged. What earlier calls returned stays valid.
            EndOfReplayError: The meter is a recording, and at its end.
        """

    def stop(self) -> None:
        """Stop measuring; may be repeated."""
