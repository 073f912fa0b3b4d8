"""Builds the section on the origin of each file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from converters.artifact.record import ArtifactRecord, SourceRecord
from edge.report.document import Column, DataTable, Section
from edge.report.formatting import UNKNOWN, digits, field_text, percent, readable, whole
from edge.report.material import ReportEntry, parity_of

_NOT_STATED = "not stated"


def provenance_section(entries: Sequence[ReportEntry], artifacts: Sequence[ArtifactRecord]) -> Section:
    """Return hash, recipe, tools, calibration and parity of each file once, whatever number of times it ran."""
    files: dict[str, ReportEntry] = {}
    for entry in entries:
        files.setdefault(entry.measurement.artifact.sha256, entry)
    unmeasured = [artifact.name for artifact in artifacts if artifact.sha256 not in files]
    texts = [f"No measurement given here is of the artifact {name}." for name in unmeasured]
    if any(entry.artifact is None for entry in files.values()):
        texts.append(
            "Source, tools and calibration of a file are recorded in its artifact JSON: give it along with the results."
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
            DataTable(
                caption="Artifacts",
                columns=tuple(Column(head, number=head in ("Parameters", "MACs")) for head in heads),
                rows=tuple(_row(entry) for entry in files.values()),
                cards="always",
            ),
        ),
    )


def _row(entry: ReportEntry) -> tuple[str, ...]:
    ref, artifact = entry.measurement.artifact, entry.artifact
    tools = artifact.tools or {} if artifact else {}
    return (
        ref.name,
        ref.sha256,
        _source(artifact.source) if artifact else _NOT_STATED,
        ref.recipe or (artifact.recipe.name if artifact and artifact.recipe else _NOT_STATED),
        whole(ref.parameters),
        whole(ref.macs),
        _parity(ref.parity or parity_of(artifact)),
        _calibration(artifact),
        ", ".join(f"{name} {version}" for name, version in tools.items()) or _NOT_STATED,
    )


def _source(source: SourceRecord | None) -> str:
    if source is None:
        return UNKNOWN
    parts = [source.name or UNKNOWN]
    if source.kind:
        parts.append(f"({source.kind})")
    if source.weights:
        parts.append(f"weights {source.weights}")
    return " ".join(parts)


def _calibration(artifact: ArtifactRecord | None) -> str:
    if artifact is None:
        return _NOT_STATED
    calibration = artifact.calibration
    if calibration is None:
        return "none"
    digest = (calibration.digest or "")[:12]
    parts = (f"{field_text('', calibration.samples)} samples of {calibration.source or UNKNOWN}",
             f"seed {field_text('', calibration.seed)}", f"digest {digest}" if digest else "")  # fmt: skip
    return ", ".join(part for part in parts if part)


def _parity(parity: Mapping[str, object] | None) -> str:
    if not parity:
        return "not checked, or not stated"
    parts = [f"{field_text('', parity.get('samples'))} samples"]
    for key, word in (("max_abs_error", "largest error"), ("mean_abs_error", "mean error")):
        if readable(error := parity.get(key)):
            parts.append(f"{word} {digits(error)}")
    if readable(parity.get("cosine")):
        parts.append(f"cosine {parity['cosine']:.6f}")
    if readable(agreement := parity.get("top1_agreement")):
        parts.append(f"top-1 agreement {percent(agreement)}")
    counted = parity.get("accuracy")
    if isinstance(counted, Mapping) and isinstance(counted.get("reference_correct"), int):
        parts.append(f"source model right {counted['reference_correct']} of {field_text('', counted.get('of'))}")
    return ", ".join(parts)
