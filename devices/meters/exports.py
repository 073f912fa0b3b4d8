"""Recordings for other programs: CSV and NumPy's .npz; a CSV can be read back, too.

CSV: a first line with the columns' names, then a line for each sample; empty where the meter does not measure a column;
numbers so that reading them gives the same bits. .npz: the arrays under the same names, `arrivals`, `lost`, `damaged`,
and `about`, a JSON text with meter and notes; nothing in it is pickled.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from devices.meters.accuracy import assumed
from devices.meters.contract import MeterInfo
from devices.meters.errors import RecordingError, RecordingWriteError
from devices.meters.info_json import info_to_json
from devices.meters.recording import Recording
from devices.meters.sanity_limits import check_samples, check_span
from firmware_tools.errors import TraceError
from firmware_tools.trace import Trace

COLUMNS = ("time_s", "power_w", "supply_v", "current_a", "inputs")
_MOST_LINE = 4096
_MOST_ROWS = 5_000_000  # a list of texts takes far more room than the samples


def save_csv(path: Path, recording: Recording) -> None:
    """Write the samples as CSV, whole or not at all.

    Raises:
        RecordingWriteError: It could not be written.
    """
    _replace(path, lambda file: file.writelines(_lines(recording.trace)))


def save_npz(path: Path, recording: Recording) -> None:
    """Write everything as .npz, whole or not at all.

    Raises:
        RecordingWriteError: It could not be written.
    """
    trace = recording.trace
    about = {"created": recording.created, "meter": info_to_json(recording.info), "notes": dict(recording.notes),
             "incomplete": recording.incomplete}  # fmt: skip
    arrays: dict[str, Any] = {name: getattr(trace, name) for name in COLUMNS}
    arrays |= {"lost": np.int64(trace.lost), "damaged": np.int64(trace.damaged), "arrivals": recording.arrivals}
    _replace(path, lambda file: np.savez_compressed(file, **arrays, about=np.array(json.dumps(about))))


def read_csv(path: Path) -> Recording:
    """Read samples from CSV: columns as above; time_s and power_w must be there, or supply_v and current_a for power.

    Raises:
        RecordingError: It is no such file; says which line.
    """
    try:
        if not path.is_file():
            raise RecordingError(f"there is no file {path}")
        with path.open(newline="", encoding="utf-8") as file:
            trace = _read(path, file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path} is no CSV: {error}") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    accuracy = assumed("csv")
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
    rows = csv.reader(_bounded(path, file))
    names = [name.strip() for name in next(rows, [])]
    needed = {"time_s", "power_w"} <= set(names) or {"time_s", "supply_v", "current_a"} <= set(names)
    if not needed or len(set(names)) < len(names):
        raise RecordingError(
            f"{path} is no CSV of a meter: its first line is {', '.join(names)[:80]!r}",
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


def _bounded(path: Path, file: io.TextIOBase) -> Iterator[str]:
    """Yield lines; one without an end never fills the memory."""
    while line := file.readline(_MOST_LINE):
        if len(line) == _MOST_LINE:
            raise RecordingError(f"{path} has a line of more than {_MOST_LINE} characters: it is no CSV of a meter")
        yield line


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        draft = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        raise RecordingWriteError(
            f"could not write {path}: {error.strerror or error}", hint="free some space, or choose another folder"
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
