"""From what was read to the report as a value: which sections, in the order a reader needs them."""

from __future__ import annotations

from edge.measure.advice import AdviceCriteria
from edge.report.document import Document
from edge.report.entries import Entry, entries_of
from edge.report.material import Material
from edge.report.sections.accelerator_section import accelerator_section
from edge.report.sections.conditions_section import conditions_section, unknown_section, validity_section
from edge.report.sections.energy_section import energy_section
from edge.report.sections.instructions_section import instructions_section
from edge.report.sections.kernel_section import breakdown_section
from edge.report.sections.latency_section import latency_section
from edge.report.sections.provenance_section import provenance_section
from edge.report.sections.shipping_section import advice_of, shipping_section
from edge.report.sections.sparse_section import any_is_sparse, sparse_section
from edge.report.sections.summary_section import summary_section, verdict_of
from edge.report.sections.sustained_section import endurance_section
from edge.report.sections.tradeoff_section import tradeoff_section


def compose(material: Material, *, title: str | None = None, terms: AdviceCriteria | None = None) -> Document:
    """Lay out the report; without a title it is named by the variants and devices it tells about.

    `terms` are those of the advice on what to ship.
    """
    entries = entries_of(material)
    advice = advice_of(entries, terms)
    sparse, is_sparse = sparse_section(entries), any_is_sparse(entries)
    sections = (
        summary_section(entries),
        shipping_section(advice),
        sparse if is_sparse else None,
        latency_section(entries, emulated=False),
        accelerator_section(entries),
        endurance_section(entries),
        breakdown_section(entries, emulated=False),
        tradeoff_section(advice),
        energy_section(entries),
        instructions_section(entries),
        latency_section(entries, emulated=True),
        breakdown_section(entries, emulated=True),
        None if is_sparse else sparse,
        validity_section(entries),
        conditions_section(entries),
        provenance_section(entries, material.artifacts),
        unknown_section(entries),
    )
    return Document(
        title=title or _title(entries),
        verdict=verdict_of(entries),
        sections=tuple(section for section in sections if section is not None),
    )


def _title(entries: tuple[Entry, ...]) -> str:
    devices = list(dict.fromkeys(entry.measurement.device.name for entry in entries))
    if len(entries) == 1:
        return f"{entries[0].label} on {devices[0]}"
    variants = len({entry.measurement.artifact.sha256 for entry in entries})
    where = devices[0] if len(devices) == 1 else f"{len(devices)} devices"
    return f"{variants} variants on {where}" if variants > 1 else f"{entries[0].measurement.artifact.name} on {where}"
