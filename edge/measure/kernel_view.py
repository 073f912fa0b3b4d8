"""Reads the kernels of one inference from the profile that the agent took."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.agent.messages import KernelsResult
from edge.measure.measurement import Kernel, ProfiledOperator, ProfilerRun, RuntimeRef, SparseKernelCount

# XNNPACK's name for a sparse matrix product; its presence proves that a sparse kernel ran.
SPARSE = "SPMM"
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
        return SparseKernelCount(sum(SPARSE in operator.kernel.split() for operator in self.operators), pointwise)
