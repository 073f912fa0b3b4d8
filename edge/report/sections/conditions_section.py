"""Builds the sections on the conditions and validity of the measurements, and on what is unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edge.report.document import Column, DataTable, Section
from edge.report.formatting import NOT_APPLICABLE, UNKNOWN, count_of, digits, field_text, field_title, percent, readable
from edge.report.material import ReportEntry
from edge.report.sections.device_table import device_table
from edge.report.sections.summary_section import validity_text

_Sample = Mapping[str, object]
# Shown in columns of their own, or of no meaning to a reader.
_APART = frozenset({"time_s", "since"})


def conditions_section(entries: Sequence[ReportEntry]) -> Section:
    """Return clock, heat and load around each measurement, what emulated the boards, and the devices themselves."""
    measured = [entry for entry in entries if not entry.emulated]
    around = (_around(measured),) if measured else ()
    arrow = ("An arrow separates before and after; a single value did not change.",) if measured else ()
    samples = (table for entry in measured if (table := _samples(entry)) is not None)
    return Section(
        key="conditions-section",
        title="Conditions",
        paragraphs=(*arrow, *_emulators(entries)),
        tables=(*around, device_table(entries), *samples),
    )


def _around(entries: Sequence[ReportEntry]) -> DataTable:
    heads = (
        "Governor",
        "Clock (MHz)",
        "Temperature (°C)",
        "Load (1 min)",
        "Throttled",
        "Other programs (share of CPU)",
    )
    return DataTable(
        caption="Before and after each measurement",
        columns=(Column("Variant"), *(Column(head) for head in heads)),
        rows=tuple(_conditions(entry) for entry in entries),
        cards="narrow",
    )


def _emulators(entries: Sequence[ReportEntry]) -> tuple[str, ...]:
    said: dict[str, list[str]] = {}
    for entry in entries:
        if entry.emulated:
            stated = entry.measurement.conditions.before
            emulator = stated.get("emulator") or entry.measurement.device.facts.get("board")
            text = f"{field_text('', emulator)}, CPU {field_text('', stated.get('cpu'))}"
            said.setdefault(text, []).append(entry.label)
    return tuple(f"{', '.join(labels)} ran under emulation: {text}." for text, labels in said.items())


def validity_section(entries: Sequence[ReportEntry]) -> Section:
    """Return the verdict per measurement with its reasons, the rules that could not be checked, and the plan."""
    columns: dict[str, list[str]] = {
        "Variant": [entry.label for entry in entries],
        "Verdict": [validity_text(entry) for entry in entries],
        "Reasons": ["; ".join(entry.measurement.validity.reasons) or "no rule was broken" for entry in entries],
    }
    texts = []
    for head, said in (
        ("Could not be checked", ["; ".join(e.measurement.validity.unknown) or "nothing" for e in entries]),
        ("Plan", [_plan(entry) for entry in entries]),
    ):
        if set(said) == {NOT_APPLICABLE}:
            continue
        if len(set(said)) == 1:
            texts.append(f"{head}: {said[0]}.")
        else:
            columns[head] = said
    table = DataTable(
        caption="Verdict on each measurement",
        columns=tuple(Column(head) for head in columns),
        rows=tuple(zip(*columns.values(), strict=True)),
        cards="narrow",
    )
    return Section(key="validity-section", title="Validity", paragraphs=tuple(texts), tables=(table,))


def unknown_section(entries: Sequence[ReportEntry]) -> Section:
    """Return the notes of the measurements and what their files lack, with the reason if it is stated."""
    said: dict[str, list[str]] = {}
    for entry in entries:
        for text in (*entry.measurement.notes, *_absent(entry)):
            said.setdefault(text, []).append(entry.label)
    every = len(entries)
    bullets = tuple(
        text if len(labels) == every or every == 1 else f"{', '.join(dict.fromkeys(labels))}: {text}"
        for text, labels in said.items()
    )
    return Section(
        key="unknown-section",
        title="Notes, and what is not known",
        paragraphs=() if bullets else ("Nothing is missing.",),
        bullets=bullets,
    )


_ABSENT: tuple[tuple[str, Callable[[ReportEntry], object], str], ...] = (
    ("Latency", lambda e: e.measurement.latency_ms, "not measured"),
    ("Latency on all cores", lambda e: e.measurement.latency_all_cores_ms, "not measured"),
    ("Instructions", lambda e: e.measurement.instructions, "not counted (an emulated device counts them)"),
    ("Energy", lambda e: e.measurement.energy, "not measured"),
    ("Accuracy", lambda e: e.accuracy, "not in the measurement, and no artifact file of this very content was given"),
    ("Peak memory", lambda e: e.measurement.memory.peak_rss_bytes, "the device did not state it"),
)


# What no emulator can measure is not missing from its measurement.
_OF_A_BOARD = frozenset({"Latency", "Latency on all cores", "Energy", "Peak memory"})


def _absent(entry: ReportEntry) -> list[str]:
    asked = [each for each in _ABSENT if not (entry.emulated and each[0] in _OF_A_BOARD)]
    texts = [f"{what}: unknown, {why}." for what, read, why in asked if read(entry) is None]
    if entry.measurement.kernels is None:
        texts.append(f"Kernels: unknown, {entry.measurement.kernels_reason or 'no reason was stated'}.")
    return texts


def _plan(entry: ReportEntry) -> str:
    if entry.emulated:
        return NOT_APPLICABLE
    plan = entry.measurement.plan
    windows = f"{count_of(plan.windows, 'window')} of {digits(plan.window_s)} s"
    return f"{windows}, at least {count_of(plan.min_runs, 'run')} each, after {digits(plan.warmup_s)} s of warm-up"


def _conditions(entry: ReportEntry) -> tuple[str, ...]:
    conditions = entry.measurement.conditions
    before, after = conditions.before, conditions.after
    return (
        entry.label,
        _two(before, after, lambda sample: field_text("", sample.get("governor"))),
        _two(before, after, _clock),
        _two(before, after, lambda sample: _number(sample.get("temperature_c"))),
        _two(before, after, lambda sample: _number(sample.get("load_1min"))),
        _two(before, after, _throttle_state),
        _others((before, *conditions.samples, after)),
    )


def _two(before: _Sample, after: _Sample, read: Callable[[_Sample], str]) -> str:
    first, last = read(before), read(after)
    return first if first == last else f"{first} → {last}"


def _number(value: object) -> str:
    return digits(value) if readable(value) else UNKNOWN


def _clock(sample: _Sample) -> str:
    clocks = sample.get("frequencies_khz")
    known = sorted({khz for khz in clocks if readable(khz)}) if isinstance(clocks, list) else []
    if not known:
        return UNKNOWN
    return f"{known[0] / 1000:,.0f}" + (f" to {known[-1] / 1000:,.0f}" if len(known) > 1 else "")


def _throttle_state(sample: _Sample) -> str:
    state = sample.get("throttled")
    if not isinstance(state, Mapping):
        return UNKNOWN
    now, ever = state.get("now"), state.get("since_boot")
    return field_text("", now) if now else f"no (since boot: {field_text('', ever)})" if ever else "no"


def _others(samples: Sequence[_Sample]) -> str:
    since = [sample.get("since") for sample in samples]
    found = [each.get("other_cpu_share") for each in since if isinstance(each, Mapping)]
    known = [share for share in found if readable(share)]
    return f"at most {percent(max(known))}" if known else UNKNOWN


def _samples(entry: ReportEntry) -> DataTable | None:
    conditions = entry.measurement.conditions
    samples = conditions.samples or tuple(s for s in (conditions.before, conditions.after) if s)
    flat = [_flat(sample) for sample in samples]
    keys = [key for key in dict.fromkeys(key for each in flat for key in each)
            if any(each.get(key) is not None for each in flat)]  # fmt: skip
    if not keys:
        return None
    rows = tuple((str(index), *(field_text(key, each.get(key)) for key in keys)) for index, each in enumerate(flat))
    return DataTable(
        caption=f"All samples of {entry.label}",
        columns=(Column("Sample", True), *(Column(field_title(key), number=True) for key in keys)),
        rows=rows,
        folded=True,
    )


def _flat(sample: _Sample) -> dict[str, object]:
    since = sample.get("since")
    own = {str(key): value for key, value in sample.items() if key not in _APART}
    return {**own, **{str(key): value for key, value in since.items()}} if isinstance(since, Mapping) else own
