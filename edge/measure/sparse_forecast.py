"""What the doctor says of a file for the very device that runs it: the device's facts become a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.errors import ConverterError
from converters.printable import one_line
from converters.targets.analysis import analyse
from converters.targets.boards import ASIMD, AVX, EMULATED_BOARDS, TARGETS, Target
from converters.tflite.reader import read_model
from edge.measure.measurement import DeviceRef, RuntimeRef
from edge.measure.sparse import SparseForecast


def forecast(path: Path, device: DeviceRef, runtime: RuntimeRef) -> SparseForecast:
    """Forecast which 1x1 convolutions of a file sparse kernels will run on a device with a runtime.

    A device or a file that cannot be judged is no error: `ran` is then None, and the reason says why.
    """
    target, spec = target_of(device), f"{runtime.name}=={runtime.version}"
    if target is None:
        return SparseForecast(None, spec, None, None, False, (_not_measured(device),))
    try:
        found = analyse(read_model(path), target, spec).sparse
    except ConverterError as error:
        return SparseForecast(target.name, spec, None, None, False, (f"the file could not be judged: {error}",))
    reasons = tuple(one_line(str(reason)) for reason in found.reasons)
    return SparseForecast(target.name, spec, found.ran, found.of, found.corrupts, reasons)


def target_of(device: DeviceRef) -> Target | None:
    """Return what a device is to the doctor, by the facts it stated; None where that was never measured.

    A 64-bit ARM is judged by its own instructions, whatever the board. An x86 processor without AVX, and 32-bit
    programs on whatever processor, were not measured.
    """
    if device.name in EMULATED_BOARDS:
        return EMULATED_BOARDS[device.name]
    cpu = _part(device.facts, "cpu")
    features, machine = tuple(map(str, cpu.get("features") or ())), cpu.get("architecture")
    if _part(device.facts, "python").get("bits") == 32:
        return None
    if machine == "x86_64":
        return TARGETS["x86"] if AVX in features else None
    if machine != "aarch64" or ASIMD not in features:
        return None
    return replace(_alike(device), features=features)


def _alike(device: DeviceRef) -> Target:
    """Return the board of that name, else one named as the device names itself."""
    board, cpu = str(device.facts.get("board") or "this device"), _part(device.facts, "cpu").get("model")
    known = next((each for each in TARGETS.values() if each.is_arm and board.startswith(each.board)), None)
    return known or Target(board, board, str(cpu or "processor"), "aarch64", ())


def _not_measured(device: DeviceRef) -> str:
    cpu = _part(device.facts, "cpu")
    named = " ".join(str(each) for each in (cpu.get("model"), cpu.get("architecture")) if each) or "a processor unknown"
    bits = ", 32-bit programs" if _part(device.facts, "python").get("bits") == 32 else ""
    return f"sparse kernels were not measured on {named}{bits}"


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, Mapping) else {}
