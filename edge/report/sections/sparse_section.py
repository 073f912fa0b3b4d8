"""Builds the section on sparse kernels: predicted from the file, observed on the device, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence

from edge.measure.findings import SparseVerdict
from edge.measure.sparse_verdict import verdict_on
from edge.report.document import Column, DataTable, Section
from edge.report.formatting import UNKNOWN
from edge.report.material import ReportEntry

# Words that a page shows in red: sparse kernels did not run as predicted; the results are wrong.
DISAGREES, WRONG = "DISAGREES", "WRONG results"
_HOW = (
    "Predicted is from the file alone, for the board's processor and runtime. Observed is on the board: "
    "the kernels' names, or on emulated boards the functions whose instructions were counted."
)


def sparse_section(entries: Sequence[ReportEntry]) -> Section | None:
    """Return predicted and observed of each measurement, None where no file has 1x1 convolutions."""
    found = [(entry, verdict) for entry in entries if (verdict := verdict_on(entry.measurement)) is not None]
    if not any(verdict.predicted.of != 0 for _, verdict in found):
        return None
    heads = ("Variant", "Predicted", "Observed", "Observed by", "Predicted and observed", "Verdict")
    table = DataTable(
        caption="1x1 convolutions on sparse kernels",
        columns=tuple(Column(head) for head in heads),
        rows=tuple(_row(entry, verdict) for entry, verdict in found),
        cards="narrow",
    )
    return Section(key="sparse-section", title="Sparse kernels", paragraphs=(_HOW,), tables=(table,))


def any_is_sparse(entries: Sequence[ReportEntry]) -> bool:
    """Return whether sparse kernels ran or were predicted anywhere; if not, the section moves to the end."""
    return any(
        verdict.any_ran or verdict.predicted.ran or verdict.agrees is False or verdict.predicted.corrupts
        for entry in entries
        if (verdict := verdict_on(entry.measurement)) is not None
    )


def _row(entry: ReportEntry, verdict: SparseVerdict) -> tuple[str, ...]:
    predicted = verdict.predicted
    expected = UNKNOWN if predicted.ran is None else f"{predicted.ran or 'none'} of {predicted.of}"
    return (
        entry.label,
        f"{expected}, {WRONG}" if predicted.corrupts else expected,
        sparse_text(entry),
        verdict.proof or UNKNOWN,
        {True: "agree", False: DISAGREES, None: UNKNOWN}[verdict.agrees],
        verdict.text,
    )


def sparse_text(entry: ReportEntry) -> str:
    """Return "34 of 34" or "none of 34": the 1x1 convolutions that ran on sparse kernels; loud if not as predicted."""
    verdict = verdict_on(entry.measurement)
    loud = [DISAGREES] if verdict and verdict.agrees is False else []
    wrong = [WRONG] if verdict and verdict.predicted.corrupts else []
    return ", ".join([_ran(entry, verdict), *loud, *wrong])


def _ran(entry: ReportEntry, verdict: SparseVerdict | None) -> str:
    sparse = entry.measurement.sparse_kernels
    if sparse is not None:
        return f"{sparse.ran or 'none'} of {sparse.of}" if sparse.of else "no 1x1 convolutions"
    return {True: "some", False: "none", None: UNKNOWN}[verdict.any_ran if verdict else None]
