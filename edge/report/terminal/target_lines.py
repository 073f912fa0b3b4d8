"""Renders how a target will run a .tflite file: where operators run, whether sparse kernels do, what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.edgetpu import CompiledReport, MappingPrediction
from converters.edgetpu.compiled import CpuOperator
from converters.edgetpu.mapping import Placement
from converters.printable import printable
from converters.targets.analysis import Analysis
from converters.targets.sparse_prediction import Cluster, SparsePrediction
from edge.report.terminal.text_layout import wrap, wrap_fact, wrap_item

_LISTED = 12


def board_lines(analysis: Analysis, *, by_default: bool) -> Iterator[str]:
    """Yield the analysis for a board; `by_default`: the user named no runtime."""
    target, prediction = analysis.target, analysis.sparse
    yield from ("", f"Target {target.name}")
    yield from wrap_fact("board", f"{target.board}, {target.cpu}")
    hint = " (another one: --runtime NAME==VERSION)" if by_default else ""
    yield from wrap_fact("runtime", prediction.runtime + hint)
    yield from wrap_fact("sparse kernels", _sparse_verdict(prediction))
    for number, cluster in enumerate(prediction.clusters):
        yield from wrap_fact("" if number else "clusters", _cluster(cluster))
    if prediction.reasons:
        yield from ("", "Reasons, the ones to act on first")
    for number, reason in enumerate(prediction.reasons, 1):
        tensor = [f"tensor {reason.tensor.partition(';')[0]}"] if reason.tensor else []
        yield from wrap_item(number, reason.text, *tensor, change=reason.change)


def coral_lines(prediction: MappingPrediction) -> Iterator[str]:
    """Yield what will run on the Edge TPU, what will not and why, and what to change."""
    source = "" if prediction.compiled else " (a prediction of what edgetpu_compiler 16.0 will do)"
    yield from ("", "Target coral")
    yield from wrap_fact("board", f"Coral Edge TPU{source}")
    yield from wrap_fact("mapped", _coral_verdict(prediction))
    if prediction.mapped and not prediction.compiled:
        yield from wrap_fact("parameters", _parameters(prediction))
    if not prediction.failures:
        yield from _placements("On the CPU", prediction.on_cpu)
    doubtful = [each for each in prediction.operators if each.runs_on == "edgetpu" and not each.certain]
    yield from _placements("Mapped, but not for certain", doubtful)
    if prediction.advice:
        yield from ("", "To map more, starting with the operators that keep most others off")
    for number, advice in enumerate(prediction.advice, 1):
        after = f"; {advice.strands} more after it" if advice.strands else ""
        yield from wrap_item(number, advice.text + after, change=advice.change)


def edgetpu_file_lines(report: CompiledReport) -> Iterator[str]:
    """Yield what a file that is compiled for the Edge TPU holds."""
    for number, text in enumerate(_edgetpu_file_facts(report)):
        yield from wrap_fact("" if number else "target", text)


def _sparse_verdict(prediction: SparsePrediction) -> str:
    if prediction.refused:
        return "none: the runtime will NOT LOAD this file, see below"
    warning = " - and the results would be WRONG, see below" if prediction.corrupts else ""
    if prediction.engages is None:
        return "not known: this was not measured" + warning
    count = prediction.ran if prediction.engages else "none"
    return f"{count} of {prediction.of} 1x1 convolutions will run sparse{warning}"


def _cluster(cluster: Cluster) -> str:
    share = "no weights" if cluster.share is None else f"{cluster.share:.1%} of {cluster.parameters:,} 1x1 weights zero"
    span = f"operators {cluster.operators[0]} to {cluster.operators[-1]}"
    verdict = {True: "sparse", False: "dense", None: "not known"}[cluster.engages]
    return f"{span}: {cluster.pointwise} 1x1 convolutions, {share}, {cluster.encoded} stored sparse: {verdict}"


def _coral_verdict(prediction: MappingPrediction) -> str:
    total = len(prediction.operators)
    if prediction.compiled:
        return f"already compiled: {prediction.mapped} of {total} operators are edgetpu-custom-op"
    if prediction.failures:
        return f"nothing: the compiler will refuse the file. {prediction.failures[0].text}"
    count = f"all {total}" if prediction.fully_mapped else f"{prediction.mapped} of {total}"
    return f"{count} operators run on the Edge TPU"


def _parameters(prediction: MappingPrediction) -> str:
    sizes = prediction.parameters
    total = f"about {sizes.estimated_bytes:,} bytes of {sizes.on_chip_bytes:,} on the chip"
    if sizes.fits is None:
        return f"{total}; near its limit, some may be streamed for each inference"
    slow = f"; about {sizes.streamed_bytes:,} are streamed for each inference, which is slow"
    return total if sizes.fits else total + slow


def _placements(title: str, placements: Sequence[Placement]) -> Iterator[str]:
    """Yield the operators in groups of one reason."""
    by_reason: dict[str, list[Placement]] = {}
    for each in placements:
        by_reason.setdefault(each.reason or "", []).append(each)
    if by_reason:
        yield from ("", title)
    for reason, group in by_reason.items():
        yield from wrap(printable(f"{_names(group)}: {reason}"), "  ", margin="    ")


def _names(operators: Sequence[Placement] | Sequence[CpuOperator]) -> str:
    names = ", ".join(f"{each.index} {each.op}" for each in operators[:_LISTED])
    return names + (f" and {len(operators) - _LISTED} more" if len(operators) > _LISTED else "")


def _edgetpu_file_facts(report: CompiledReport) -> Iterator[str]:
    yield f"compiled for the Edge TPU (edgetpu-custom-op x {max(len(report.packages), 1)})"
    if report.min_runtime_version is not None:
        by = f", made by compiler {report.compiler}" if report.compiler else ""
        yield f"needs Edge TPU runtime {report.min_runtime_version} or newer{by}"
        cached = f"{report.cached_bytes:,} bytes kept on the Edge TPU"
        yield f"parameters {cached}, {report.streamed_bytes:,} sent for each inference"
    yield f"left on the CPU: {_names(report.on_cpu)}" if report.on_cpu else "nothing is left on the CPU"
    if report.problem:
        yield report.problem
