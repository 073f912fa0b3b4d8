"""Measurements to report on, made from one that `edge profile` made."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

from edge.measure.measurement import (
    Conditions,
    Instructions,
    Kernel,
    KernelInstructions,
    Measurement,
    RecordedAccuracy,
    SparseKernelCount,
    Validity,
)
from edge.measure.measurement_files import measurement_from_json

REAL = Path(__file__).parent.parent / "measure" / "data" / "mobilenet_v1_0.25_128_quant.json"


@functools.cache
def real_measurement() -> Measurement:
    """Return a measurement that `edge profile` made."""
    return measurement_from_json(json.loads(REAL.read_text()))


def scaled(name: str, *, factor: float, model_bytes: int, correct: int | None, valid: bool = True) -> Measurement:
    """Return the real measurement as another variant: all its times scaled, another size and accuracy."""
    real = real_measurement()
    return dataclasses.replace(
        real,
        artifact=dataclasses.replace(real.artifact, name=name, sha256=name.encode().hex().ljust(64, "0")[:64]),
        latency_ms=_times(real.latency_ms, factor),
        latency_all_cores_ms=_times(real.latency_all_cores_ms, factor * 0.6),
        windows=tuple(dataclasses.replace(each, median_ms=each.median_ms * factor) for each in real.windows),
        kernels=tuple(dataclasses.replace(each, time_us=each.time_us * factor) for each in real.kernels),
        kernel_profile=dataclasses.replace(real.kernel_profile, invoke_us=real.kernel_profile.invoke_us * factor),
        memory=dataclasses.replace(real.memory, model_bytes=model_bytes),
        accuracy=None if correct is None else RecordedAccuracy(correct=correct, of=200),
        validity=Validity(valid=valid, reasons=() if valid else ("window medians differ by 18 %",), unknown=()),
    )  # fmt: skip


def _times(latency, factor):
    values = {f.name: getattr(latency, f.name) for f in dataclasses.fields(latency)}
    values.update({name: values[name] * factor for name in ("median", "p90", "p99", "mean", "min")}, interval=None)
    return dataclasses.replace(latency, **{**values, "values": tuple(each * factor for each in latency.values)})


def variants() -> list[Measurement]:
    """Return five variants: three on the front, one dominated, one invalid whose accuracy is unknown."""
    return [
        scaled("net-fp32", factor=3.0, model_bytes=14_000_000, correct=168),
        scaled("net-fp16", factor=3.1, model_bytes=7_000_000, correct=168),
        scaled("net-dynamic", factor=4.0, model_bytes=7_200_000, correct=165),
        scaled("net-int8", factor=1.0, model_bytes=3_900_000, correct=167),
        scaled("net-other", factor=2.0, model_bytes=3_700_000, correct=None, valid=False),
    ]


def emulated(measurement: Measurement) -> Measurement:
    """Return a measurement as an emulated board gives it: instructions counted, no time."""
    device = dataclasses.replace(
        measurement.device, name="emulated-pi4", facts={**measurement.device.facts, "kind": "emulated"}
    )
    stated = {"emulator": "Raspberry Pi 4 Model B (emulated by QEMU 7.2.22)", "cpu": "cortex-a72"}
    return dataclasses.replace(
        measurement,
        device=device,
        latency_ms=None,
        latency_all_cores_ms=None,
        windows=(),
        instructions=counted(),
        kernels=(Kernel("Convolution (NCHW, F32) SPMM", 12, None),),
        sparse_kernels=SparseKernelCount(ran=12, of=12),
        conditions=Conditions(before=stated, after=stated, samples=()),
    )


def counted() -> Instructions:
    """Return 100 million instructions by kernel, two of them of one family."""
    kernels = (
        ("xnn_f32_spmm_minmax_ukernel_32x1__neonfma_pipelined", "spmm", 50e6),
        ("xnn_f32_gemm_minmax_ukernel_7x8__asm_aarch64_neonfma_ld128_2", "gemm", 20e6),
        ("xnn_f32_dwconv2d_chw_ukernel_3x3p1__neonfma_4x4", "dwconv2d_chw", 15e6),
        ("xnn_f32_gemm_minmax_ukernel_1x8__asm_aarch64_neonfma_ld128_2", "gemm", 10e6),
        ("xnn_compute_spmm", "XNNPACK, around its kernels", 4e6),
        ("other functions", "other functions", 1e6),
    )
    return Instructions(
        per_inference=100e6,
        spread=7.5e-6,
        estimates=2,
        kernels=tuple(KernelInstructions(name, family, count, count / 100e6) for name, family, count in kernels),
    )
