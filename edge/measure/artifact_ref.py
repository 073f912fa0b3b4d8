"""What is known of the file that runs: its content's digest, and its artifact JSON if that vouches for this content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.decode import parse_json
from converters.errors import ConverterError
from converters.files import sha256_of
from converters.tflite.reader import read_model
from converters.tflite.values import ModelInfo
from edge.errors import InputError
from edge.measure.measurement import ArtifactRef, RecordedAccuracy

_POINTWISE = (1, 1)


@dataclass(frozen=True)
class MeasuredModel:
    """The file to measure; `pointwise` counts its 1x1 convolutions, None where the file's structure is not readable."""

    ref: ArtifactRef
    model_bytes: int
    accuracy: RecordedAccuracy | None
    pointwise: int | None
    notes: tuple[str, ...]


def describe(path: Path) -> MeasuredModel:
    """Read what is known of a .tflite file without running it.

    Raises:
        InputError: The file is missing or unreadable.
    """
    try:
        sha256, size = sha256_of(path), path.stat().st_size
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}", hint="give the path of a .tflite file"
        ) from error
    stated, notes = _artifact_json(path, sha256)
    parity = _mapping(stated.get("parity"))
    ref = ArtifactRef(
        path=_unicode(str(path)),
        name=_text(stated.get("name")) or _unicode(path.stem),
        sha256=sha256,
        recipe=_text(_mapping(stated.get("recipe")).get("name")),
        parameters=_count(stated.get("parameters")),
        macs=_count(stated.get("macs")),
        parity=parity or None,
    )
    return MeasuredModel(ref, size, _accuracy(_mapping(parity.get("accuracy"))), _pointwise_of(path), notes)


def pointwise_convolutions(model: ModelInfo) -> int:
    """Return how many convolutions have a 1x1 kernel; those are what sparse matrix products can run."""
    return sum(
        graph.tensors[operator.inputs[1]].shape[1:3] == _POINTWISE
        for graph in model.subgraphs
        for operator in graph.operators
        if operator.name == "CONV_2D" and len(operator.inputs) > 1
    )


def _pointwise_of(path: Path) -> int | None:
    try:
        return pointwise_convolutions(read_model(path))
    except ConverterError:
        return None  # the runtime's own check says what is wrong with the file


def _artifact_json(path: Path, sha256: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    beside = path.with_suffix(".json")
    try:
        value = parse_json(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ()
    except (OSError, ValueError, RecursionError) as error:
        return {}, (f"{_unicode(beside.name)} beside the model is not readable and was not used: {error}",)
    stated = _mapping(value)
    if not str(stated.get("schema", "")).startswith("edge-artifact/"):
        return {}, ()
    if stated.get("sha256") != sha256:
        names = f"{_unicode(beside.name)} describes another content of {_unicode(path.name)}"
        return {}, (f"{names} (its sha256 differs) and was not used",)
    return stated, ()


def _accuracy(stated: dict[str, Any]) -> RecordedAccuracy | None:
    correct, of = _count(stated.get("correct")), _count(stated.get("of"))
    return None if correct is None or of is None else RecordedAccuracy(correct, of)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unicode(name: str) -> str:
    """Return a file's name as JSON can hold it: bytes that are no UTF-8 become the replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
