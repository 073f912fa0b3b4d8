"""The section on where each file came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.report.document import Column, Section, Table
from edge.report.entries import Entry
from edge.report.formatting import UNKNOWN, digits, field_text, percent, readable, whole
from edge.report.material import Artifact

_NOT_STATED = "not stated"


def provenance_section(entries: Sequence[Entry], artifacts: Sequence[Artifact]) -> Section:
    """Return hash, recipe, tools, calibration and parity of each file once, whatever number of times it ran."""
    files: dict[str, Entry] = {}
    for entry in entries:
        files.setdefault(entry.measurement.artifact.sha256, entry)
    unmeasured = [artifact.name for artifact in artifacts if artifact.sha256 not in files]
    texts = [f"No measurement given here is of the artifact {name}." for name in unmeasured]
    if any(entry.artifact is None for entry in files.values()):
        texts.append(
            "Source, tools and calibration of a file are told by its artifact JSON: give it along with the results."
        )
    heads = (
        "Name",
        "SHA-256",
        "Source",
        "Recipe",
        "Parameters",
        "MACs",
        "Parity with the source",
        "Calibration",
        "Tools",
    )
    return Section(
        key="provenance-section",
        title="Where the files came from",
        paragraphs=tuple(texts),
        tables=(
            Table(
                caption="Artifacts",
                columns=tuple(Column(head, number=head in ("Parameters", "MACs")) for head in heads),
                rows=tuple(_row(entry) for entry in files.values()),
                cards="always",
            ),
        ),
    )


def _row(entry: Entry) -> tuple[str, ...]:
    ref, artifact = entry.measurement.artifact, entry.artifact
    return (
        ref.name,
        ref.sha256,
        _source(artifact.source) if artifact else _NOT_STATED,
        ref.recipe or (field_text("", artifact.recipe.get("name")) if artifact else _NOT_STATED),
        whole(ref.parameters),
        whole(ref.macs),
        _parity(ref.parity or (artifact.parity if artifact else None)),
        _calibration(artifact),
        ", ".join(f"{name} {version}" for name, version in artifact.tools.items()) if artifact else _NOT_STATED,
    )


def _source(source: Mapping[str, Any]) -> str:
    told = [str(source.get("name") or UNKNOWN)]
    if source.get("kind"):
        told.append(f"({source['kind']})")
    if source.get("weights"):
        told.append(f"weights {source['weights']}")
    return " ".join(told)


def _calibration(artifact: Artifact | None) -> str:
    if artifact is None:
        return _NOT_STATED
    calibration = artifact.calibration
    if not calibration:
        return "none"
    digest = str(calibration.get("digest") or "")[:12]
    parts = (f"{field_text('', calibration.get('samples'))} samples of {calibration.get('source') or UNKNOWN}",
             f"seed {field_text('', calibration.get('seed'))}", f"digest {digest}" if digest else "")  # fmt: skip
    return ", ".join(part for part in parts if part)


def _parity(parity: Mapping[str, Any] | None) -> str:
    if not parity:
        return "not checked, or not stated"
    parts = [f"{field_text('', parity.get('samples'))} samples"]
    for key, word in (("max_abs_error", "largest error"), ("mean_abs_error", "mean error")):
        if readable(parity.get(key)):
            parts.append(f"{word} {digits(parity[key])}")
    if readable(parity.get("cosine")):
        parts.append(f"cosine {parity['cosine']:.6f}")
    if readable(parity.get("top1_agreement")):
        parts.append(f"top-1 agreement {percent(parity['top1_agreement'])}")
    counted = parity.get("accuracy")
    if isinstance(counted, Mapping) and isinstance(counted.get("reference_correct"), int):
        parts.append(f"source model right {counted['reference_correct']} of {field_text('', counted.get('of'))}")
    return ", ".join(parts)
