"""Recordings: what a meter said, when it arrived, and everything needed to judge it later. Files are `.edgetrace`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from devices.meters import columns
from devices.meters.contract import MeterInfo
from devices.meters.errors import RecordingError, RecordingWriteError
from devices.meters.info_json import info_from_json
from devices.meters.sanity_limits import check_samples, check_span
from devices.meters.trace_file import DATA, FREE_SAMPLES, HEAD, MOST_SAMPLES, TraceWriter, read_chunks
from firmware_tools.trace import Trace


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples of one meter over some time.

    Attributes:
        arrivals: (m, 2): a meter's time, and the host's monotonic time by which the sample of that time had arrived.
        created: When it began, ISO 8601.
        notes: JSON values of whoever made it.
        incomplete: Why samples are missing at its end: the meter was unplugged, the file is cut; None if none are.
    """

    info: MeterInfo
    trace: Trace
    arrivals: NDArray[np.float64]
    created: str
    notes: Mapping[str, Any]
    incomplete: str | None = None


def save_recording(path: Path, recording: Recording) -> None:
    """Write a recording, whole or not at all; an existing file is replaced.

    Raises:
        RecordingWriteError: It could not be written; what was at the path is untouched.
    """
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        draft = Path(name)
        draft.chmod(0o644)
        with TraceWriter(
            draft, recording.info, notes=recording.notes, created=recording.created, incomplete=recording.incomplete,
            replace=True,
        ) as writer:  # fmt: skip
            writer.add(recording.trace, recording.arrivals)
        draft.replace(path)
    except RecordingWriteError as error:
        raise RecordingWriteError(f"could not write {path}: {error.__cause__ or error}", hint=_UNTOUCHED) from error
    except OSError as error:
        raise RecordingWriteError(f"could not write {path}: {error.strerror}", hint=_UNTOUCHED) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def load_recording(path: Path, *, most_samples: int = MOST_SAMPLES) -> Recording:
    """Read a recording. Of a file that was cut, or damaged further in, what stands before is returned, and said.

    Raises:
        RecordingError: It is no recording, or no head can be read, or what it holds cannot have been recorded.
    """
    if not path.is_file():
        raise RecordingError(f"{path} is no file" if path.exists() else f"there is no file {path}")
    try:
        with path.open("rb") as file:
            return _Reading(most_samples).all_of(read_chunks(file))
    except RecordingError as error:
        raise RecordingError(
            f"{path} cannot be used as a recording: {error}",
            hint=error.hint or "`edge meter record` makes recordings",
        ) from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error


_UNTOUCHED = "free some space, or choose another folder; what was at the path is untouched"


class _Reading:
    """The state of reading one file."""

    def __init__(self, most_samples: int) -> None:
        self._most = most_samples
        self._parts: list[Trace] = []
        self._arrivals: list[NDArray[np.float64]] = []
        self._samples = self._bytes = 0
        self._head: dict[str, Any] | None = None
        self._is_done = False
        self._told: object = None

    def all_of(self, chunks: Iterator[tuple[bytes, bytes]]) -> Recording:
        """Take chunks up to the end, or to where the file is cut or damaged."""
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
            self._head = _header(content)
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
        if self._samples > self._most:
            raise RecordingError(
                f"it has more than {self._most} samples, too many for the memory",
                hint="record for a shorter time, or at a lower rate",
            )
        if self._samples > FREE_SAMPLES + self._bytes:
            raise RecordingError(
                f"it has more than {FREE_SAMPLES} samples, which take less than a byte each: all the same",
                hint="a meter that measures gives samples that differ; record for a shorter time",
            )
        self._parts.append(part)
        self._arrivals.append(arrivals)

    def _check_totals(self, content: bytes) -> None:
        lost, damaged = sum(part.lost for part in self._parts), sum(part.damaged for part in self._parts)
        totals = _object(content)
        self._told = totals.pop("incomplete", None)
        if totals != {"samples": self._samples, "lost": lost, "damaged": damaged}:
            raise RecordingError("chunks are missing from it")
        if self._told is not None and not isinstance(self._told, str):
            raise RecordingError("its end has a field of the wrong type")
        self._is_done = True

    def _recording(self, head: dict[str, Any], incomplete: str | None) -> Recording:
        if not self._is_done and incomplete is None:
            incomplete = "the file ends early: its writer was stopped"
        if incomplete is None and isinstance(self._told, str):
            incomplete = self._told
        pairs = np.concatenate(self._arrivals) if self._arrivals else np.empty((0, 2))
        trace = Trace.joined(self._parts)
        check_span(trace)
        return Recording(head["meter"], trace, pairs, head["created"], head["notes"], incomplete)


def _header(content: bytes) -> dict[str, Any]:
    raw = _object(content)
    notes = raw.get("notes")
    if set(raw) != {"created", "meter", "notes"} or not isinstance(raw["created"], str) or not isinstance(notes, dict):
        raise RecordingError("its head has not the fields it must have")
    return {**raw, "meter": info_from_json(raw["meter"])}


def _object(content: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(content.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RecordingError("a chunk that must be JSON is not") from error
    if not isinstance(raw, dict):
        raise RecordingError("a chunk that must be a JSON object is not")
    return raw


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
