"""Records a meter to a file, exports recordings for other programs, and summarizes them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.errors import EdgeError, WriteError
from devices.meters.exports import save_csv, save_npz
from devices.meters.meter_contract import Meter, MeterInfo
from devices.meters.rates import Powers, Rates, RunningTotals
from devices.meters.recorder import gather
from devices.meters.recording import load_recording
from devices.meters.trace_file import LIMITS, TraceWriter
from firmware_tools.errors import SettingError
from firmware_tools.trace import Trace


@dataclass(frozen=True)
class RecordingSummary:
    """What a recording holds; `incomplete`: why its samples end too early."""

    path: Path
    info: MeterInfo
    powers: Powers
    rates: Rates
    incomplete: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return {"file": str(self.path), "meter": self.info.to_json(), "power": self.powers.to_json(),
                "rates": self.rates.to_json(), "incomplete": self.incomplete}  # fmt: skip


@dataclass(frozen=True)
class RecordingHooks:
    """Called while a meter is recorded.

    Attributes:
        stopped: Whether to end before the time is over.
        on_second: What was recorded so far, once per second.
        on_failure: How many samples are in the file when the meter fails.
    """

    stopped: Callable[[], bool]
    on_second: Callable[[Powers, Rates], None]
    on_failure: Callable[[int], None]


def record_to(path: Path, meter: Meter, hooks: RecordingHooks, *, seconds: float, replace: bool) -> RecordingSummary:
    """Record a meter to a file until the time is over or `hooks.stopped` ends it.

    Raises:
        SettingError: One file would not hold it.
        WriteError: The file exists already, could not be written, or is full.
        InstrumentError: The meter failed; the samples before that are in the file.
    """
    if path.exists() and not replace:
        raise WriteError(f"{path} exists already", hint="choose another name, or --force")
    running, shown_s = RunningTotals(), time.monotonic()
    with meter:
        info = meter.info()
        check_length(info, seconds)
        with TraceWriter(path, info, replace=replace) as writer:

            def take(trace: Trace, arrived_s: float) -> None:
                nonlocal shown_s
                running.add(trace)
                pairs = [(trace.time_s[-1], arrived_s)] if len(trace) else []
                writer.restate(meter.info())
                writer.add(trace, np.array(pairs, np.float64).reshape(-1, 2))
                while arrived_s - shown_s >= 1:
                    shown_s += 1
                    hooks.on_second(running.powers(), running.rates(info))

            try:
                writer.incomplete = gather(meter, take, seconds=seconds, stopped=hooks.stopped)
            except WriteError:  # its message states what the file holds
                raise
            except EdgeError:
                hooks.on_failure(running.rates(info).samples)
                raise
        info = meter.info()
    return RecordingSummary(path, info, running.powers(), running.rates(info), writer.incomplete)


def check_outputs(*paths: Path | None) -> None:
    """Refuse outputs of which one would replace a recording that is read, or another output.

    Raises:
        WriteError: Two paths lead to the same file.
    """
    taken = set[object]()
    for path in paths:
        if path is None:
            continue
        file = _identify(path)
        if file in taken:
            raise WriteError(f"{path} would overwrite itself", hint="give the recording and each output another name")
        taken.add(file)


def _identify(path: Path) -> object:
    """Return what all names of one file share: its place on the disk, or its resolved path if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def check_length(info: MeterInfo, seconds: float) -> None:
    """Refuse a duration whose samples one file would not hold; an unlimited one is allowed.

    Raises:
        SettingError: The hint states the longest duration.
    """
    rate_hz = info.nominal_rate_hz or 0.0
    if info.kind == "replay" or math.isinf(seconds) or seconds * rate_hz <= LIMITS.samples:
        return
    raise SettingError(
        f"{seconds:g} s of {info.name} are {seconds * rate_hz:.3g} samples, one file holds {LIMITS.samples:.3g}",
        hint=f"record for at most {math.floor(LIMITS.samples / rate_hz)} s, or at a lower rate",
    )


def export_recording(path: Path, csv_file: Path | None, npz_file: Path | None) -> None:
    """Write a recording as CSV and as .npz, where paths are given."""
    if csv_file is None and npz_file is None:
        return
    check_outputs(path, csv_file, npz_file)
    recording = load_recording(path)
    if csv_file is not None:
        save_csv(csv_file, recording)
    if npz_file is not None:
        save_npz(npz_file, recording)


def summarize_recording(path: Path) -> RecordingSummary:
    """Read a recording and summarize it."""
    recording = load_recording(path)
    running = RunningTotals()
    running.add(recording.trace)
    return RecordingSummary(path, recording.info, running.powers(), running.rates(recording.info), recording.incomplete)
