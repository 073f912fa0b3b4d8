"""Compares the sparse kernels predicted for a file with those observed on the device.

The prediction is the analysis of the file for the device's processor and runtime. The observation is the kernels' names
where the runtime has a profiler; else, on emulated boards, the functions whose instructions were counted, which show
whether any ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from converters.printable import one_line
from edge.measure.findings import PredictedKernels, SparseVerdict
from edge.measure.kernel_names import SPARSE

if TYPE_CHECKING:
    from converters.targets.boards import Target
    from edge.measure.measured_model import MeasuredModel
    from edge.measure.measurement import DeviceRef, Measurement, RuntimeRef

NAMES, INSTRUCTIONS = "kernel names", "instructions"
_NOTHING_TO_RUN = "the model has no 1x1 convolutions, all that sparse kernels run"


def add_verdict(measurement: Measurement, model: MeasuredModel) -> Measurement:
    """Return the measurement with the verdict on its sparse kernels."""
    predicted = predict(model, measurement.device, measurement.runtime)
    return replace(measurement, sparse_verdict=_judge(predicted, measurement))


def verdict_on(measurement: Measurement) -> SparseVerdict | None:
    """Return a measurement's verdict, recomputed from its fields; None where nothing was predicted.

    A file whose stored verdict is a contradiction, or whose fields contradict each other, keeps it.
    """
    stored = measurement.sparse_verdict
    if stored is None:
        return None
    again = _judge(stored.predicted, measurement)
    return stored if stored.agrees is False and again.agrees is not False else again


def sparse_alarm(measurement: Measurement) -> str | None:
    """Return the alarm: an observation that contradicts the prediction, or wrong results."""
    verdict = verdict_on(measurement)
    if verdict is None:
        return None
    if verdict.agrees is False:
        return f"predicted and observed sparse kernels DISAGREE: {verdict.text}"
    if verdict.predicted.corrupts:
        return f"sparse kernels, predicted: {_first(verdict.predicted.reasons)}"
    return None


def find_alarms(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return the alarms of several measurements, each with the file and the device it is about."""
    return tuple(f"{one_line(each.artifact.name)} on {one_line(each.device.name)}: {alarm}"
                 for each in measurements if (alarm := sparse_alarm(each)) is not None)  # fmt: skip


def predict(model: MeasuredModel, device: DeviceRef, runtime: RuntimeRef) -> PredictedKernels:
    """Predict which 1x1 convolutions of a file sparse kernels will run on a device with a runtime.

    A device or file that cannot be analysed is not an error: `ran` is then None, and the reason says why.
    """
    from converters.errors import ConverterError
    from converters.targets.analysis import analyse

    target, spec = find_target(device), f"{runtime.name}=={runtime.version}"
    if target is None:
        return PredictedKernels(None, spec, None, None, False, (_not_measured(device),))
    defect: object = model.defect
    if model.info is not None:
        try:
            found = analyse(model.info, target, spec).sparse
            reasons = tuple(one_line(str(reason)) for reason in found.reasons)
            return PredictedKernels(target.name, spec, found.ran, found.of, found.corrupts, reasons)
        except ConverterError as error:
            defect = error
    return PredictedKernels(target.name, spec, None, None, False, (f"the file could not be analysed: {defect}",))


def find_target(device: DeviceRef) -> Target | None:
    """Return the target for a device by its reported facts; None where that was never measured.

    A 64-bit ARM is judged by its own instructions, whatever the board. An x86 processor without AVX, and 32-bit
    programs on whatever processor, were not measured.
    """
    from converters.targets.boards import ASIMD, AVX, EMULATED_BOARDS, TARGETS

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
    return replace(_board_of(device), features=features)


def _board_of(device: DeviceRef) -> Target:
    """Return the board of that name, else the one with the name that the device reports."""
    from converters.targets.boards import TARGETS, Target

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


@dataclass(frozen=True)
class _Observed:
    """The observation: the number of convolutions where names count them, else whether any ran."""

    by: str
    any_ran: bool
    ran: int | None = None
    of: int | None = None
    share: float = 0.0


def _judge(predicted: PredictedKernels, measurement: Measurement) -> SparseVerdict:
    observed = _observe(measurement)
    if observed is None:
        return SparseVerdict(predicted, None, None, None, _describe_unobserved(predicted, measurement))
    agrees = _compare(predicted, observed)
    text = f"sparse kernels ran: {_describe_observed(predicted, observed, agrees=agrees)}"
    if agrees is False:
        text += f"; predicted: {_describe_predicted(predicted)}"
    return SparseVerdict(predicted, agrees, observed.any_ran, observed.by, text)


def _observe(measurement: Measurement) -> _Observed | None:
    named = measurement.sparse_kernels
    if named is not None:
        return _Observed(NAMES, named.ran > 0, named.ran, named.of)
    counted = measurement.instructions.kernels if measurement.instructions else None
    if counted is None:
        return None
    share = sum(each.share for each in counted if each.family == SPARSE)
    return _Observed(INSTRUCTIONS, share > 0, share=share)


def _compare(predicted: PredictedKernels, observed: _Observed) -> bool | None:
    if predicted.ran is None:
        return None
    return predicted.ran == observed.ran if observed.ran is not None else (predicted.ran > 0) is observed.any_ran


def _describe_unobserved(predicted: PredictedKernels, measurement: Measurement) -> str:
    if predicted.of == 0:
        return f"sparse kernels: none can run, because {_NOTHING_TO_RUN}"
    why = measurement.kernels_reason or "no kernel profile"
    return f"sparse kernels: whether any ran is unknown ({why}); predicted: {_describe_predicted(predicted)}"


def _describe_observed(predicted: PredictedKernels, observed: _Observed, *, agrees: bool | None) -> str:
    if observed.of == 0:
        return f"none, because {_NOTHING_TO_RUN}"
    why = _reason_text(predicted, agrees=agrees)
    if not observed.any_ran:
        return f"none, {why}"
    if observed.ran is None:
        return f"some ({observed.share:.0%} of the instructions); of how many convolutions is unknown here"
    return f"{observed.ran} of {observed.of}" + (f"; not all, {why}" if observed.ran != observed.of else "")


def _reason_text(predicted: PredictedKernels, *, agrees: bool | None) -> str:
    """Return why not all ran: the first rule that is not met, unless something else was predicted."""
    reason = _first(predicted.reasons)
    if agrees is False:
        return "for an unknown reason"
    return f"because {reason}" if agrees else f"for a reason that was not predicted ({reason})"


def _describe_predicted(predicted: PredictedKernels) -> str:
    if predicted.ran is None:
        return f"not known ({_first(predicted.reasons)})"
    if predicted.ran == 0:
        return f"none, because {_first(predicted.reasons)}"
    return f"{predicted.ran} of {predicted.of}"


def _first(reasons: Sequence[str]) -> str:
    return reasons[0] if reasons else "no reason is stated"
