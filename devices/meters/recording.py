"""Saves and loads recordings: a meter's samples, their arrival times, and its description. Files are `.edgetrace`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from converters.errors import WriteError
from converters.files import replacing
from devices.meters import columns
from devices.meters.meter_contract import MeterInfo, parse_info
from devices.meters.trace_file import DATA, HEAD, LIMITS, TraceLimits, TraceWriter, read_chunks
from firmware_tools.errors import RecordingError
from firmware_tools.trace import Trace

MOST_SPAN_S = 1e9  # 32 years
_MOST_TIME_S = 1e12  # seconds since any epoch in use, with a margin
_MOST = 1e9  # W, V, A
_UNTOUCHED = "free some space, or choose another folder; the previous file is unchanged"


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples of one meter over some time.

    Attributes:
        arrivals: (m, 2): a meter's time, and the host's monotonic time by which the sample of that time had arrived.
        created: Start of the recording, ISO 8601.
        notes: JSON values stored with it.
        incomplete: Why samples are missing at its end (the meter was unplugged, the file is cut); None if complete.
    """

    info: MeterInfo
    trace: Trace
    arrivals: NDArray[np.float64]
    created: str
    notes: Mapping[str, object]
    incomplete: str | None = None


def save_recording(path: Path, recording: Recording, *, limits: TraceLimits = LIMITS) -> None:
    """Write a recording atomically; an existing file is replaced.

    Raises:
        WriteError: It could not be written; the previous file is unchanged.
    """
    with replacing(path) as temporary:
        try:
            with TraceWriter(
                temporary, recording.info, notes=recording.notes, created=recording.created,
                incomplete=recording.incomplete, replace=True, limits=limits,
            ) as writer:  # fmt: skip
                writer.add(recording.trace, recording.arrivals)
        except WriteError as error:
            raise WriteError(f"could not write {path}: {error.__cause__ or error}", hint=_UNTOUCHED) from error


def load_recording(path: Path, *, limits: TraceLimits = LIMITS) -> Recording:
    """Read a recording. Of a file that was cut or damaged, the part before is returned, with the reason.

    Raises:
        RecordingError: It is not a recording, its head cannot be read, or its content cannot have been recorded.
    """
    if not path.is_file():
        raise RecordingError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
    try:
        with path.open("rb") as file:
            return _Reader(limits).read_all(read_chunks(file))
    except RecordingError as error:
        raise RecordingError(
            f"{path} cannot be used as a recording: {error}",
            hint=error.hint or "`edge meter record` makes recordings",
        ) from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Head:
    """The first chunk of a file."""

    created: str
    info: MeterInfo
    notes: Mapping[str, object]


class _Reader:
    """The state of reading one file."""

    def __init__(self, limits: TraceLimits) -> None:
        self._limits = limits
        self._parts: list[Trace] = []
        self._arrivals: list[NDArray[np.float64]] = []
        self._samples = self._bytes = 0
        self._head: _Head | None = None
        self._is_done = False
        self._incomplete: object = None  # what DONE states

    def read_all(self, chunks: Iterator[tuple[bytes, bytes]]) -> Recording:
        """Read chunks up to the end, or to the point where the file is cut or damaged."""
        incomplete: str | None = None
        while True:
            try:
                kind, content = next(chunks, (b"", b""))
            except RecordingError as error:
                if self._head is None:
                    raise
                incomplete = str(error)
                break
            if not kind:
                break
            self._take_chunk(kind, content)
        if self._head is None:
            raise RecordingError("it has no head")
        return self._recording(self._head, incomplete)

    def _take_chunk(self, kind: bytes, content: bytes) -> None:
        if self._is_done or (kind == HEAD) != (self._head is None):
            raise RecordingError("its chunks are in an impossible order")
        if kind == HEAD:
            self._head = _parse_head(content)
        elif kind == DATA:
            self._take(content)
        else:
            self._check_totals(content)

    def _take(self, content: bytes) -> None:
        part, arrivals = columns.unpack(content)
        before = next((each for each in reversed(self._parts) if len(each)), None)
        if before is not None and len(part) and part.time_s[0] <= before.time_s[-1]:
            raise RecordingError("its time goes back between chunks")
        check_samples(part, arrivals)
        self._samples += len(part)
        self._bytes += len(content)
        if self._samples > self._limits.samples:
            raise RecordingError(
                f"it has more than {self._limits.samples} samples, too many for the memory",
                hint="record for a shorter time, or at a lower rate",
            )
        if self._samples > self._limits.free_samples + self._bytes:
            raise RecordingError(
                f"it has more than {self._limits.free_samples} samples, which take less than a byte each: all alike",
                hint="samples of a real measurement differ; record for a shorter time",
            )
        self._parts.append(part)
        self._arrivals.append(arrivals)

    def _check_totals(self, content: bytes) -> None:
        lost, damaged = sum(part.lost for part in self._parts), sum(part.damaged for part in self._parts)
        totals = _parse_object(content)
        self._incomplete = totals.pop("incomplete", None)
        if totals != {"samples": self._samples, "lost": lost, "damaged": damaged}:
            raise RecordingError("chunks are missing from it")
        if self._incomplete is not None and not isinstance(self._incomplete, str):
            raise RecordingError("its end has a field of the wrong type")
        self._is_done = True

    def _recording(self, head: _Head, incomplete: str | None) -> Recording:
        if not self._is_done and incomplete is None:
            incomplete = "the file ends early: its writer was stopped"
        if incomplete is None and isinstance(self._incomplete, str):
            incomplete = self._incomplete
        pairs = np.concatenate(self._arrivals) if self._arrivals else np.empty((0, 2))
        trace = Trace.concatenate(self._parts)
        check_span(trace)
        return Recording(head.info, trace, pairs, head.created, head.notes, incomplete)


def _parse_head(content: bytes) -> _Head:
    raw = _parse_object(content)
    created, notes = raw.get("created"), raw.get("notes")
    if set(raw) != {"created", "meter", "notes"} or not isinstance(created, str) or not isinstance(notes, dict):
        raise RecordingError("its head does not have the required fields")
    return _Head(created, parse_info(raw["meter"]), notes)


def _parse_object(content: bytes) -> dict[str, object]:
    try:
        raw = json.loads(content.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RecordingError("a chunk that must be JSON is not") from error
    if not isinstance(raw, dict):
        raise RecordingError("a chunk that must be a JSON object is not")
    return raw


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def check_samples(trace: Trace, arrivals: NDArray[np.float64]) -> None:
    """Check each number against limits no meter can exceed; NaN, for values not measured, passes.

    Raises:
        RecordingError: A number is out of the limits.
    """
    limited = {"power": trace.power_w, "a voltage": trace.supply_v, "a current": trace.current_a}
    for what, column in limited.items():
        if (np.abs(column) > _MOST).any():
            raise RecordingError(f"it has {what} beyond {_MOST:g}, which is impossible")
    if (np.abs(trace.time_s) > _MOST_TIME_S).any() or (np.abs(arrivals) > _MOST_TIME_S).any():
        raise RecordingError(f"it has times beyond {_MOST_TIME_S:g} s, which is impossible")


def check_span(trace: Trace) -> None:
    """Check the time from the first to the last sample.

    Raises:
        RecordingError: It is too long to have been recorded.
    """
    if len(trace) and trace.time_s[-1] - trace.time_s[0] > MOST_SPAN_S:
        raise RecordingError(f"its samples are over {MOST_SPAN_S:g} s apart, which is impossible")
