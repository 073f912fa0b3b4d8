"""Which runtimes use XNNPACK's sparse kernels on which processors, as measured on their stock wheels.

Kernels were seen by name: LiteRT's profiler, or the symbols of executed instructions under QEMU. What was not measured
is unknown, never guessed; a version between two measured ones that behave alike is taken to behave like them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
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
        takes_dynamic: whether its XNNPACK runs a graph that has a tensor of computed size; else other kernels run all
            of it. None where not measured.
        reduces_any_axes: whether a mean or sum over any axes of a feature map ends a cluster, not only the mean over
            height and width. None where not measured, as below.
        takes_dense_maps: whether fully connected layers on feature maps stand in clusters, and their weights count.
        takes_clamps: whether MINIMUM and MAXIMUM with one number may stand in a cluster.
        takes_twice: operators that may read one value twice inside a cluster; XNNPACK makes a square of MUL in time.
        refuses_packed_integers: whether it loads no file with int8 weights that are stored sparse and multiplied with
            floats.
    """

    name: str
    first: tuple[int, ...]
    last: tuple[int, ...]
    where: Where
    more_unary: frozenset[str] = frozenset()
    outside_unary: frozenset[str] = frozenset()
    without_unary: frozenset[str] = frozenset()
    takes_dynamic: bool | None = None
    reduces_any_axes: bool | None = None
    takes_dense_maps: bool | None = None
    takes_clamps: bool | None = None
    takes_twice: frozenset[str] | None = None
    refuses_packed_integers: bool = False

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


_NEWER_UNARY = frozenset({"COS", "EXP", "GELU", "RSQRT", "SIN", "SQRT", "TANH"})
_LEFT_OUT = frozenset({"RELU_0_TO_1", "SIGN"})
_SINCE_1_4 = SparseRuntime(
    "ai-edge-litert",
    (1, 4, 0),
    (2, 0, 2),
    "arm",
    more_unary=_NEWER_UNARY,
    without_unary=_LEFT_OUT | {"LOG"},
    takes_dynamic=True,
    reduces_any_axes=True,
    takes_dense_maps=True,
    takes_clamps=False,
    refuses_packed_integers=True,
)
RUNTIMES: tuple[SparseRuntime, ...] = (
    SparseRuntime("ai-edge-litert", (2, 1, 7), (2, 3, 0), "arm", refuses_packed_integers=True),
    replace(
        _SINCE_1_4,
        first=(2, 1, 0),
        last=(2, 1, 6),
        more_unary=_NEWER_UNARY | {"LOG"},
        without_unary=_LEFT_OUT,
        takes_clamps=True,
        takes_twice=frozenset({"MUL"}),
    ),
    replace(_SINCE_1_4, first=(2, 0, 3), last=(2, 0, 3), takes_twice=frozenset()),
    _SINCE_1_4,
    SparseRuntime("ai-edge-litert", (1, 1, 2), (1, 3, 0), "none", refuses_packed_integers=True),
    SparseRuntime(
        "tflite-runtime",
        (2, 14, 0),
        (2, 14, 0),
        "arm-fp16",
        outside_unary=frozenset({"TANH"}),
        without_unary=frozenset({"GELU"}),
        takes_dynamic=False,
        reduces_any_axes=False,
        takes_dense_maps=False,
        takes_clamps=False,
        takes_twice=frozenset({"ADD", "MUL"}),
    ),
)


def runtime_named(spec: str) -> SparseRuntime | None:
    """Return what is known of a runtime, "name==version"; None where nothing was measured."""
    name, _, version = re.sub(r"\s+", "", spec).lower().replace("_", "-").partition("==")
    if not re.fullmatch(r"\d+(\.\d+){1,3}", version):
        return None
    numbers = tuple(map(int, version.split(".")))
    return next((known for known in RUNTIMES if known.name == name and known.first <= numbers <= known.last), None)
