"""Assembles a measurement from observations of a model on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone

from devices.facts import Facts
from edge.measure.energy.value import Energy, NotMeasured
from edge.measure.findings import Accelerated, CoolDown, Sustained
from edge.measure.kernel_names import KernelView
from edge.measure.measured_model import MeasuredModel
from edge.measure.measurement import (
    SCHEMA,
    Conditions,
    DeviceRef,
    Instructions,
    Latency,
    Measurement,
    Memory,
    PlanRef,
    RuntimeRef,
    Validity,
    Window,
)
from edge.measure.plan import Plan
from edge.measure.sparse_verdict import add_verdict


@dataclass(frozen=True)
class Observation:
    """The observations of one model on a device; fields that a way of measuring cannot fill stay empty."""

    facts: Facts
    runtime: RuntimeRef
    kernels: KernelView
    conditions: Conditions
    validity: Validity
    notes: tuple[str, ...]
    threads: int = 1
    latency: Latency | None = None
    latency_all_cores: Latency | None = None
    windows: tuple[Window, ...] = ()
    load_ms: float | None = None
    first_ms: float | None = None
    base_rss_bytes: int | None = None
    peak_rss_bytes: int | None = None
    instructions: Instructions | None = None
    energy: Energy | NotMeasured | None = None
    cool_down: CoolDown | None = None
    sustained: Sustained | None = None
    accelerated: Accelerated | None = None


def assemble(model: MeasuredModel, plan: Plan, observed: Observation) -> Measurement:
    """Return the measurement, with the verdict on its sparse kernels."""
    kernels = observed.kernels
    measurement = Measurement(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        artifact=model.ref,
        device=DeviceRef(observed.facts.name, json.loads(json.dumps(observed.facts.to_json()))),
        runtime=observed.runtime,
        plan=PlanRef(plan.quick, plan.warmup_s, plan.windows, plan.window_s, plan.min_runs, plan.cpus),
        threads=observed.threads,
        latency_ms=observed.latency,
        latency_all_cores_ms=observed.latency_all_cores,
        windows=observed.windows,
        load_ms=observed.load_ms,
        first_ms=observed.first_ms,
        instructions=observed.instructions,
        kernels=kernels.kernels,
        kernels_reason=kernels.reason,
        kernel_profile=kernels.profile,
        operators=kernels.operators,
        sparse_kernels=kernels.count_sparse(model.pointwise),
        memory=Memory(model.model_bytes, observed.base_rss_bytes, observed.peak_rss_bytes),
        accuracy=model.accuracy,
        energy=observed.energy if isinstance(observed.energy, Energy) else None,
        conditions=observed.conditions,
        validity=observed.validity,
        notes=(*observed.notes, *model.notes),
        cool_down=observed.cool_down,
        sustained=observed.sustained,
        accelerated=observed.accelerated,
    )
    return add_verdict(measurement, model)
