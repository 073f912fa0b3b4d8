"""The last arrow: measurement files to one report file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.files import write_whole
from edge import __version__
from edge.errors import InputError
from edge.measure.advice import AdviceCriteria
from edge.report.compose import compose
from edge.report.document import Document
from edge.report.entries import entries_of
from edge.report.html.page import html_of
from edge.report.markdown import markdown_of
from edge.report.material import Material, read_material
from edge.report.sections.shipping_section import advice_of

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

    def to_json(self) -> dict[str, Any]:
        """Return the value as `json.dumps` takes it."""
        return asdict(self)


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    form: str | None = None,
    title: str | None = None,
    terms: AdviceCriteria | None = None,
) -> Written:
    """Read measurements (and artifacts), lay them out and write one whole file.

    Args:
        paths: Measurement files, each one measurement or a list, and optionally artifact files.
        out: The report; nothing half-written is ever seen there.
        form: html, md or json; by default what the suffix of `out` says.
        title: Headline; by default what ran where.
        terms: Of the advice on what to ship.

    Raises:
        InputError: A file cannot be read as what it should be, or `out` is one of them or of an unknown suffix.
        MissingPartError: A package that draws the page is not installed.
        converters.errors.WriteError: `out` cannot be written.
    """
    form = form or format_of(out)
    _refuse_input(paths, out)
    material = read_material(paths)
    document = compose(material, title=title, terms=terms)
    text = render(document, material, form=form, terms=terms)
    write_whole(out, text)
    return Written(
        path=str(out),
        format=form,
        bytes=len(text.encode()),
        measurements=len(material.measurements),
        valid=document.verdict.standing == "valid",
        headline=document.verdict.headline,
    )


def render(document: Document, material: Material, *, form: str, terms: AdviceCriteria | None = None) -> str:
    """Return the report's text in one of FORMATS."""
    if form == "html":
        return html_of(document, measured=_measured(material))
    if form == "md":
        return markdown_of(document)
    return json.dumps(json_of(document, material, terms), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_of(document: Document, material: Material, terms: AdviceCriteria | None = None) -> dict[str, Any]:
    """Return "edge-report/1": the verdict, the measurements as they were, the artifacts, derived fronts and advice."""
    advice = advice_of(entries_of(material), terms)
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
            hint=f"say it with --format {'|'.join(FORMATS)}",
        )
    return found


def _refuse_input(paths: Sequence[Path], out: Path) -> None:
    if any(path.resolve() == out.resolve() for path in paths):
        raise InputError(
            f"the report would be written over {out}, which is one of its sources", hint="choose another --out"
        )


def _measured(material: Material) -> str:
    times = sorted(one.created for one in material.measurements)
    span = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
    return f"Measured {span}."
