"""Forecast against proof: whether the sparse kernels that ran are those that the doctor said would run.

The proof is the kernels' names where the runtime has a profiler; else, on emulated boards, the functions whose
instructions were counted, which tell some from none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from converters.printable import one_line
from edge.measure.measurement import Measurement
from edge.measure.microkernels import SPARSE
from edge.measure.sparse import SparseForecast, SparseVerdict
from edge.measure.sparse_forecast import forecast

NAMES, INSTRUCTIONS = "kernel names", "instructions"
_NOTHING_TO_RUN = "the model has no 1x1 convolutions, all that sparse kernels run"


def proven(measurement: Measurement, path: Path) -> Measurement:
    """Return the measurement with the verdict on its sparse kernels."""
    predicted = forecast(path, measurement.device, measurement.runtime)
    return replace(measurement, sparse_verdict=_judged(predicted, measurement))


def verdict_on(measurement: Measurement) -> SparseVerdict | None:
    """Return a measurement's verdict, judged anew from what it holds; None where nothing was forecast.

    A file that calls itself contradicted, or that contradicts itself, stays so.
    """
    stored = measurement.sparse_verdict
    if stored is None:
        return None
    again = _judged(stored.predicted, measurement)
    return stored if stored.agrees is False and again.agrees is not False else again


def sparse_alarm(measurement: Measurement) -> str | None:
    """Return what must not be overlooked: a forecast that the proof contradicts, or results that are wrong."""
    verdict = verdict_on(measurement)
    if verdict is None:
        return None
    if verdict.agrees is False:
        return f"the forecast of sparse kernels and the proof DISAGREE: {verdict.text}"
    if verdict.predicted.corrupts:
        return f"sparse kernels, forecast: {_first(verdict.predicted.reasons)}"
    return None


def alarms_in(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return the alarms of several measurements, each with what it is about."""
    return tuple(f"{one_line(each.artifact.name)} on {one_line(each.device.name)}: {alarm}"
                 for each in measurements if (alarm := sparse_alarm(each)) is not None)  # fmt: skip


@dataclass(frozen=True)
class _Proof:
    """What ran: convolutions where names count them, else whether any did."""

    by: str
    any_ran: bool
    ran: int | None = None
    of: int | None = None
    share: float = 0.0


def _judged(predicted: SparseForecast, measurement: Measurement) -> SparseVerdict:
    proof = _proof(measurement)
    if proof is None:
        return SparseVerdict(predicted, None, None, None, _unproven(predicted, measurement))
    agrees = _agrees(predicted, proof)
    text = f"sparse kernels ran: {_ran(predicted, proof, agrees=agrees)}"
    if agrees is False:
        text += f"; the forecast was {_forecast(predicted)}"
    return SparseVerdict(predicted, agrees, proof.any_ran, proof.by, text)


def _unproven(predicted: SparseForecast, measurement: Measurement) -> str:
    if predicted.of == 0:
        return f"sparse kernels: none can run, because {_NOTHING_TO_RUN}"
    why = measurement.kernels_reason or "no kernel profile"
    return f"sparse kernels: whether any ran is unknown ({why}); forecast: {_forecast(predicted)}"


def _proof(measurement: Measurement) -> _Proof | None:
    named = measurement.sparse_kernels
    if named is not None:
        return _Proof(NAMES, named.ran > 0, named.ran, named.of)
    counted = measurement.instructions.kernels if measurement.instructions else None
    if counted is None:
        return None
    share = sum(each.share for each in counted if each.family == SPARSE)
    return _Proof(INSTRUCTIONS, share > 0, share=share)


def _agrees(predicted: SparseForecast, proof: _Proof) -> bool | None:
    if predicted.ran is None:
        return None
    return predicted.ran == proof.ran if proof.ran is not None else (predicted.ran > 0) is proof.any_ran


def _ran(predicted: SparseForecast, proof: _Proof, *, agrees: bool | None) -> str:
    if proof.of == 0:
        return f"none, because {_NOTHING_TO_RUN}"
    why = _why(predicted, agrees=agrees)
    if not proof.any_ran:
        return f"none, {why}"
    if proof.ran is None:
        return f"some ({proof.share:.0%} of the instructions); of how many convolutions is unknown here"
    return f"{proof.ran} of {proof.of}" + (f"; not all, {why}" if proof.ran != proof.of else "")


def _why(predicted: SparseForecast, *, agrees: bool | None) -> str:
    """Return why not all ran: the first rule that is not met, where the forecast is no other."""
    reason = _first(predicted.reasons)
    if agrees is False:
        return "and why is not known"
    return f"because {reason}" if agrees else f"and why was not forecast ({reason})"


def _forecast(predicted: SparseForecast) -> str:
    if predicted.ran is None:
        return f"not known ({_first(predicted.reasons)})"
    if predicted.ran == 0:
        return f"none, because {_first(predicted.reasons)}"
    return f"{predicted.ran} of {predicted.of}"


def _first(reasons: Sequence[str]) -> str:
    return reasons[0] if reasons else "no reason is stated"
