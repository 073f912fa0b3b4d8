"""Replays a recording through the interface of a meter, as fast as it is read or in real time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from devices.meters.exports import read_csv
from devices.meters.meter_contract import MeterInfo
from devices.meters.meter_settings import parse_settings, setting
from devices.meters.recording import Recording, load_recording
from firmware_tools.errors import EndOfReplayError, InstrumentError, RecordingError
from firmware_tools.trace import Trace


@dataclass(frozen=True)
class ReplaySettings:
    """Settings of a replay."""

    realtime: bool = setting("play in real time instead of at once", default=False)
    piece: int = setting("most samples in one read", 4096, low=1, high=1_000_000)


class ReplayMeter:
    """`address` is an .edgetrace or .csv file. The times are the recording's own: clock "meter", whatever made them."""

    Settings = ReplaySettings

    def __init__(self, name: str, address: str, settings: Mapping[str, object]) -> None:
        self._name, self._path = name, Path(address)
        self._settings = parse_settings(name, settings, ReplaySettings)
        self._recording: Recording | None = None
        self._at = 0
        self._begin_s: float | None = None

    @property
    def path(self) -> Path:
        """The file that is played."""
        return self._path

    @property
    def name(self) -> str:
        """The name the user calls it by."""
        return self._name

    def __enter__(self) -> ReplayMeter:
        is_csv = self._path.suffix.lower() == ".csv"
        self._recording = read_csv(self._path) if is_csv else load_recording(self._path)
        if not len(self._recording.trace):
            raise RecordingError(f"{self._path} has no samples")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recording = None

    def info(self) -> MeterInfo:
        """Return the recorded meter's description; its kind and clock are in the settings."""
        recorded = self._open_recording().info
        settings = {
            **asdict(self._settings),
            "recorded_kind": recorded.settings.get("recorded_kind", recorded.kind),
            "recorded_name": recorded.name,
            "recorded_clock": recorded.settings.get("recorded_clock", recorded.clock),
            "recorded_settings": recorded.settings,
        }
        return replace(recorded, kind="replay", name=self._name, settings=settings, clock="meter")

    def start(self) -> None:
        """Start at the first sample."""
        self._at, self._begin_s = 0, time.monotonic()

    def stop(self) -> None:
        """Stop playing."""
        self._begin_s = None

    def read(self, deadline_s: float) -> Trace:
        """Return the next samples.

        Raises:
            EndOfReplayError: There are no more.
        """
        if self._begin_s is None:
            raise InstrumentError(f"{self._name} was not started")
        trace = self._open_recording().trace
        if self._at >= len(trace):
            raise EndOfReplayError(f"{self._path} is at its end", incomplete=self._open_recording().incomplete)
        end = min(self._at + self._settings.piece, len(trace))
        if self._settings.realtime:
            due_s = self._begin_s + float(trace.time_s[self._at] - trace.time_s[0])
            time.sleep(min(max(0.0, due_s - time.monotonic()), deadline_s))
            played_s = trace.time_s[0] + time.monotonic() - self._begin_s
            end = min(end, int(np.searchsorted(trace.time_s, played_s, side="right")))
        part, self._at = slice(self._at, end), max(end, self._at)
        lost, damaged = (trace.lost, trace.damaged) if part.start == 0 and end else (0, 0)
        return Trace(
            trace.time_s[part], trace.power_w[part], trace.supply_v[part], trace.current_a[part], trace.inputs[part],
            lost, damaged,
        )  # fmt: skip

    def _open_recording(self) -> Recording:
        if self._recording is None:
            raise InstrumentError(f"{self._name} is not open")
        return self._recording
