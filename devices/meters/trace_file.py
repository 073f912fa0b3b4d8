"""Writes the file of a recording, `.edgetrace`, as it grows; it is readable whenever the writing stopped.

A file begins with the 8 bytes "edgetrc1". Chunks follow, each with its own check sum:

    kind     4 bytes: "HEAD", "DATA" or "DONE"
    length   u32, little endian: bytes of the content
    content
    check    u32, little endian: CRC-32 (as zlib's) of kind, length and content

HEAD comes first, once: JSON {"created", "meter", "notes"} in UTF-8; "meter" has the fields of a MeterInfo. DATA holds
samples, see columns.py. DONE comes last: JSON {"samples", "lost", "damaged", "incomplete"}, the totals of the file, and
why the recording ends early, or null. A file without DONE was cut: its writer was killed, or the disk was full. All
chunks before the cut, or before one whose check sum is wrong, are valid. A chunk goes to the kernel in one piece, about
once a second, and nothing waits for the disk: a power cut may take the last seconds, which the check sums show. The
writer stays within the reader's limits, see TraceLimits.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from converters.errors import WriteError
from devices.meters import columns
from devices.meters.meter_contract import MeterInfo
from firmware_tools.errors import RecordingError
from firmware_tools.trace import Trace

MAGIC = b"edgetrc1"
HEAD, DATA, DONE = b"HEAD", b"DATA", b"DONE"
MOST_JSON_BYTES = 1 << 20
_FRAME = struct.Struct("<4sI")
_CHECK = struct.Struct("<I")
_MOST = {HEAD: MOST_JSON_BYTES, DATA: columns.MOST_BYTES, DONE: MOST_JSON_BYTES}
_CHUNK_S = 1.0


@dataclass(frozen=True)
class TraceLimits:
    """Limits of a recording, which protect the reader's memory: a sample takes 33 bytes, twice that while joined.

    Attributes:
        samples: The most in one file; by default 10 minutes at 100,000 a second.
        free_samples: Beyond this number (0.3 GB in memory) the file must have a byte per sample: a tiny file could
            expand to many samples that are all alike, whereas measured ones take several bytes each.
    """

    samples: int = 60_000_000
    free_samples: int = 10_000_000


LIMITS = TraceLimits()


class TraceWriter:
    """Writes a recording as it is made; a context manager. If left on an error, the file states it.

    Args:
        path: A new file, unless `replace`.
        notes: JSON values that are stored with the recording.
        incomplete: Why the recording ends early; may be set until the writer is left.
    """

    def __init__(
        self, path: Path, info: MeterInfo, *, notes: Mapping[str, object] | None = None, created: str | None = None,
        incomplete: str | None = None, replace: bool = False, limits: TraceLimits = LIMITS,
    ) -> None:  # fmt: skip
        self.incomplete = incomplete
        self._path, self._info, self._replace, self._limits = path, info, replace, limits
        self._notes, self._created = dict(notes or {}), created or now()
        self._file: int | None = None
        self._head_end = self._good = self._samples = self._bytes = self._lost = self._damaged = 0
        self._taken = 0  # samples written or waiting
        self._waiting: list[Trace] = []
        self._arrivals: list[tuple[float, float]] = []
        self._written_s = 0.0

    @property
    def samples(self) -> int:
        """Return how many samples are in the file."""
        return self._samples

    def __enter__(self) -> TraceWriter:
        """Create the file.

        Raises:
            WriteError: It exists already, or cannot be created.
        """
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if self._replace else os.O_EXCL) | os.O_CLOEXEC
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, flags, 0o666)
        except FileExistsError as error:
            raise WriteError(f"{self._path} already exists", hint="choose another name") from error
        except OSError as error:
            raise WriteError(f"could not write {self._path}: {error.strerror}") from error
        try:
            self._write_head()
        except BaseException:
            self._close()
            raise
        self._written_s = time.monotonic()
        return self

    def restate(self, info: MeterInfo) -> None:
        """Replace the meter's description, which some know only after their first samples; not once any are written."""
        if self._file is None or self._good != self._head_end or info == self._info:
            return
        try:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        except OSError:  # a device file
            return
        self._info, self._good = info, 0
        self._write_head()

    def _write_head(self) -> None:
        head = {"created": self._created, "meter": self._info.to_json(), "notes": self._notes}
        self._write(MAGIC + _frame_chunk(HEAD, _json(head)))
        self._head_end = self._good

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._file is not None:
                self.flush()
                failed = (str(error) or kind.__name__) if kind else None
                totals = {"samples": self._samples, "lost": self._lost, "damaged": self._damaged,
                          "incomplete": self.incomplete or failed}  # fmt: skip
                self._write(_frame_chunk(DONE, _json(totals)))
                with contextlib.suppress(OSError):  # not every file system has it
                    os.fsync(self._file)
        except WriteError:
            if kind is None:  # otherwise the first error is the one to report
                raise
        finally:
            self._close()

    def add(self, trace: Trace, arrivals: NDArray[np.float64]) -> None:
        """Add samples, and pairs of meter and host times; writes when a second has passed or a block is full.

        Raises:
            WriteError: The disk or the recording is full; earlier samples are valid.
        """
        if self._taken + len(trace) > self._limits.samples:
            raise WriteError(
                f"{self._path} is full: a recording holds at most {self._limits.samples} samples",
                hint=f"the {self._taken} samples before are valid; record for a shorter time, or at a lower rate",
            )
        self._taken += len(trace)
        self._waiting.append(trace)
        self._arrivals += [(float(meter_s), float(host_s)) for meter_s, host_s in arrivals]
        full = sum(map(len, self._waiting)) >= columns.MOST_SAMPLES or len(self._arrivals) >= columns.MOST_ARRIVALS
        if full or time.monotonic() - self._written_s >= _CHUNK_S:
            self.flush()

    def flush(self) -> None:
        """Write the waiting samples."""
        trace = Trace.concatenate(self._waiting)
        pairs = np.array(self._arrivals, np.float64).reshape(-1, 2)
        self._waiting, self._arrivals, self._written_s = [], [], time.monotonic()
        if not (len(trace) or len(pairs) or trace.lost or trace.damaged):
            return
        for part, some in columns.split_blocks(trace, pairs):
            content = columns.pack(part, some)
            if self._samples + len(part) > self._limits.free_samples + self._bytes + len(content):
                content = columns.pack(part, some, is_loose=True)
            self._write(_frame_chunk(DATA, content))
            self._samples += len(part)
            self._bytes += len(content)
            self._lost += part.lost
            self._damaged += part.damaged

    def _write(self, data: bytes) -> None:
        """Write all of it or nothing."""
        assert self._file is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # a device file cannot be cut
                os.ftruncate(self._file, self._good)
            self._close()
            raise WriteError(
                f"could not write {self._path}: {error.strerror}",
                hint=f"free some space; the {self._samples} samples written before are valid" if self._good else None,
            ) from error
        self._good += len(data)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk up to the file's end.

    Raises:
        RecordingError: The file is cut or damaged at this point.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise RecordingError("it does not begin like a recording")
    while head := file.read(_FRAME.size):
        if len(head) < _FRAME.size:
            raise RecordingError("it is cut inside a chunk")
        kind, length = _FRAME.unpack(head)
        if length > _MOST.get(kind, -1):
            raise RecordingError("a chunk has an invalid head")
        content, check = file.read(length), file.read(_CHECK.size)
        if len(content) < length or len(check) < _CHECK.size:
            raise RecordingError("it is cut inside a chunk")
        if _CHECK.unpack(check)[0] != zlib.crc32(head + content):
            raise RecordingError("the check sum of a chunk is wrong")
        yield kind, content


def now() -> str:
    """Return the current time in the format of recordings: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _frame_chunk(kind: bytes, content: bytes) -> bytes:
    head = _FRAME.pack(kind, len(content))
    return head + content + _CHECK.pack(zlib.crc32(head + content))


def _json(value: object) -> bytes:
    data = json.dumps(value, allow_nan=False).encode()
    if len(data) > MOST_JSON_BYTES:
        raise WriteError("the notes of a recording are larger than 1 MiB")
    return data
