"""Parses a device's conditions for the validity rules; what it did not state is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.decode import encode
from devices.messages.machine_jobs import MachineSample

# A sensor that hangs reads far below any outdoor temperature (Coral's PCIe module -87.9 C): that is no temperature.
_COLDEST_C, _HOTTEST_C = -40.0, 150.0


@dataclass(frozen=True)
class ConditionsSample:
    """The conditions at one moment and, where `wall_s` is known, the load since the sample before it.

    `tpu_over_trip_c` is how far the hottest Edge TPU is above its first trip point, where its clock falls; less than 0
    is below. None where there is none, or it reports no temperature.
    """

    governor: str | None
    fastest_khz: float | None
    firmware_khz: float | None
    temperature_c: float | None
    throttled_now: tuple[str, ...] | None
    throttled_since_boot: tuple[str, ...] | None
    wall_s: float | None
    other_cpu_share: float | None
    steal_share: float | None
    busiest_process: str | None
    busiest_process_share: float | None
    tpu_over_trip_c: float | None = None

    @property
    def clock_khz(self) -> float | None:
        """Return the clock that the kernel states, or the firmware's where that is lower."""
        known = [each for each in (self.fastest_khz, self.firmware_khz) if each is not None]
        return min(known, default=None)

    @classmethod
    def of(cls, sample: MachineSample) -> ConditionsSample:
        """Read the agent's own sample."""
        return cls.from_json(encode(sample))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ConditionsSample:
        """Read a device's report; a field that is missing or of another type is unknown, never an error."""
        throttled, since = _mapping(value.get("throttled")), _mapping(value.get("since"))
        degrees = _number(value.get("temperature_c"))
        clocks = [number for each in _list(value.get("frequencies_khz")) or () if (number := _number(each))]
        return cls(
            governor=governor if isinstance(governor := value.get("governor"), str) else None,
            fastest_khz=max(clocks, default=None),
            firmware_khz=_number(value.get("firmware_clock_khz")),
            temperature_c=degrees if degrees is not None and _COLDEST_C < degrees < _HOTTEST_C else None,
            throttled_now=_texts(throttled.get("now")),
            throttled_since_boot=_texts(throttled.get("since_boot")),
            wall_s=_number(since.get("wall_s")),
            other_cpu_share=_number(since.get("other_cpu_share")),
            steal_share=_number(since.get("steal_share")),
            busiest_process=name if isinstance(name := since.get("busiest_process"), str) else None,
            busiest_process_share=_number(since.get("busiest_process_share")),
            tpu_over_trip_c=_over_trip(_list(value.get("edge_tpus")) or []),
        )


def _over_trip(tpus: list[Any]) -> float | None:
    pairs = [(_number(_mapping(each).get("temperature_c")), _number(_mapping(each).get("trip_c"))) for each in tpus]
    known = [(degrees, trip) for degrees, trip in pairs if degrees is not None and trip is not None]
    return max((degrees - trip for degrees, trip in known if _COLDEST_C < degrees < _HOTTEST_C), default=None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(str(each) for each in value) if isinstance(value, list) else None
