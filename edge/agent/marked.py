"""Inferences in windows that an instruction counter can tell apart; a program of its own, for emulated boards.

Started as `main(["JSON"])` by a Python that an emulator runs with a counter. The argument is a request as the agent
takes them: {"job": "marked", "model", "runtime", "budget_s"}; the answer is one line, as the agent's. A mark is a call
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
from typing import Any

from edge.agent import protocol
from edge.agent.model import load_model, plausible_inputs
from edge.agent.request import at_least
from edge.runtime.errors import RuntimeFault

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
        answer = protocol.encode_line({"ok": True, "result": run(json.loads(arguments[0]))})
    except RuntimeFault as error:
        answer = protocol.encode_line({"ok": False, "error": protocol.encode_error(error)})
    with os.fdopen(answers, "wb") as out:
        out.write(answer)
    return 0


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run windows of n, 2n, n, ... inferences; answer with their lengths and with what is mapped where."""
    model = load_model(request)
    model.prepare(*plausible_inputs(model))
    once_s = _timed(model.invoke)
    if once_s < _SLOW_S:  # most of the first inference went into translating it
        once_s = _timed(model.invoke)
    short = max(1, min(_MOST_RUNS, int(_WINDOW_S / max(once_s, 1e-6))))
    most = _affordable(once_s * short, at_least(request, "budget_s", 0, 6.0))
    lengths = [short * (1 + index % 2) for index in range(most)]
    gc.collect()
    gc.disable()
    if short > 1:  # Python runs a function's first rounds in another way than later ones; of slow models it is nothing
        for _ in range(_PYTHON_WARM):
            _window(model.invoke, 1, BEGIN)
    for number, length in enumerate(lengths, 1):
        _window(model.invoke, length, number)
    with open("/proc/self/maps") as maps:  # noqa: PTH123  (one file of the system)
        mapped = [line.rstrip("\n") for line in maps]
    return {
        "runtime": {"name": model.runtime.name, "version": model.runtime.version},
        "lengths": lengths,
        "maps": mapped,
    }


def mark(number: int) -> None:
    """Tell a counter that a window begins (0) or ends (its number); without one it is an error that means nothing."""
    with suppress(OSError):
        os.getpriority(MARK, number)


def _window(invoke: Callable[[], object], length: int, number: int) -> None:
    mark(BEGIN)
    for _ in range(length):
        invoke()
    mark(number)


def _timed(invoke: Callable[[], object]) -> float:
    begin = time.monotonic()
    invoke()
    return time.monotonic() - begin


def _affordable(short_s: float, budget_s: float) -> int:
    """Return how many windows, in turn short and twice as long, the budget allows."""
    count = int(budget_s / (1.5 * short_s)) if short_s > 0 else MOST_WINDOWS
    return min(MOST_WINDOWS, max(LEAST_WINDOWS, count))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
