"""Byte streams for tests of codecs: cut anywhere, with errors anywhere."""

from __future__ import annotations

import importlib
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from firmware_tools.codecs.framing import Decoder
from firmware_tools.trace import Trace

# One error: where (as a fraction of the stream), what, and its value.
errors = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["flip", "drop", "insert"]), st.integers(0, 255)),
    max_size=6,
)
cuts = st.lists(st.floats(0, 1), max_size=8)


def with_errors(stream, faults):
    """Flip a bit, leave out or put in a byte at each place."""
    out = bytearray(stream)
    for where, what, value in faults:
        place = int(where * len(out))
        if not out:
            break
        if what == "flip":
            out[place] ^= 1 << value % 8
        elif what == "drop":
            del out[place : place + 1 + value % 40]
        else:
            out[place:place] = bytes([value]) * (1 + value % 3)
    return bytes(out)


def pieces(stream, places):
    """Cut the stream at these fractions of its length."""
    bounds = [0, *sorted(int(place * len(stream)) for place in places), len(stream)]
    return [stream[first:last] for first, last in pairwise(bounds)]


# The codecs by the kind of meter that they decode.
CODECS = {
    "edge": "edge_frames", "ppk2": "ppk2_stream", "um25c": "um25c", "tc66c": "tc66c", "fnirsi": "fnirsi_reports",
    "csv": "csv_lines",
}  # fmt: skip


def decoder(kind, **settings):
    """Return a decoder for one stream of a kind of meter."""
    codec = importlib.import_module(f"firmware_tools.codecs.{CODECS[kind]}")
    return Decoder(codec.decode, codec.initial(**settings))


def fed(decoder, parts, *, host_s=5.0):
    """Feed all parts and join what comes out."""
    return Trace.concatenate([decoder.feed(part, host_s) for part in parts])


def assert_same(first, second):
    """Assert that two traces hold the same to the last bit."""
    for column in ("time_s", "power_w", "supply_v", "current_a", "inputs"):
        np.testing.assert_array_equal(getattr(first, column), getattr(second, column), err_msg=column)
    assert (first.lost, first.damaged) == (second.lost, second.damaged)
