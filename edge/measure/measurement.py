"""Defines a measurement, the value behind "edge-measurement/1".

The attributes are the fields of the JSON, one to one. Unknown is None (null). Times are milliseconds where the field
says `_ms` or lies under `latency_ms`, microseconds where it says `_us`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.decode import Count, NonNegative
from edge.measure.energy.value import Energy
from edge.measure.findings import Accelerated, CoolDown, SparseVerdict, Sustained

SCHEMA = "edge-measurement/1"


@dataclass(frozen=True)
class ArtifactRef:
    """The file that ran; recipe, parity and counts are None without an artifact JSON of this very content."""

    path: str
    name: str
    sha256: str
    recipe: str | None
    parameters: Count | None
    macs: Count | None
    parity: Mapping[str, Any] | None


@dataclass(frozen=True)
class DeviceRef:
    """The device it ran on: its name and its facts as it stated them."""

    name: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class RuntimeRef:
    """The TFLite runtime that ran it, for example ai-edge-litert 2.3.0."""

    name: str
    version: str


@dataclass(frozen=True)
class Window:
    """One uninterrupted stretch of runs."""

    median_ms: NonNegative
    runs: Count
    duration_s: NonNegative


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `confidence` is the coverage reached, for example 0.9375."""

    low: NonNegative
    high: NonNegative
    confidence: NonNegative


@dataclass(frozen=True)
class Latency:
    """The distribution of one inference's wall time in ms.

    Percentiles are nearest-rank (the smallest sample with at least that share of samples at or below it); `spread` is
    (max - min) / median of the window medians; `interval` is that of the median, from the window medians; `samples`
    counts all runs, `values` holds at most 2000 of them, evenly spaced in time, for drawing.
    """

    median: NonNegative
    p90: NonNegative
    p99: NonNegative
    mean: NonNegative
    min: NonNegative
    samples: Count
    spread: NonNegative | None
    interval: Interval | None
    threads: Count
    values: tuple[NonNegative, ...]

    def __post_init__(self) -> None:
        """Refuse figures that contradict each other."""
        ordered = (self.min, self.median, self.p90, self.p99)
        if list(ordered) != sorted(ordered):
            raise ValueError(f"min, median, p90 and p99 must not fall, got {', '.join(f'{x:g}' for x in ordered)}")


@dataclass(frozen=True)
class KernelInstructions:
    """Instructions that one function of the runtime executes per inference, and its share of all.

    `name` is the microkernel's symbol (a C++ function's name without its arguments); `family` is its operation.
    """

    name: str
    family: str
    per_inference: NonNegative
    share: NonNegative


@dataclass(frozen=True)
class Instructions:
    """Executed instructions of one inference, where an emulator counted them.

    `per_inference` is the median of `estimates` differences of two run lengths, `spread` their (max - min) / median;
    `kernels` are sorted by descending count.
    """

    per_inference: NonNegative
    spread: NonNegative | None
    estimates: Count | None = None
    kernels: tuple[KernelInstructions, ...] | None = None


@dataclass(frozen=True)
class Kernel:
    """One kernel family of the runtime, summed over its operators, per inference; no time where it means nothing."""

    name: str
    calls: NonNegative
    time_us: NonNegative | None


@dataclass(frozen=True)
class ProfiledOperator:
    """One operator of the model (or of the delegate's graph) and the kernel that ran it, time per inference."""

    index: int
    op: str
    kernel: str
    time_us: NonNegative | None


@dataclass(frozen=True)
class ProfilerRun:
    """A run of the kernel profiler: the runtime's version, runs averaged, time of a whole inference."""

    version: str
    runs: Count
    threads: Count
    invoke_us: NonNegative | None


@dataclass(frozen=True)
class SparseKernelCount:
    """1x1 convolutions that ran as sparse matrix products, of all 1x1 convolutions in the model."""

    ran: Count
    of: Count


@dataclass(frozen=True)
class Memory:
    """Resident memory of the process that ran the model, before loading it and at its peak; size of the file."""

    model_bytes: Count
    base_rss_bytes: Count | None
    peak_rss_bytes: Count | None


@dataclass(frozen=True)
class RecordedAccuracy:
    """Right answers of the artifact when it was converted, from its artifact JSON."""

    correct: Count
    of: Count


@dataclass(frozen=True)
class Conditions:
    """The device's state before, after and between windows, as reported: clock, governor, temperature, load."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    samples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Validity:
    """The verdict: the reasons against validity as sentences, and the rules that could not be checked, and why."""

    valid: bool
    reasons: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class PlanRef:
    """The plan, as far as the measurement depends on it."""

    quick: bool
    warmup_s: NonNegative
    windows: Count
    window_s: NonNegative
    min_runs: Count
    cpus: tuple[Count, ...] | None = None


@dataclass(frozen=True)
class Measurement:
    """The result of one plan for one artifact on one device."""

    schema: str
    created: str
    artifact: ArtifactRef
    device: DeviceRef
    runtime: RuntimeRef
    plan: PlanRef
    threads: Count
    latency_ms: Latency | None
    latency_all_cores_ms: Latency | None
    windows: tuple[Window, ...]
    load_ms: NonNegative | None
    first_ms: NonNegative | None
    instructions: Instructions | None
    kernels: tuple[Kernel, ...] | None
    kernels_reason: str | None
    kernel_profile: ProfilerRun | None
    operators: tuple[ProfiledOperator, ...] | None
    sparse_kernels: SparseKernelCount | None
    memory: Memory
    accuracy: RecordedAccuracy | None
    energy: Energy | None
    conditions: Conditions
    validity: Validity
    notes: tuple[str, ...]
    cool_down: CoolDown | None = None
    sustained: Sustained | None = None
    sparse_verdict: SparseVerdict | None = None
    accelerated: Accelerated | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the value as `json.dumps` takes it."""
        value = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        assert isinstance(value, dict)
        return value
