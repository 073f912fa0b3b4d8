"""Runs inferences in windows marked for an instruction counter; a separate program, for emulated boards.

Started as `main(["JSON"])` by a Python that an emulator runs with a counter. The argument is a `MarkedRequest`; the
answer is one line, as the agent's. A mark is a call
of getpriority with a first argument that no kernel knows, so that it changes nothing: the counter sees the call.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from converters.decode import decode, encode
from converters.errors import EdgeError
from devices.messages.protocol import encode_line
from edge.agent.failures import encode_failure
from edge.agent.messages import MarkedRequest, MarkedResult
from edge.agent.running import load_model, plausible_inputs, runtime_of

MARK = 0x65646765
BEGIN = 0  # a window's begin; its end is marked with its number, from 1
LEAST_WINDOWS, MOST_WINDOWS = 3, 7
# A window's length is such that the shorter ones take about this long, so that fast models are counted finely enough.
_WINDOW_S, _MOST_RUNS, _SLOW_S, _PYTHON_WARM = 0.3, 100, 2.0, 10


def main(arguments: list[str]) -> int:
    """Answer one request on standard output; native code's own prints go to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        request = decode(MarkedRequest, json.loads(arguments[0]), "the request")
        answer = encode_line({"ok": True, "result": encode(run_marked(request))})
    except EdgeError as error:
        answer = encode_line({"ok": False, **encode_failure(error)})
    with os.fdopen(answers, "wb") as out:
        out.write(answer)
    return 0


def run_marked(request: MarkedRequest) -> MarkedResult:
    """Run windows of n, 2n, n, ... inferences; answer with their lengths and the memory map."""
    model = load_model(request.setup)
    model.prepare(*plausible_inputs(model))
    once_s = _time_once(model.invoke)
    if once_s < _SLOW_S:  # most of the first inference went into translating it
        once_s = _time_once(model.invoke)
    short = max(1, min(_MOST_RUNS, int(_WINDOW_S / max(once_s, 1e-6))))
    most = _count_windows(once_s * short, request.budget_s)
    lengths = [short * (1 + index % 2) for index in range(most)]
    gc.collect()
    gc.disable()
    if short > 1:  # Python runs a function's first rounds in another way than later ones; of slow models it is nothing
        for _ in range(_PYTHON_WARM):
            _window(model.invoke, 1, BEGIN)
    for number, length in enumerate(lengths, 1):
        _window(model.invoke, length, number)
    with open("/proc/self/maps") as maps:  # noqa: PTH123  (one file of the system)
        mapped = tuple(line.rstrip("\n") for line in maps)
    return MarkedResult(runtime_of(model), tuple(lengths), mapped)


def mark(number: int) -> None:
    """Show a counter that a window begins (0) or ends (its number); without one, the call fails and does nothing."""
    with suppress(OSError):
        os.getpriority(MARK, number)


def _window(invoke: Callable[[], object], length: int, number: int) -> None:
    mark(BEGIN)
    for _ in range(length):
        invoke()
    mark(number)


def _time_once(invoke: Callable[[], object]) -> float:
    begin = time.monotonic()
    invoke()
    return time.monotonic() - begin


def _count_windows(short_s: float, budget_s: float) -> int:
    """Return how many windows, in turn short and twice as long, the budget allows."""
    count = int(budget_s / (1.5 * short_s)) if short_s > 0 else MOST_WINDOWS
    return min(MOST_WINDOWS, max(LEAST_WINDOWS, count))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
