"""Recording to a file, exports, and what a recording came to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import EdgeError, WriteError
from devices.meters.exports import save_csv, save_npz
from devices.meters.meter_contract import Meter, MeterInfo
from devices.meters.rates import Powers, Rates, Running
from devices.meters.recorder import gather
from devices.meters.recording import load_recording
from devices.meters.trace_file import LIMITS, TraceWriter
from edge.cli.output import say
from edge.errors import InputError
from edge.report.formatting import watts
from edge.report.terminal.meter_tables import about, counts, result_lines
from firmware_tools.trace import Trace


@dataclass(frozen=True)
class Recorded:
    """What a recording holds."""

    path: Path
    info: MeterInfo
    powers: Powers
    rates: Rates
    incomplete: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return {"file": str(self.path), "meter": self.info.to_json(), "power": self.powers.to_json(),
                "rates": self.rates.to_json(), "incomplete": self.incomplete}  # fmt: skip

    def text(self, *exported: Path | None) -> str:
        """Return it for people, and name the files it was written to for other programs."""
        result = result_lines(self.powers, self.rates, self.incomplete)
        written = [f"written to {each}" for each in exported if each is not None]
        return "\n".join([*about(self.info), *result, f"recorded in {self.path}", *written])


def record_to(
    path: Path, meter: Meter, *, seconds: float, stopped: Callable[[], bool], replace: bool,
    on_second: Callable[[str], None],
) -> Recorded:  # fmt: skip
    """Record a meter to a file until the time is over or `stopped` says so.

    Raises:
        InputError: One file would not hold it.
        WriteError: The file is there already, could not be written, or is full.
        InstrumentError: The meter failed; what came before is in the file, and said on stderr.
    """
    if path.exists() and not replace:
        raise WriteError(f"{path} is there already", hint="choose another name, or --force")
    running, told_s = Running(), time.monotonic()
    with meter:
        info = meter.info()
        check_length(info, seconds)
        with TraceWriter(path, info, replace=replace) as writer:

            def take(trace: Trace, arrived_s: float) -> None:
                nonlocal told_s
                running.add(trace)
                pairs = [(trace.time_s[-1], arrived_s)] if len(trace) else []
                writer.restate(meter.info())
                writer.add(trace, np.array(pairs, np.float64).reshape(-1, 2))
                while arrived_s - told_s >= 1:
                    told_s += 1
                    on_second(f"{watts(running.powers().mean_w)}, {counts(running.rates(info))}")

            try:
                writer.incomplete = gather(meter, take, seconds=seconds, stopped=stopped)
            except WriteError:  # says itself what the file has
                raise
            except EdgeError:
                say(f"the {running.rates(info).samples} samples that came before are in {path}")
                raise
        info = meter.info()
    return Recorded(path, info, running.powers(), running.rates(info), writer.incomplete)


def check_outputs(*paths: Path | None) -> None:
    """Refuse outputs of which one would replace a recording that is read, or another output.

    Raises:
        WriteError: Two paths lead to the same file.
    """
    taken = set[object]()
    for path in paths:
        if path is None:
            continue
        file = _file(path)
        if file in taken:
            raise WriteError(
                f"{path} would be written over itself", hint="give the recording and each output another name"
            )
        taken.add(file)


def _file(path: Path) -> object:
    """Return what is the same for all names of a file: its place on the disk, where it is there."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def check_length(info: MeterInfo, seconds: float) -> None:
    """Refuse to record for so long that one file would not hold it; for as long as it goes is allowed.

    Raises:
        InputError: Says for how long one may.
    """
    rate_hz = info.nominal_rate_hz or 0.0
    if info.kind == "replay" or math.isinf(seconds) or seconds * rate_hz <= LIMITS.samples:
        return
    raise InputError(
        f"{seconds:g} s of {info.name} are {seconds * rate_hz:.3g} samples, one file holds {LIMITS.samples:.3g}",
        hint=f"record for at most {math.floor(LIMITS.samples / rate_hz)} s, or at a lower rate",
    )


def export(path: Path, csv_file: Path | None, npz_file: Path | None) -> None:
    """Write a recording as CSV and as .npz, where asked for."""
    if csv_file is None and npz_file is None:
        return
    check_outputs(path, csv_file, npz_file)
    recording = load_recording(path)
    if csv_file is not None:
        save_csv(csv_file, recording)
    if npz_file is not None:
        save_npz(npz_file, recording)


def describe(path: Path) -> Recorded:
    """Read a recording and return what it came to."""
    recording = load_recording(path)
    running = Running()
    running.add(recording.trace)
    return Recorded(path, recording.info, running.powers(), running.rates(recording.info), recording.incomplete)
