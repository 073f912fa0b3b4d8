"""Exports recordings for other programs, as CSV and NumPy's .npz, and reads such CSV files.

CSV: a line with the columns' names, then a line per sample; a column that the meter does not measure is empty; reading
a number gives the same bits. .npz: the arrays under the same names, `arrivals`, `lost`, `damaged`,
and `about`, a JSON text with meter and notes; nothing is pickled.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converters.files import replacing
from devices.meters.accuracy import assume_accuracy
from devices.meters.meter_contract import MeterInfo
from devices.meters.recording import Recording, check_samples, check_span
from firmware_tools.errors import RecordingError, TraceError
from firmware_tools.trace import Trace

COLUMNS = ("time_s", "power_w", "supply_v", "current_a", "inputs")
_MOST_LINE = 4096
_MOST_ROWS = 5_000_000  # a list of texts takes far more memory than the samples


def save_csv(path: Path, recording: Recording) -> None:
    """Write the samples as CSV atomically.

    Raises:
        WriteError: It could not be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(_lines(recording.trace))


def save_npz(path: Path, recording: Recording) -> None:
    """Write everything as .npz atomically.

    Raises:
        WriteError: It could not be written.
    """
    trace = recording.trace
    about = {"created": recording.created, "meter": recording.info.to_json(), "notes": dict(recording.notes),
             "incomplete": recording.incomplete}  # fmt: skip
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, time_s=trace.time_s, power_w=trace.power_w, supply_v=trace.supply_v, current_a=trace.current_a,
            inputs=trace.inputs, lost=np.int64(trace.lost), damaged=np.int64(trace.damaged),
            arrivals=recording.arrivals, about=np.array(json.dumps(about)),
        )  # fmt: skip


def read_csv(path: Path) -> Recording:
    """Read samples from CSV: columns as above; time_s and power_w must be there, or supply_v and current_a for power.

    Raises:
        RecordingError: It is not such a file; names the line.
    """
    try:
        if not path.is_file():
            raise RecordingError(f"there is no file {path}")
        with path.open(newline="", encoding="utf-8") as file:
            trace = _read(path, file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path} is not CSV: {error}") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    accuracy = assume_accuracy("csv")
    info = MeterInfo(
        "csv", str(path), f"samples of {path.name}", {}, None, accuracy.gain_uncertainty,
        accuracy.offset_uncertainty_w, accuracy.accuracy_source, clock="meter",
        has_trigger=bool(trace.inputs.any()), is_estimate=False,
    )  # fmt: skip
    return Recording(info, trace, np.empty((0, 2)), "", {"file": str(path)})


def _lines(trace: Trace) -> Iterator[bytes]:
    yield (",".join(COLUMNS) + "\n").encode()
    columns = [getattr(trace, name) for name in COLUMNS]
    for first in range(0, len(trace), 10_000):
        part = [column[first : first + 10_000].tolist() for column in columns]
        yield "".join(
            f"{time_s!r},{_cell(power)},{_cell(supply)},{_cell(current)},{inputs}\n"
            for time_s, power, supply, current, inputs in zip(*part, strict=True)
        ).encode()


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _read(path: Path, file: io.TextIOBase) -> Trace:
    rows = csv.reader(_read_lines(path, file))
    names = [name.strip() for name in next(rows, [])]
    needed = {"time_s", "power_w"} <= set(names) or {"time_s", "supply_v", "current_a"} <= set(names)
    if not needed or len(set(names)) < len(names):
        raise RecordingError(
            f"{path} is not the CSV of a meter: its first line is {', '.join(names)[:80]!r}",
            hint=f"the first line must name columns out of {', '.join(COLUMNS)}",
        )
    values: list[list[float]] = []
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise RecordingError(f"{path}, line {rows.line_num}: {len(row)} columns instead of {len(names)}")
        try:
            values.append([float(cell) if cell.strip() else math.nan for cell in row])
        except ValueError as error:
            raise RecordingError(f"{path}, line {rows.line_num}: {error}") from error
        if len(values) > _MOST_ROWS:
            raise RecordingError(f"{path} has more than {_MOST_ROWS:,} samples", hint="an .edgetrace may have more")
    return _trace(path, dict(zip(names, np.array(values, np.float64).reshape(-1, len(names)).T.copy(), strict=True)))


def _trace(path: Path, columns: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]) -> Trace:
    nothing = np.full(len(columns["time_s"]), math.nan)
    supply, current = columns.get("supply_v", nothing), columns.get("current_a", nothing)
    power = columns.get("power_w", supply * current)
    inputs = columns.get("inputs", np.zeros(len(nothing)))
    if not np.isfinite(power).all():
        raise RecordingError(f"{path} has samples without power")
    if not ((inputs >= 0) & (inputs <= 255) & (inputs == np.floor(inputs))).all():
        raise RecordingError(f"{path}: inputs are whole numbers from 0 to 255")
    try:
        trace = Trace(columns["time_s"], power, supply, current, inputs.astype(np.uint8))
        check_samples(trace, np.empty((0, 2)))
        check_span(trace)
    except (TraceError, RecordingError) as error:
        raise RecordingError(f"{path}: {error}") from error
    return trace


def _read_lines(path: Path, file: io.TextIOBase) -> Iterator[str]:
    """Yield lines; a line without an end cannot fill the memory."""
    while line := file.readline(_MOST_LINE):
        if len(line) == _MOST_LINE:
            raise RecordingError(f"{path} has a line of over {_MOST_LINE} characters: it is not the CSV of a meter")
        yield line
