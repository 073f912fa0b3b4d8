"""Facts as lines for people: a label and a text each, at most 80 columns together."""

from __future__ import annotations

from devices.accelerator_problems import PAGE_16K
from devices.accelerators import describe_accelerators
from devices.facts import Facts
from devices.messages.machine import Throttled
from edge.report.formatting import UNKNOWN, memory_size
from edge.report.terminal.text_layout import wrap

LABEL_WIDTH = 14


def describe(facts: Facts) -> list[tuple[str, str]]:
    """Return label and text of each fact, in the order people ask; what is not known says so."""
    cpu, system, clock = facts.cpu, facts.os, facts.clock
    return [
        ("device", f"{facts.name} ({facts.kind})"),
        ("board", facts.board or UNKNOWN),
        ("SoC", facts.soc or UNKNOWN),
        ("CPU", f"{cpu.model or UNKNOWN}, {_cores(cpu.cores, cpu.usable_cores)}, {cpu.architecture}"),
        ("CPU features", " ".join(cpu.features) or "none that matter here"),
        ("OS", f"{system.name or system.id or UNKNOWN}, kernel {system.kernel or UNKNOWN}"),
        ("Python", f"{facts.python.version} ({facts.python.implementation}, {facts.python.bits}-bit)"),
        ("libc", facts.libc or UNKNOWN),
        ("memory", f"{memory_size(facts.memory_bytes)}, {memory_size(facts.available_memory_bytes)} available"),
        ("page size", memory_size(facts.page_size_bytes)),
        ("free disk", memory_size(facts.free_disk_bytes)),
        ("governor", clock.governor or "unknown: the kernel does not control the clock"),
        ("frequency", _frequency(facts)),
        ("temperature", UNKNOWN if facts.temperature_c is None else f"{facts.temperature_c:.1f} °C"),
        ("throttling", _throttling(facts.throttled)),
        ("runtimes", ", ".join(f"{each.name} {each.version or UNKNOWN}" for each in facts.runtimes) or "none"),
        *(("Coral", each) for each in (describe_accelerators(facts.coral) if facts.coral else ())),
        *(("note", note) for note in notes(facts)),
    ]


def notes(facts: Facts) -> list[str]:
    """Return what of the facts needs attention, and what to do about it."""
    happened = {*facts.throttled.now, *facts.throttled.since_boot} if facts.throttled else set()
    cure = "edge doctor" if facts.kind == "local" else f"edge devices setup {facts.name}"
    bits, machine = facts.python.bits, facts.cpu.architecture
    chips = facts.coral.chips if facts.coral else ()
    return [f"{each.what}: {each.fix}" for each in facts.tpu_problems] + [
        text
        for holds, text in (
            (not facts.runtimes, f"no TFLite runtime: `{cure}`"),
            (bits == 32 and machine in ("aarch64", "x86_64"), f"32-bit Python on an {machine} kernel: a 64-bit system "
             "runs models faster, and newer runtimes exist for it only"),
            ("under-voltage" in happened, "under-voltage: the supply or its cable is too weak for this board (below "
             "4.63 V); what was measured meanwhile is not valid"),
            (bool({"throttled", "soft temperature limit"} & happened), "the board has been too hot: it needs cooling "
             "before it is measured"),
            (facts.page_size_bytes == PAGE_16K and not chips, "pages of 16 KiB: the driver of Coral PCIe chips needs "
             "4 KiB (kernel=kernel8.img in config.txt)"),
        )
        if holds
    ]  # fmt: skip


def lines(facts: Facts) -> list[str]:
    """Return the description as text, wrapped at 80 columns."""
    margin = " " * LABEL_WIDTH
    return [line for label, text in describe(facts) for line in wrap(text, f"{label:<{LABEL_WIDTH}}", margin=margin)]


def _cores(cores: int | None, usable: int | None) -> str:
    if cores is None:
        return "unknown cores"
    return f"{cores} cores" if usable in (cores, None) else f"{cores} cores ({usable} usable)"


def _frequency(facts: Facts) -> str:
    clock = facts.clock
    if clock.now_khz is None:
        return UNKNOWN
    now = ", ".join(sorted({UNKNOWN if each is None else f"{each // 1000}" for each in clock.now_khz}))
    least, most = clock.least_khz, clock.most_khz
    limits = "" if least is None or most is None else f" ({least // 1000} to {most // 1000})"
    return f"{now} MHz{limits}"


def _throttling(throttled: Throttled | None) -> str:
    if throttled is None:
        return UNKNOWN
    return f"now: {', '.join(throttled.now) or 'none'}; since boot: {', '.join(throttled.since_boot) or 'none'}"
