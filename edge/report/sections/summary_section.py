"""Builds the verdict and the summary tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from converters.printable import one_line
from edge.measure.measurement import Latency, RecordedAccuracy
from edge.measure.sparse_verdict import find_alarms
from edge.report.document import Column, DataTable, Section, Verdict
from edge.report.formatting import UNKNOWN, count_of, digits, megabytes, percent
from edge.report.material import SEPARATOR, ReportEntry
from edge.report.sections.device_table import device_line
from edge.report.sections.sparse_section import sparse_text

# The verdict names so many reasons at most; the section on validity names them all.
_REASONS = 6
_Cells = Sequence[tuple[str, bool, Callable[[ReportEntry], str]]]


def verdict_of(entries: Sequence[ReportEntry]) -> Verdict:
    """Return whether all measurements are valid, where they ran and which is the fastest."""
    bad = [entry for entry in entries if not entry.valid]
    valid = [entry for entry in entries if entry.valid]
    sentences = (*_where(entries), *_fastest(valid), *_count_instructions(valid))
    alarms = find_alarms([entry.measurement for entry in entries])
    if not bad:
        every = "The measurement is valid" if len(entries) == 1 else f"All {len(entries)} measurements are valid"
        headline = f"{every}, but there are alarms." if alarms else f"{every}."
        return Verdict(standing="valid", headline=headline, sentences=sentences, reasons=(), alarms=alarms)
    which = "the measurement" if len(entries) == 1 else f"{len(bad)} of {count_of(len(entries), 'measurement')}"
    reasons = tuple(
        f"{entry.label}: {reason}" for entry in bad for reason in entry.measurement.validity.reasons or ("",)
    )
    return Verdict(
        standing="invalid",
        headline=f"INVALID: {which} broke a rule and must not be relied on.",
        sentences=sentences,
        reasons=_limit_reasons(tuple(reason.removesuffix(": ") for reason in reasons)),
        alarms=alarms,
    )


def _limit_reasons(reasons: tuple[str, ...]) -> tuple[str, ...]:
    left = len(reasons) - _REASONS
    return reasons if left <= 1 else (*reasons[:_REASONS], f"and {left} more, listed under Validity")


def summary_section(entries: Sequence[ReportEntry]) -> Section:
    """Return the table a reader came for; emulated devices get one of their own."""
    measured = [entry for entry in entries if not entry.emulated]
    emulated = [entry for entry in entries if entry.emulated]
    tables = []
    if measured:
        caption = "Measured. Times are of one inference; size and memory in millions of bytes (MB)"
        tables.append(_table(caption, measured, _MEASURED))
    if emulated:
        caption = "Emulated. Counted instructions are exact, but they are not time"
        tables.append(_table(caption, emulated, _EMULATED))
    return Section(key="summary", title="Summary", tables=tuple(tables))


def accuracy_text(accuracy: RecordedAccuracy | None) -> str:
    """Return "83.5 % (167 of 200)"."""
    if accuracy is None:
        return UNKNOWN
    return f"{percent(accuracy.correct / accuracy.of)} ({accuracy.correct:,} of {accuracy.of:,})"


def validity_text(entry: ReportEntry) -> str:
    """Return the word of the verdict."""
    return "valid" if entry.valid else "INVALID"


def _where(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    places: dict[str, tuple[str, list[str]]] = {}
    for entry in entries:
        device = entry.measurement.device
        _, runtimes = places.setdefault(device.name, (device_line(device), []))
        if entry.runtime not in runtimes:
            runtimes.append(entry.runtime)
    return tuple(f"Ran on {name} ({line}) with {' and '.join(runtimes)}." for name, (line, runtimes) in places.items())


def _fastest(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    sentences = []
    for device in dict.fromkeys(entry.measurement.device.name for entry in entries if not entry.emulated):
        timed = [(entry, latency.median) for entry in entries if not entry.emulated
                 and entry.measurement.device.name == device and (latency := entry.measurement.latency_ms)]  # fmt: skip
        if timed:
            sentences.append(_fastest_on(device, sorted(timed, key=lambda pair: pair[1])))
    return tuple(sentences)


def _fastest_on(device: str, timed: Sequence[tuple[ReportEntry, float]]) -> str:
    best, best_ms = timed[0]
    threads = count_of(best.measurement.threads, "thread")
    if len(timed) == 1:
        return f"{best.label}: median {digits(best_ms)} ms on {threads} of {device}."
    slow, slow_ms = timed[-1]
    times = f"{digits(slow_ms / best_ms)} times as fast as {slow.label}" if best_ms > 0 else f"before {slow.label}"
    return (
        f"Fastest on {device}: {best.label}, median {digits(best_ms)} ms on {threads}, {times} ({digits(slow_ms)} ms)."
    )


def _count_instructions(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    sentences = []
    counts = [(e, counted.per_inference / 1e6) for e in entries if (counted := e.measurement.instructions)]
    for device in dict.fromkeys(entry.measurement.device.name for entry, _ in counts):
        own = sorted((pair for pair in counts if pair[0].measurement.device.name == device), key=lambda pair: pair[1])
        (best, fewest), (last, most) = own[0], own[-1]
        begin = f"Fewest instructions on {device}: {best.label}," if len(own) > 1 else f"{best.label}:"
        against = f"; most: {last.label}, {digits(most)} million" if len(own) > 1 else f" on {device}"
        sentences.append(f"{begin} {digits(fewest)} million instructions per inference{against} (counted, not timed).")
    return tuple(sentences)


def _table(caption: str, entries: Sequence[ReportEntry], cells: _Cells) -> DataTable:
    """Lay out a table; a place that all rows share goes into its caption, one in every label has no column."""
    shared = [cell for cell in _PLACE if len(entries) > 1 and len({cell[2](entry) for entry in entries}) == 1]
    if shared:
        places = (f"{_BEFORE[cell[0]]} {cell[2](entries[0])}" for cell in shared)
        caption = f"{caption}. All {' '.join(places)}"
    named = [cell for cell in _PLACE if all(_is_in_label(cell[2](entry), entry) for entry in entries)]
    cells = [cell for cell in cells if cell not in shared and cell not in named]
    return DataTable(
        caption=caption,
        columns=tuple(Column(head, number=number) for head, number, _ in cells),
        rows=tuple(tuple(read(entry) for _, _, read in cells) for entry in entries),
        cards="narrow",
    )


def _is_in_label(place: str, entry: ReportEntry) -> bool:
    return one_line(place) in entry.label.split(SEPARATOR)[1:]


def _read_latency(read: Callable[[Latency], float]) -> Callable[[ReportEntry], str]:
    return lambda entry: digits(read(entry.measurement.latency_ms) if entry.measurement.latency_ms else None)


def _all_cores(entry: ReportEntry) -> str:
    latency = entry.measurement.latency_all_cores_ms
    return f"{digits(latency.median)} on {latency.threads}" if latency else UNKNOWN


def _instructions(entry: ReportEntry) -> str:
    counted = entry.measurement.instructions
    return digits(counted.per_inference / 1e6) if counted else UNKNOWN


_BEFORE = {"Device": "on", "Runtime": "with"}
_PLACE: _Cells = (
    ("Device", False, lambda entry: entry.measurement.device.name),
    ("Runtime", False, lambda entry: entry.runtime),
)
_HEAD: _Cells = (("Variant", False, lambda entry: entry.label), *_PLACE)
_TAIL: _Cells = (
    ("Sparse kernels ran", True, sparse_text),
    ("Size (MB)", True, lambda entry: megabytes(entry.measurement.memory.model_bytes)),
    ("Accuracy", True, lambda entry: accuracy_text(entry.accuracy)),
)
_MEASURED: _Cells = (
    *_HEAD,
    ("Threads", True, lambda entry: str(entry.measurement.threads)),
    ("Median (ms)", True, _read_latency(lambda latency: latency.median)),
    ("p90 (ms)", True, _read_latency(lambda latency: latency.p90)),
    ("p99 (ms)", True, _read_latency(lambda latency: latency.p99)),
    ("All cores, median (ms)", True, _all_cores),
    *_TAIL,
    ("Peak memory (MB)", True, lambda entry: megabytes(entry.measurement.memory.peak_rss_bytes)),
    ("Validity", False, validity_text),
)
_EMULATED: _Cells = (
    *_HEAD,
    ("Instructions (million)", True, _instructions),
    *_TAIL,
    ("Validity", False, validity_text),
)
