"""Decodes one stream of bytes, whatever the codec, and holds the codec's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from firmware_tools.trace import Trace

S = TypeVar("S")
# Decoding a whole recording in pieces of this size keeps the arrays within the processor's cache.
_PIECE = 1 << 18


class Decoder(Generic[S]):
    """A codec and the state of one stream.

    Args:
        decode: The codec's function: state, bytes and the host's time to samples and the next state.
        state: The codec's state before the first byte, from its `initial`.
    """

    def __init__(self, decode: Callable[[S, bytes, float], tuple[Trace, S]], state: S) -> None:
        self._decode = decode
        self.state = state

    def feed(self, data: bytes, host_s: float) -> Trace:
        """Decode the complete frames and keep the rest for the next call.

        Args:
            data: The bytes received since the last call, in pieces of any size.
            host_s: time.monotonic() at their arrival; the time of samples from meters without a clock.
        """
        traces = []
        for first in range(0, max(len(data), 1), _PIECE):
            trace, self.state = self._decode(self.state, data[first : first + _PIECE], host_s)
            traces.append(trace)
        return traces[0] if len(traces) == 1 else Trace.concatenate(traces)
