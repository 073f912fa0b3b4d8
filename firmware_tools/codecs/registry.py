"""Which codecs there are; each module is imported on use."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, TypeVar

from firmware_tools.errors import SettingError, UnknownCodecError
from firmware_tools.trace import Trace

S = TypeVar("S")

# name: module. Each has `initial(**settings) -> State` and `decode(State, bytes, host_s) -> (Trace, State)`.
CODECS = {
    "edge": "firmware_tools.codecs.edge_meter",
    "ppk2": "firmware_tools.codecs.ppk2",
    "um25c": "firmware_tools.codecs.um25c",
    "tc66c": "firmware_tools.codecs.tc66c",
    "fnirsi": "firmware_tools.codecs.fnirsi",
    "csv": "firmware_tools.codecs.csv_lines",
}
# Whoever hands over a whole recording at once still works in the processor's cache.
_PIECE = 1 << 18


class Decoder(Generic[S]):
    """A codec and the state of one stream. `state` may be read; what it holds is the codec's own."""

    def __init__(self, decode: Callable[[S, bytes, float], tuple[Trace, S]], state: S) -> None:
        self._decode = decode
        self.state = state

    def feed(self, data: bytes, host_s: float) -> Trace:
        """Decode what is complete and keep the rest.

        Args:
            data: What came since the last call, in pieces of any size.
            host_s: time.monotonic() at its arrival, the time of samples of meters without a clock.
        """
        traces = []
        for first in range(0, max(len(data), 1), _PIECE):
            trace, self.state = self._decode(self.state, data[first : first + _PIECE], host_s)
            traces.append(trace)
        return traces[0] if len(traces) == 1 else Trace.joined(traces)


def decoder(name: str, **settings: object) -> Decoder[Any]:
    """Return a decoder for one stream of that kind of meter.

    Raises:
        UnknownCodecError: There is no such codec.
        SettingError: The codec has no such setting, or needs one that is missing, or cannot use its value.
    """
    if name not in CODECS:
        near = get_close_matches(name, CODECS, n=1)
        raise UnknownCodecError(f"no codec '{name}'", hint=f"nearest: {near[0]}" if near else f"one of {list(CODECS)}")
    module = import_module(CODECS[name])
    try:
        inspect.signature(module.initial).bind(**settings)
    except TypeError as error:
        known = list(inspect.signature(module.initial).parameters) or "none"
        raise SettingError(f"codec '{name}': {error}", hint=f"its settings: {known}") from error
    return Decoder(module.decode, module.initial(**settings))
