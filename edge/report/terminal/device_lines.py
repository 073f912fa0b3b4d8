"""Renders devices: their facts, what a scan finds, the runtime to set up, and the diagnosis of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from devices.accelerator_problems import PAGE_16K
from devices.accelerators import describe_accelerators
from devices.facts import Facts
from devices.messages.machine_jobs import Throttled
from edge.report.formatting import UNKNOWN, memory_size
from edge.report.terminal.text_layout import paragraph, wrap

if TYPE_CHECKING:
    from devices.findings import ScanFinding
    from devices.solver.solve import Solution
    from edge.doctor.diagnosis import Diagnosis
    from edge.doctor.parts import HostCheck

LABEL_WIDTH = 14
_MARGIN = " " * 10
_SSH_PORT = 22
# What is missing there keeps none of the jobs from running.
_OPTIONAL = ("coral", "programs")


def describe(facts: Facts) -> list[tuple[str, str]]:
    """Return label and text of each fact, in the order of interest; unknown ones are marked."""
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
    """Return the facts that need attention, and what to do about them."""
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
            (bool({"throttled", "soft temperature limit"} & happened),
             "the board has been too hot: cool it before measuring"),
            (facts.page_size_bytes == PAGE_16K and not chips, "pages of 16 KiB: the driver of Coral PCIe chips needs "
             "4 KiB (kernel=kernel8.img in config.txt)"),
        )
        if holds
    ]  # fmt: skip


def fact_lines(facts: Facts) -> list[str]:
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


def scan_lines(found: ScanFinding) -> Iterator[str]:
    """Yield one finding of a scan: what it is, how to add it, and whether the user has access to it."""
    yield f"{found.name}: {found.about}"
    if found.kind == "board":
        port = f" --port {found.port}" if found.port not in (_SSH_PORT, None) else ""
        yield f"  at {', '.join(found.addresses)}"
        yield f"  edge devices add {found.name.partition('.')[0]} USER@{found.name}{port}"
    if found.note:
        yield f"  {found.note}"
    if found.access is not None:
        yield f"  {'you may open ' + found.access.path if found.access.allowed else found.access.problem}"
        if found.access.hint:
            yield f"  -> {found.access.hint}"


def solution_lines(name: str, solution: Solution) -> Iterator[str]:
    """Yield the runtime that was chosen for a device, what it can do, and why others were not chosen."""
    can = solution.capabilities
    system = f", {', '.join(solution.system_packages)} of its system" if solution.system_packages else ""
    yield paragraph(f"{solution.name} {solution.version} for {name}: {solution.reasons[0]}")
    yield paragraph(f"  Python {'.'.join(map(str, solution.python))}, {solution.platform_tags[0]}{system}")
    for what, has in (
        ("sparse kernels", can.sparse_kernels),
        ("dynamic-range models", can.dynamic_range),
        ("XNNPACK for int8", can.int8_xnnpack),
        ("kernel profile", can.kernel_profile),
    ):
        yield f"  {what:22}{UNKNOWN if has is None else 'yes' if has else 'no'}"
    for reason in solution.reasons[1:]:
        yield paragraph(f"  not taken: {reason}")


def diagnosis_lines(diagnosis: Diagnosis, jobs: Sequence[str]) -> Iterator[str]:
    """Yield what is installed and missing on this machine, section by section, and which jobs can run."""
    for section, findings in groupby(diagnosis.findings, key=lambda item: item.section):
        yield f"{section}, each optional" if section in _OPTIONAL else section
        for item in findings:
            yield from _finding(item)
    yield "jobs"
    for job in jobs:
        blockers = diagnosis.blockers(job)
        needs = f": needs {', '.join(item.name for item in blockers)}" if blockers else ""
        yield f"  {'missing' if blockers else 'ok':8}{job}{needs}"


def _finding(item: HostCheck) -> Iterator[str]:
    yield from wrap(f"{item.name}: {item.detail}", f"  {item.state:8}", margin=_MARGIN)
    yield from wrap(item.why, _MARGIN, margin=_MARGIN)
    if item.how:
        yield from wrap(f"-> {item.how}", _MARGIN, margin=_MARGIN)
