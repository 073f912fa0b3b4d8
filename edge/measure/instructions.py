"""Counts the instructions of an inference: the difference of windows of two lengths.

The difference cancels everything but inference: loading, marks, the loop. The counts are exact; the spread measures
how much the differences of neighbouring windows vary.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from converters.decode import encode
from devices.bundle import agent_bundle
from devices.contract import Completed, InstructionCounter
from devices.emulated.instruction_counts import CountedWindow
from devices.emulated.symbols import Function, count_by_function
from devices.errors import CountError
from devices.messages.model_jobs import ModelSetup
from devices.messages.protocol import ProtocolError, decode_line, decode_result
from edge.agent.failures import decode_failure
from edge.agent.messages import MarkedRequest, MarkedResult
from edge.measure.kernel_names import OTHER, SPARSE, Role, role_of
from edge.measure.measurement import Instructions, KernelInstructions, RuntimeRef, Validity
from edge.measure.statistics import median, relative_spread
from edge.runtime.errors import CrashedError, RuntimeFault

MOST_SPREAD = 0.005
# A function below this share of all instructions is not listed by itself.
LEAST_SHARE = 0.0005
_DEADLINE_S = 900.0
_TAIL_LINES = 5
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from edge.agent.marked import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True)
class InstructionCount:
    """One run of a model under the counter; `lengths[i]` is the inferences in `windows[i]`."""

    runtime: RuntimeRef
    windows: tuple[CountedWindow, ...]
    lengths: tuple[int, ...]
    maps: tuple[str, ...]

    def instructions(self) -> Instructions:
        """Return the instructions of one inference, in total and by function."""
        estimates = self._estimates()
        per_inference = median(estimates)
        return Instructions(
            per_inference=per_inference,
            spread=relative_spread(estimates),
            estimates=len(estimates),
            kernels=_kernels(self._by_role(), per_inference),
        )

    def verdict(self) -> Validity:
        """Return whether the counts are valid."""
        spread = relative_spread(self._estimates())
        threads = max(window.threads for window in self.windows)
        reasons = []
        if spread is None or spread > MOST_SPREAD:
            said = "is unknown" if spread is None else f"differ by {spread:.2%}"
            reasons.append(f"the counts of several run lengths {said}, at most {MOST_SPREAD:.1%} is allowed")
        if threads != 1:
            reasons.append(f"{threads} threads ran; instructions are counted exactly only where one does")
        return Validity(valid=not reasons, reasons=tuple(reasons), unknown=())

    def _estimates(self) -> list[float]:
        pairs = list(zip(self.windows, self.lengths, strict=True))
        return [
            (after.total - before.total) / (after_runs - before_runs)
            for (before, before_runs), (after, after_runs) in pairwise(pairs)
        ]

    def _by_role(self) -> dict[Role, float]:
        """Return instructions per inference by role: the mean of the long windows less that of the short ones."""
        short, long = min(self.lengths), max(self.lengths)
        means = {length: self._mean(length) for length in (short, long)}
        found = {role: (count - means[short].get(role, 0.0)) / (long - short) for role, count in means[long].items()}
        return {role: count for role, count in found.items() if count > 0}

    def _mean(self, length: int) -> dict[Role, float]:
        counts = []
        for window, runs in zip(self.windows, self.lengths, strict=True):
            if runs == length:
                counts.append(_roles(count_by_function(window.blocks, self.maps)))
        return {role: fmean(each[role] for each in counts) for role in set().union(*counts)}


def count_instructions(
    device: InstructionCounter, model: str, *, runtime: str | None, budget_s: float
) -> InstructionCount:
    """Run a model on a device and count.

    Args:
        device: Where to run it.
        model: The path of the file on it.
        runtime: Name of the TFLite runtime; None for the board's own.
        budget_s: The time for all windows; a slow model gets at least three.

    Raises:
        RuntimeFault: The runtime is missing, refuses the model or died.
        DeviceError: The device cannot run, or cannot count.
    """
    request = MarkedRequest(ModelSetup(model, runtime), budget_s=budget_s)
    argv = ("python3", "-c", _PROGRAM, str(agent_bundle()), json.dumps(encode(request)))
    done, windows = device.count(argv, deadline_s=_DEADLINE_S)
    result = _result(request, done)
    lengths = result.lengths
    if [window.number for window in windows] != list(range(1, len(lengths) + 1)):
        raise CountError(
            f"{len(windows)} windows were counted, {len(lengths)} were run", hint="the counter did not see all marks"
        )
    return InstructionCount(RuntimeRef(result.runtime.name, str(result.runtime.version)), windows, lengths, result.maps)


def _result(request: MarkedRequest, done: Completed) -> MarkedResult:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-_TAIL_LINES:]
    tail = "\n  ".join(["the last lines it wrote:", *said]) if said else None
    if done.exit.signal is not None:
        raise CrashedError(
            f"the TFLite runtime's process died with {done.exit.signal} while its instructions were counted", hint=tail
        )
    if done.exit.status != 0:
        raise RuntimeFault(f"the counting program ended with {done.exit}", hint=tail)
    try:
        answer = decode_line(done.stdout)
        if answer.get("ok") is True:
            return decode_result(request, answer)
    except ProtocolError as error:
        raise RuntimeFault(str(error), hint=tail) from error
    raise decode_failure(answer)


def _roles(functions: Mapping[Function, int]) -> Counter[Role]:
    found: Counter[Role] = Counter()
    for function, count in functions.items():
        found[role_of(function.file, function.symbol)] += count
    return found


def _kernels(roles: Mapping[Role, float], per_inference: float) -> tuple[KernelInstructions, ...]:
    """Return the functions by descending count; small ones are combined at the end."""
    ordered = sorted(roles.items(), key=lambda each: (-each[1], each[0].name))
    listed = [(role, count) for role, count in ordered if _is_listed(role, count / per_inference)]
    rest = sum(count for role, count in ordered if not _is_listed(role, count / per_inference))
    return tuple(_kernel(listed, rest, per_inference))


def _is_listed(role: Role, share: float) -> bool:
    """Whether a function has a line of its own; sparse kernels always do, because they are evidence."""
    return share >= LEAST_SHARE or role.family == SPARSE


def _kernel(listed: Sequence[tuple[Role, float]], rest: float, per_inference: float) -> list[KernelInstructions]:
    every = [*listed, *([(Role(OTHER, OTHER), rest)] if rest > 0 else [])]
    return [KernelInstructions(role.name, role.family, count, count / per_inference) for role, count in every]
