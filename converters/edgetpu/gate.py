"""Refuses files of which the Edge TPU compiler would map nothing, unless forced."""

from __future__ import annotations

from collections.abc import Callable

from converters.edgetpu.mapping import MappingPrediction, predict_mapping
from converters.errors import ConversionError
from converters.tflite.values import ModelInfo

_SHOWN = 4


def require_mapped(
    *, force: bool = False, notify: Callable[[str], None] = lambda text: None
) -> Callable[[ModelInfo], MappingPrediction]:
    """Return a check of files: it refuses files that the compiler would, and reports operators on the CPU.

    Args:
        force: accept files that the compiler is predicted to refuse.
        notify: called with remarks for the user: operators that will not be mapped, parameters that will be streamed.

    Raises:
        ConversionError: (the check) nothing of the file would run on the Edge TPU.
    """

    said: set[str] = set()

    def require(model: ModelInfo) -> MappingPrediction:
        found = predict_mapping(model)
        for line in remarks(found):
            if line not in said:  # recipes that share a model share its remarks
                notify(line)
                said.add(line)
        if found.mapped or force:
            return found
        reasons = "; ".join(each.text for each in found.failures[:_SHOWN]) or _first(found)
        change = found.advice[0].change if found.advice else ""
        hint = f"{change}; or write it with --force" if change else "write it with --force"
        raise ConversionError(f"nothing of it would run on the Edge TPU: {reasons}", hint=hint)

    return require


def remarks(found: MappingPrediction) -> list[str]:
    """Return the remarks on a file that is not mapped entirely, or does not fit."""
    lines = []
    if found.mapped and found.on_cpu:
        lines.append(f"{len(found.on_cpu)} of {len(found.operators)} operators will stay on the CPU: {_names(found)}")
        lines += [f"{each.text} -> {each.change}" for each in found.advice[:_SHOWN]]
    if found.mapped and found.parameters.streamed_bytes:
        sizes = found.parameters
        verb = "may" if sizes.fits is None else "do"
        lines.append(f"parameters of about {sizes.estimated_bytes:,} bytes {verb} not fit on the Edge TPU: about "
                     f"{sizes.streamed_bytes:,} are streamed for each inference")  # fmt: skip
    return lines


def _names(found: MappingPrediction) -> str:
    names = [f"{each.index} {each.op}" for each in found.on_cpu]
    return ", ".join(names[: 2 * _SHOWN]) + (", ..." if len(names) > 2 * _SHOWN else "")


def _first(found: MappingPrediction) -> str:
    each = found.on_cpu[0]
    return f"operator {each.index} ({each.op}) {each.reason}"
