"""Which runtimes use XNNPACK's sparse kernels on which processors, as measured on their stock wheels.

Kernels were seen by name: LiteRT's profiler, or the symbols of executed instructions under QEMU. What was not measured
is unknown, never guessed; a version between two measured ones that behave alike is taken to behave like them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from converters.targets.boards import AVX, FP16_ARITHMETIC, Target

RECOMMENDED = "ai-edge-litert==2.1.6"
# Processors that get sparse kernels: every 64-bit ARM, only those with fp16 arithmetic (ARMv8.2), or none.
Where = Literal["arm", "arm-fp16", "none"]
# Unary operators that every version lets into a sparse cluster.
UNARY = frozenset({
    "ABS", "CEIL", "ELU", "FLOOR", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1",
    "ROUND", "SQUARE",
})  # fmt: skip


@dataclass(frozen=True)
class SparseRuntime:
    """Versions of a runtime, `first` and `last` included, and what is known of their sparse kernels.

    Attributes:
        where: the processors that get them.
        more_unary: further unary operators that may stand in a cluster.
        outside_unary: operators that its XNNPACK runs, but lets into no cluster.
        without_unary: operators that its XNNPACK does not run.
        folds_shapes: whether a shape computed from an input's shape (SHAPE, STRIDED_SLICE, PACK, as a batch left open
            gives) counts as constant; else the tensor shaped by it is dynamic. None where not measured.
    """

    name: str
    first: tuple[int, ...]
    last: tuple[int, ...]
    where: Where
    more_unary: frozenset[str] = frozenset()
    outside_unary: frozenset[str] = frozenset()
    without_unary: frozenset[str] = frozenset()
    folds_shapes: bool | None = None

    def why_never(self, target: Target) -> str | None:
        """Return why no file gets sparse kernels on that processor; None where files may."""
        if not target.is_arm:
            return f"XNNPACK switches its sparse kernels off on x86 processors with {AVX.upper()}, whatever the runtime"
        if self.where == "none":
            return f"{self.versions} never uses sparse kernels"
        if self.where == "arm-fp16" and FP16_ARITHMETIC not in target.features:
            return (
                f"{self.versions} asks for fp16 arithmetic (ARMv8.2) before it uses sparse kernels, which "
                f"{target.board}'s {target.cpu} does not have"
            )
        return None

    @property
    def versions(self) -> str:
        """Return the range as text."""
        ends = dict.fromkeys(".".join(map(str, end)) for end in (self.first, self.last))
        return f"{self.name} {' to '.join(ends)}"


_NEWER_UNARY = frozenset({"GELU", "TANH"})
RUNTIMES: tuple[SparseRuntime, ...] = (
    SparseRuntime("ai-edge-litert", (2, 1, 7), (2, 3, 0), "arm"),
    SparseRuntime("ai-edge-litert", (1, 4, 0), (2, 1, 6), "arm", more_unary=_NEWER_UNARY, folds_shapes=True),
    SparseRuntime("ai-edge-litert", (1, 1, 2), (1, 3, 0), "none"),
    SparseRuntime(
        "tflite-runtime",
        (2, 14, 0),
        (2, 14, 0),
        "arm-fp16",
        outside_unary=frozenset({"TANH"}),
        without_unary=frozenset({"GELU"}),
        folds_shapes=False,
    ),
)


def runtime_named(spec: str) -> SparseRuntime | None:
    """Return what is known of a runtime, "name==version"; None where nothing was measured."""
    name, _, version = re.sub(r"\s+", "", spec).lower().replace("_", "-").partition("==")
    if not re.fullmatch(r"\d+(\.\d+){1,3}", version):
        return None
    numbers = tuple(map(int, version.split(".")))
    return next((known for known in RUNTIMES if known.name == name and known.first <= numbers <= known.last), None)
