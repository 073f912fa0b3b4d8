"""Defines the jobs that run a model for its outputs: `infer` returns them, `golden` compares them with known ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from converters.decode import NonNegative, Positive
from devices.messages.machine_jobs import RuntimeVersion
from devices.messages.protocol import EncodedArray, Request


@dataclass(frozen=True)
class DelegateSpec:
    """An external delegate: its library and its options."""

    library: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSetup:
    """The model to load and how to run it; every job that runs a model has one.

    Attributes:
        model: Path of the .tflite file on the board.
        runtime: Name of the TFLite runtime; None takes the first that is installed.
        threads: Threads of the kernels.
        delegates: External delegates.
        cpus: Processors to run on; None leaves them to the kernel.
    """

    model: str
    runtime: str | None = None
    threads: Positive = 1
    delegates: tuple[DelegateSpec, ...] = ()
    cpus: tuple[int, ...] | None = None


@dataclass(frozen=True)
class InferResult:
    """The outputs of each run."""

    outputs: tuple[tuple[EncodedArray, ...], ...]
    runtime: RuntimeVersion
    peak_rss_bytes: int | None


@dataclass(frozen=True)
class InferRequest(Request[InferResult]):
    """Run a model on the arrays of each run."""

    job = "infer"
    answer = InferResult

    setup: ModelSetup
    inputs: tuple[tuple[EncodedArray, ...], ...]


@dataclass(frozen=True)
class OutputLimit:
    """The allowed difference of one output from the correct one; of a large output every `stride`-th value is kept.

    `unit` is "steps" of the stored integers, "relative" to the output's largest magnitude, or "share" of the values
    that differ.
    """

    name: str
    unit: str
    limit: NonNegative
    stride: Positive


@dataclass(frozen=True)
class GoldenDescription:
    """The member `about` of an archive of golden vectors, JSON that stays on boards with each release."""

    runs: int
    inputs: int
    outputs: tuple[OutputLimit, ...]
    alike: bool = False
    source: str | None = None
    runtime: RuntimeVersion | None = None
    delegates: tuple[DelegateSpec, ...] = ()
    reference: str | None = None


@dataclass(frozen=True)
class GoldenOutput:
    """The largest difference of one output; None where it is no number (another shape or type, or no finite value)."""

    name: str
    unit: str
    limit: float
    largest: float | None
    run: int
    passed: bool

    def __str__(self) -> str:
        found = "not comparable" if self.largest is None else f"{self.largest:.3g}"
        unit = {"steps": " steps", "share": " of all values", "relative": " of the largest value"}[self.unit]
        return f"{self.name!r} {found} (allowed {self.limit:.3g}{unit})"


@dataclass(frozen=True)
class GoldenResult:
    """The result of golden vectors on a board; `alike` is True where all have the same outputs, which proves little."""

    passed: bool
    runs: int
    alike: bool
    outputs: tuple[GoldenOutput, ...]
    runtime: RuntimeVersion

    @property
    def worst(self) -> GoldenOutput:
        """The output that came closest to its limit, or exceeded it most."""
        return max(self.outputs, key=lambda each: _share(each.largest, each.limit))


@dataclass(frozen=True)
class GoldenRequest(Request[GoldenResult]):
    """Run golden vectors; relative paths begin at the root whose lock the agent holds, if it holds one."""

    job = "golden"
    answer = GoldenResult

    model: str
    golden: str


def _share(largest: float | None, limit: float) -> float:
    if largest is None:
        return float("inf")
    return largest / limit if limit else (0.0 if not largest else float("inf"))
