"""Writes the report: reads measurement files, composes the sections, and renders one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from converters.files import write_whole
from edge import __version__
from edge.errors import InputError
from edge.measure.advice import AdviceCriteria
from edge.report.document import Document
from edge.report.html.page import html_of
from edge.report.markdown import markdown_of
from edge.report.material import Material, ReportEntry, entries_of, read_material
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

SCHEMA = "edge-report/1"
SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".json": "json"}
FORMATS = ("html", "md", "json")


@dataclass(frozen=True)
class Written:
    """What was written, and the verdict in it."""

    path: str
    format: str
    bytes: int
    measurements: int
    valid: bool
    headline: str

    def to_json(self) -> dict[str, object]:
        """Return the value as `json.dumps` takes it."""
        return asdict(self)


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    form: str | None = None,
    title: str | None = None,
    criteria: AdviceCriteria | None = None,
) -> Written:
    """Read measurements (and artifacts), lay them out and write one whole file.

    Args:
        paths: Measurement files, each one measurement or a list, and optionally artifact files.
        out: The report; nothing half-written is ever seen there.
        form: html, md or json; by default the suffix of `out` decides.
        title: Headline; by default what ran where.
        criteria: Of the advice on what to ship.

    Raises:
        InputError: A file cannot be read as what it should be, or `out` is one of them or of an unknown suffix.
        MissingPartError: A package that draws the page is not installed.
        converters.errors.WriteError: `out` cannot be written.
    """
    form = form or format_of(out)
    _refuse_input(paths, out)
    material = read_material(paths)
    document = compose(material, title=title, criteria=criteria)
    text = render(document, material, form=form, criteria=criteria)
    write_whole(out, text)
    return Written(
        path=str(out),
        format=form,
        bytes=len(text.encode()),
        measurements=len(material.measurements),
        valid=document.verdict.standing == "valid",
        headline=document.verdict.headline,
    )


def compose(material: Material, *, title: str | None = None, criteria: AdviceCriteria | None = None) -> Document:
    """Lay out the report; without a title it is named by its variants and devices.

    `criteria` are those of the advice on what to ship.
    """
    entries = entries_of(material)
    advice = advice_of(entries, criteria)
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


def render(document: Document, material: Material, *, form: str, criteria: AdviceCriteria | None = None) -> str:
    """Return the report's text in one of FORMATS."""
    if form == "html":
        return html_of(document, measured=_dates(material))
    if form == "md":
        return markdown_of(document)
    return json.dumps(json_of(document, material, criteria), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_of(document: Document, material: Material, criteria: AdviceCriteria | None = None) -> dict[str, object]:
    """Return "edge-report/1": the verdict, the measurements as they were, the artifacts, derived fronts and advice."""
    advice = advice_of(entries_of(material), criteria)
    return {
        "schema": SCHEMA,
        "title": document.title,
        "tools": {"edge-convert": __version__},
        "verdict": asdict(document.verdict),
        "measurements": [one.to_json() for one in material.measurements],
        "artifacts": [asdict(artifact) for artifact in material.artifacts],
        "pareto": [each.front.to_json() for each in advice],
        "advice": [each.to_json() for each in advice],
    }


def format_of(out: Path) -> str:
    """Return the format a file's suffix stands for.

    Raises:
        InputError: The suffix stands for none.
    """
    found = SUFFIXES.get(out.suffix.lower())
    if found is None:
        raise InputError(
            f"cannot tell the format of the report from {str(out)!r}: its suffix is none of {', '.join(SUFFIXES)}",
            hint=f"choose one with --format {'|'.join(FORMATS)}",
        )
    return found


def _refuse_input(paths: Sequence[Path], out: Path) -> None:
    if any(path.resolve() == out.resolve() for path in paths):
        raise InputError(f"the report would overwrite {out}, which is one of its sources", hint="choose another --out")


def _dates(material: Material) -> str:
    times = sorted(one.created for one in material.measurements)
    span = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
    return f"Measured {span}."


def _title(entries: tuple[ReportEntry, ...]) -> str:
    devices = list(dict.fromkeys(entry.measurement.device.name for entry in entries))
    if len(entries) == 1:
        return f"{entries[0].label} on {devices[0]}"
    variants = len({entry.measurement.artifact.sha256 for entry in entries})
    where = devices[0] if len(devices) == 1 else f"{len(devices)} devices"
    return f"{variants} variants on {where}" if variants > 1 else f"{entries[0].measurement.artifact.name} on {where}"
