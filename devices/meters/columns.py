"""Packs a trace into few bytes and unpacks it again, exact to the bit.

Layout of one block, all integers little endian:

    count u32, arrivals u32, flags u32, lost u64, damaged u64, then a zlib stream of:
    time_s     count x 8 bytes  second differences of the bit patterns, which are nearly constant at a steady rate
    power_w    count x 8 bytes  omitted if flag bit 0 is set: it is supply_v * current_a
    supply_v   count x 8 bytes
    current_a  count x 8 bytes
    inputs     count x 1 byte
    arrivals   arrivals x 16 bytes: the meter's time, the host's monotonic time

The 8 bytes of a column are stored plane by plane: first the lowest byte of all values, then the next.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from firmware_tools.errors import RecordingError, TraceError
from firmware_tools.trace import Trace

MOST_SAMPLES = 1 << 16  # in one block: at most about 2 MB
MOST_ARRIVALS = 1 << 12
_HEAD = struct.Struct("<IIIQQ")
_POWER_IS_PRODUCT = 1
MOST_BYTES = _HEAD.size + (4 * 8 + 1) * MOST_SAMPLES + 16 * MOST_ARRIVALS + (1 << 16)  # of incompressible data
Pairs = NDArray[np.float64]


def split_blocks(trace: Trace, pairs: Pairs) -> Iterator[tuple[Trace, Pairs]]:
    """Cut into blocks of the permitted size; the counters go with the first."""
    step, pair_step = MOST_SAMPLES, MOST_ARRIVALS
    for at in range(max(1, -(-len(trace) // step), -(-len(pairs) // pair_step))):
        part = slice(at * step, (at + 1) * step)
        lost, damaged = (trace.lost, trace.damaged) if at == 0 else (0, 0)
        power, supply, current = trace.power_w[part], trace.supply_v[part], trace.current_a[part]
        block = Trace(trace.time_s[part], power, supply, current, trace.inputs[part], lost, damaged)
        yield block, pairs[at * pair_step : (at + 1) * pair_step]


def pack(trace: Trace, arrivals: Pairs, *, is_loose: bool = False) -> bytes:
    """Return a block; at most MOST_SAMPLES samples and MOST_ARRIVALS pairs.

    Args:
        is_loose: Compress without searching for repetitions: each sample takes at least 3 bytes, however uniform.
    """
    product = np.array_equal(_bits(trace.power_w), _bits(trace.supply_v * trace.current_a))
    columns = [_split_planes(_second_differences(_bits(trace.time_s)))]
    columns += [] if product else [_split_planes(_bits(trace.power_w))]
    columns += [_split_planes(_bits(trace.supply_v)), _split_planes(_bits(trace.current_a)), trace.inputs.tobytes()]
    columns += [np.asarray(arrivals, "<f8").tobytes()]
    flags = _POWER_IS_PRODUCT if product else 0
    head = _HEAD.pack(len(trace), len(arrivals), flags, trace.lost, trace.damaged)
    strategy = zlib.Z_HUFFMAN_ONLY if is_loose else zlib.Z_DEFAULT_STRATEGY
    stream = zlib.compressobj(1, strategy=strategy)
    return head + stream.compress(b"".join(columns)) + stream.flush()


def unpack(block: bytes) -> tuple[Trace, Pairs]:
    """Return the trace and the arrivals.

    Raises:
        RecordingError: The block is invalid; no block takes more memory than the limits allow.
    """
    if len(block) < _HEAD.size:
        raise RecordingError("a block is too short")
    count, pairs, flags, lost, damaged = _HEAD.unpack_from(block)
    if count > MOST_SAMPLES or pairs > MOST_ARRIVALS or flags & ~_POWER_IS_PRODUCT or max(lost, damaged) >= 1 << 53:
        raise RecordingError("a block has impossible counts")
    product = bool(flags & _POWER_IS_PRODUCT)
    body = _inflate(block[_HEAD.size :], (3 if product else 4) * 8 * count + count + 16 * pairs)
    columns = [_join_planes(body[at * 8 * count : (at + 1) * 8 * count], count) for at in range(3 if product else 4)]
    supply, current = (column.view("<f8") for column in columns[-2:])
    power = supply * current if product else columns[1].view("<f8")
    rest = body[len(columns) * 8 * count :]
    arrivals = np.frombuffer(rest[count:], "<f8").reshape(pairs, 2).astype(np.float64)
    if not (np.isfinite(power).all() and np.isfinite(arrivals).all()):
        raise RecordingError("a block has power or times that are not numbers")
    try:
        time = np.cumsum(np.cumsum(columns[0])).view("<f8")
        return Trace(time, power, supply, current, np.frombuffer(rest[:count], np.uint8), lost, damaged), arrivals
    except TraceError as error:
        raise RecordingError(f"a block is impossible: {error}") from error


def _bits(column: NDArray[np.float64]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(column, "<f8").view("<u8")


def _second_differences(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the differences that two cumulative sums, modulo 2**64, undo."""
    once = np.diff(values, prepend=np.uint64(0))
    return np.diff(once, prepend=np.uint64(0))


def _split_planes(values: NDArray[np.uint64]) -> bytes:
    return np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(-1, 8).T.tobytes()


def _join_planes(data: bytes, count: int) -> NDArray[np.uint64]:
    planes = np.frombuffer(data, np.uint8).reshape(8, count)
    return np.ascontiguousarray(planes.T).view("<u8").reshape(count)


def _inflate(data: bytes, expected: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(data, max(expected, 1))
        more = stream.decompress(stream.unconsumed_tail, 1) if stream.unconsumed_tail else b""
    except zlib.error as error:
        raise RecordingError(f"a block cannot be unpacked: {error}") from error
    if len(body) != expected or more or not stream.eof or stream.unused_data:
        raise RecordingError("a block does not have the length it states")
    return body
