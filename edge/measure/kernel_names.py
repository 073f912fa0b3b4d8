"""Reads the kernels of one inference: from the agent's kernel profile, and from the symbols of the runtime's library.

XNNPACK names its microkernels TYPES_OPERATION[_ACTIVATION]_ukernel_TILE__INSTRUCTIONS, for example
xnn_f32_gemm_minmax_ukernel_7x8__asm_aarch64_neonfma_ld128 (XNNPACK, doc/microkernel-naming-conventions.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.measure.measurement import Kernel, ProfiledOperator, ProfilerRun, RuntimeRef, SparseKernelCount

if TYPE_CHECKING:
    from edge.agent.messages import KernelsResult

OTHER = "other functions"
# The family of XNNPACK's sparse matrix products; instructions in it prove that a sparse kernel ran.
SPARSE = "spmm"
XNNPACK_REST, THREADS, PYTHON, LIBRARIES = "XNNPACK, around its kernels", "thread pool", "Python", "system libraries"
_TYPE = re.compile(r"x?[a-z]{1,2}\d{1,2}[a-z]?|xx")  # f32, qs8, qc8w, x32, xx: number types, not operations
_ACTIVATIONS = {"minmax", "relu", "linear", "fp32", "rndnu", "rndnu16", "magic"}
_NAMED = re.compile(r"(\d+)(\w+)")

# XNNPACK's name for a sparse matrix product; its presence proves that a sparse kernel ran.
SPARSE_OPERATOR = "SPMM"
# The runtime whose library holds the profiler; kernels of one runtime say nothing about the latency of another.
PROFILED_RUNTIME = "ai-edge-litert"


@dataclass(frozen=True)
class KernelView:
    """The kernels in a profile, or the reason why there is none."""

    kernels: tuple[Kernel, ...] | None = None
    operators: tuple[ProfiledOperator, ...] | None = None
    profile: ProfilerRun | None = None
    reason: str | None = None

    @classmethod
    def from_result(cls, result: KernelsResult) -> KernelView:
        """Read the result of the agent's job `kernels`."""
        profile = result.profile
        if profile is None:
            return cls(reason=result.reason or "the runtime gave no reason")
        kernels = [Kernel(each.name, each.calls, each.time_us) for each in profile.kernels]
        return cls(
            kernels=tuple(sorted(kernels, key=lambda kernel: kernel.time_us or 0.0, reverse=True)),
            operators=tuple(
                ProfiledOperator(each.index, each.op, each.kernel, each.time_us) for each in profile.operators
            ),
            profile=ProfilerRun(profile.version, profile.runs, profile.threads, profile.invoke_us),
        )

    @classmethod
    def without_profiler(cls, runtime: RuntimeRef) -> KernelView:
        """Return the view on a runtime that has no kernel profiler."""
        return cls(reason=f"{runtime.name} {runtime.version} has no kernel profiler, {PROFILED_RUNTIME} has one")

    def without_times(self) -> KernelView:
        """Return names and calls only, the most called kernel first: an emulator's times mean nothing."""
        return KernelView(
            kernels=self.kernels
            and tuple(
                sorted(
                    (replace(each, time_us=None) for each in self.kernels), key=lambda each: (-each.calls, each.name)
                )
            ),
            operators=self.operators and tuple(replace(each, time_us=None) for each in self.operators),
            profile=self.profile and replace(self.profile, invoke_us=None),
            reason=self.reason,
        )

    def count_sparse(self, pointwise: int | None) -> SparseKernelCount | None:
        """Return how many of the model's 1x1 convolutions ran as sparse products; None where either is unknown."""
        if self.operators is None or pointwise is None:
            return None
        return SparseKernelCount(
            sum(SPARSE_OPERATOR in operator.kernel.split() for operator in self.operators), pointwise
        )


@dataclass(frozen=True)
class Role:
    """A function's readable name, and its family: the operation, without number type and tile."""

    name: str
    family: str


def role_of(file: str, symbol: str) -> Role:
    """Return the role of a function, from its file and its symbol."""
    if file.startswith("python"):
        return Role(PYTHON, PYTHON)
    if not _is_runtime(file):
        return Role(file, LIBRARIES)
    if symbol.startswith("xnn_"):
        return Role(symbol, _operation(symbol) or XNNPACK_REST)
    if symbol.startswith("pthreadpool_"):
        return Role(symbol, THREADS)
    name = demangle(symbol)
    return Role(name, name.partition("::")[0] if "::" in name else file)


def demangle(symbol: str) -> str:
    """Return the qualified name of a C++ symbol without its template's and its own arguments; others as they are.

    Only the leading names of the Itanium C++ ABI's mangling (section 5.1) are read: enough to distinguish functions.
    """
    head = re.match(r"_ZN?[KL]*", symbol)
    if head is None or not symbol.startswith("_Z"):
        return symbol
    names, rest = [], symbol[head.end() :]
    while found := _NAMED.match(rest):
        size, text = int(found[1]), found[2]
        names.append("(anonymous)" if text.startswith("_GLOBAL__N_") else text[:size])
        rest = text[size:]
    return "::".join(names) or symbol


def _operation(symbol: str) -> str | None:
    before, ukernel, _ = symbol.partition("_ukernel")
    if not ukernel:
        return None
    words = [word for word in before.removeprefix("xnn_").split("_") if word not in _ACTIVATIONS]
    return "_".join(word for word in words if not _TYPE.fullmatch(word)) or "_".join(words)


def _is_runtime(file: str) -> bool:
    return any(word in file for word in ("litert", "LiteRt", "tensorflow", "tflite"))
