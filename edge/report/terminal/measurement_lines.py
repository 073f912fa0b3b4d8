"""Renders a measurement for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from edge.measure.findings import Sustained
from edge.measure.measurement import Kernel, Latency, Measurement
from edge.measure.sparse_verdict import sparse_alarm, verdict_on
from edge.report.formatting import count_of, digits, file_size
from edge.report.terminal.delegate_lines import delegate_summary
from edge.report.terminal.energy_lines import energy_summary
from edge.report.terminal.text_layout import shorten, table, wrap

_KERNELS, _NAME, _FUNCTION = 8, 44, 56


def summary(measurement: Measurement, *, alarmed: Callable[[str], str] = str) -> str:
    """Return the measurement's figures, its conditions, and its validity.

    `alarmed` marks each line of what must not be overlooked, for example as red.
    """
    parts = (
        _head, _latency, delegate_summary, _instructions,
        _kernels, lambda found: _sparse(found, alarmed), _energy, _memory,
        _accuracy, _conditions, _endurance, _validity, _notes,
    )  # fmt: skip
    return "\n".join(line for part in parts for line in part(measurement))


def _head(measurement: Measurement) -> Iterator[str]:
    runtime, device = measurement.runtime, measurement.device
    board = device.facts.get("board")
    cpu = device.facts.get("cpu")
    model = cpu.get("model") if isinstance(cpu, Mapping) else None
    said = ", ".join(str(each) for each in (board, model) if each)
    yield from wrap(f"{measurement.artifact.name} on {device.name}" + (f" ({said})" if said else ""))
    yield from wrap(f"{runtime.name} {runtime.version}" + (", quick plan" if measurement.plan.quick else ""), "  ")
    yield ""


def _latency(measurement: Measurement) -> Iterator[str]:
    found = [each for each in (measurement.latency_ms, measurement.latency_all_cores_ms) if each is not None]
    if found:
        head = ("latency (ms)", "median", "p90", "p99", "mean", "min", "spread", "runs")
        yield from table([head, *map(_latency_row, found)])
        once = f"load {digits(measurement.load_ms)} ms, first run {digits(measurement.first_ms)} ms"
        yield from wrap(f"{once}; {_windows(measurement)}")
        yield ""


def _instructions(measurement: Measurement) -> Iterator[str]:
    found = measurement.instructions
    if found is None:
        return
    spread = "unknown" if found.spread is None else f"{found.spread:.3%}"
    yield f"instructions per inference: {found.per_inference:,.0f}, spread {spread}"
    yield ""
    if found.kernels:
        listed = found.kernels[:_KERNELS]
        rows = [(shorten(each.name, _FUNCTION), f"{each.share:.1%}", f"{each.per_inference:,.0f}") for each in listed]
        yield from table([("functions (per inference)", "share", "count"), *rows])
        if len(found.kernels) > _KERNELS:
            yield f"and {len(found.kernels) - _KERNELS} more, see --json"
        yield ""


def _latency_row(latency: Latency) -> tuple[str, ...]:
    figures = (latency.median, latency.p90, latency.p99, latency.mean, latency.min)
    spread = "unknown" if latency.spread is None else f"{latency.spread:.1%}"
    return (count_of(latency.threads, "thread"), *map(digits, figures), spread, str(latency.samples))


def _windows(measurement: Measurement) -> str:
    interval = measurement.latency_ms.interval if measurement.latency_ms else None
    text = f"{len(measurement.windows)} windows"
    if interval is None:
        return text
    return f"{text}, median within {digits(interval.low)} to {digits(interval.high)} ms at {interval.confidence:.0%}"


def _kernels(measurement: Measurement) -> Iterator[str]:
    kernels = measurement.kernels
    if not kernels:
        yield from wrap(f"kernels: none known ({measurement.kernels_reason or 'the profile is empty'})")
        yield ""
        return
    yield from _kernel_times(kernels) if any(each.time_us is not None for each in kernels) else _kernel_names(kernels)
    if len(kernels) > _KERNELS:
        yield f"and {len(kernels) - _KERNELS} more families, see --json"
    yield ""


def _energy(measurement: Measurement) -> Iterator[str]:
    return energy_summary(measurement.energy)


def _sparse(measurement: Measurement, alarmed: Callable[[str], str]) -> Iterator[str]:
    verdict, alarm, sparse = verdict_on(measurement), sparse_alarm(measurement), measurement.sparse_kernels
    if verdict is not None:
        if verdict.agrees is not False:
            yield from wrap(verdict.text)
        yield from map(alarmed, wrap(alarm, "ALARM: ") if alarm else ())
    elif sparse is not None and sparse.of:
        yield f"sparse kernels ran: {sparse.ran} of {sparse.of}; nothing was predicted"
    else:
        return
    yield ""


def _kernel_times(kernels: Sequence[Kernel]) -> Iterator[str]:
    total_us = sum(kernel.time_us or 0.0 for kernel in kernels)
    rows = [
        (shorten(kernel.name, _NAME), f"{(kernel.time_us or 0.0) / total_us:.1%}" if total_us else "-",
         digits(kernel.time_us), f"{kernel.calls:g}")
        for kernel in kernels[:_KERNELS]
    ]  # fmt: skip
    return table([("kernels (per inference)", "share", "time (us)", "calls"), *rows])


def _kernel_names(kernels: Sequence[Kernel]) -> Iterator[str]:
    rows = [(shorten(kernel.name, _NAME), f"{kernel.calls:g}") for kernel in kernels[:_KERNELS]]
    return table([("kernels (per inference)", "calls"), *rows])


def _memory(measurement: Measurement) -> Iterator[str]:
    memory = measurement.memory
    if memory.peak_rss_bytes is None and memory.base_rss_bytes is None:
        yield f"memory: unknown; file {file_size(memory.model_bytes)}"
        return
    yield (
        f"memory: peak {file_size(memory.peak_rss_bytes)}, before the model {file_size(memory.base_rss_bytes)}; "
        f"file {file_size(memory.model_bytes)}"
    )


def _accuracy(measurement: Measurement) -> Iterator[str]:
    accuracy = measurement.accuracy
    if accuracy is not None and accuracy.of:
        share = accuracy.correct / accuracy.of
        yield f"accuracy when converted: {accuracy.correct} of {accuracy.of} ({share:.1%})"


def _conditions(measurement: Measurement) -> Iterator[str]:
    before, after = measurement.conditions.before, measurement.conditions.after
    if "emulator" in before:
        return
    parts = [
        f"governor {_before_and_after(before, after, 'governor', '')}",
        f"temperature {_before_and_after(before, after, 'temperature_c', ' C')}",
        f"load {_before_and_after(before, after, 'load_1min', '')}",
    ]
    yield from wrap("conditions: " + ", ".join(parts))


def _endurance(measurement: Measurement) -> Iterator[str]:
    waited, loaded = measurement.cool_down, measurement.sustained
    if waited is not None:
        degrees = f"{waited.begin_c:.1f} to {waited.end_c:.1f} C"
        yield from wrap(f"cool-down: {waited.waited_s:.0f} s, {degrees}, ended by: {waited.ended_by}")
    if loaded is not None:
        yield from wrap(f"sustained load: {describe_sustained(loaded)}")


def _before_and_after(before: Mapping[str, object], after: Mapping[str, object], name: str, unit: str) -> str:
    values = [before.get(name), after.get(name)]
    if None in values:
        return "unknown"
    texts = list(dict.fromkeys(f"{each:.3g}" if isinstance(each, float) else str(each) for each in values))
    return " to ".join(texts) + unit


def _validity(measurement: Measurement) -> Iterator[str]:
    validity = measurement.validity
    yield ""
    if validity.valid:
        yield "VALID: no rule was broken"
    else:
        yield "INVALID: do not rely on these figures, because"
        for reason in validity.reasons:
            yield from wrap(reason, "  - ")
    if validity.unknown:
        yield from wrap("not checked: " + "; ".join(validity.unknown))


def _notes(measurement: Measurement) -> Iterator[str]:
    for note in measurement.notes:
        yield from wrap(f"note: {note}")


def describe_sustained(loaded: Sustained) -> str:
    """Return latency, temperature and clock under sustained load as one sentence, without a full stop."""
    degrees = [point.temperature_c for point in loaded.points if point.temperature_c is not None]
    clocks = [point.clock_mhz for point in loaded.points if point.clock_mhz is not None]
    begun_s = loaded.first_throttle_s()
    reported = sorted({name for point in loaded.points for name in point.throttled or ()})
    parts = [
        f"{_duration(loaded.duration_s)}, median {loaded.first_ms:.4g} ms at first, {loaded.last_ms:.4g} ms at last "
        f"({loaded.change:+.1%})",
        f"{degrees[0]:.1f} to {degrees[-1]:.1f} C" if degrees else "temperature unknown",
        f"clock {min(clocks):.0f} to {max(clocks):.0f} MHz" if clocks else "clock unknown",
    ]
    if begun_s is not None:
        parts.append(f"the firmware reported {', '.join(reported)} from {_duration(begun_s)} on")
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
