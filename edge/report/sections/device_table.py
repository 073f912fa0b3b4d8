"""Describes devices in one line and in a table, from their facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converters.printable import one_line
from edge.measure.comparability import is_emulated
from edge.measure.measurement import DeviceRef
from edge.report.document import Column, DataTable
from edge.report.formatting import NOT_APPLICABLE, UNKNOWN, count_of, field_text, megabytes, readable
from edge.report.material import ReportEntry


def device_line(device: DeviceRef) -> str:
    """Return for example "Raspberry Pi 4 Model B Rev 1.5, cortex-a72, 4 cores, Debian GNU/Linux 12 (bookworm)"."""
    cpu, system = _part(device.facts, "cpu"), _part(device.facts, "os")
    # An emulator's host lends its cores and memory: they tell nothing of the board.
    cores = None if is_emulated(device) else cpu.get("cores")
    said = (
        device.facts.get("board"),
        cpu.get("model") or cpu.get("architecture"),
        count_of(cores, "core") if readable(cores) else None,
        system.get("name"),
    )
    return one_line(", ".join(str(each) for each in said if each)) if any(said) else "it reported no facts"


def device_table(entries: Sequence[ReportEntry]) -> DataTable:
    """Return one row per device; where facts differ between measurements of one device, the first one's."""
    devices: dict[str, DeviceRef] = {}
    for entry in entries:
        devices.setdefault(entry.measurement.device.name, entry.measurement.device)
    heads = (
        "Device",
        "Reached as",
        "Board",
        "Processor",
        "Cores",
        "Inference features",
        "System",
        "Memory (MB)",
        "Python",
    )
    return DataTable(
        caption="Devices",
        columns=tuple(Column(head, number=head in ("Cores", "Memory (MB)")) for head in heads),
        rows=tuple(_row(device) for device in devices.values()),
        cards="narrow",
    )


def _row(device: DeviceRef) -> tuple[str, ...]:
    facts = device.facts
    cpu, system, python = (_part(facts, name) for name in ("cpu", "os", "python"))
    memory, hosted = facts.get("memory_bytes"), is_emulated(device)
    model = " · ".join(str(each) for each in (cpu.get("model"), cpu.get("architecture"), facts.get("soc")) if each)
    return (
        device.name,
        field_text("", facts.get("kind")),
        field_text("", facts.get("board")),
        model or UNKNOWN,
        NOT_APPLICABLE if hosted else field_text("", cpu.get("cores")),
        field_text("", cpu.get("features")),
        " · ".join(str(each) for each in (system.get("name"), not hosted and system.get("kernel")) if each) or UNKNOWN,
        NOT_APPLICABLE if hosted else megabytes(memory) if readable(memory) else UNKNOWN,
        field_text("", python.get("version")),
    )


def _part(facts: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = facts.get(name)
    return part if isinstance(part, Mapping) else {}
