"""Reads the file to measure, once: its digest, its structure, and its artifact JSON if that describes this content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.artifact.sidecar import read_sidecar
from converters.decode import encode
from converters.errors import ConverterError
from converters.files import sha256_of
from converters.tflite.reader import read_model
from converters.tflite.values import ModelInfo
from edge.errors import InputError
from edge.measure.measurement import ArtifactRef, RecordedAccuracy

_POINTWISE = (1, 1)


@dataclass(frozen=True)
class MeasuredModel:
    """The file to measure; `info` is its structure, or None with the `defect` that makes it unreadable."""

    path: Path
    ref: ArtifactRef
    model_bytes: int
    accuracy: RecordedAccuracy | None
    notes: tuple[str, ...]
    info: ModelInfo | None
    defect: ConverterError | None = None

    @property
    def pointwise(self) -> int | None:
        """The number of 1x1 convolutions, all that sparse kernels run; None where the structure is not readable."""
        return None if self.info is None else _count_pointwise(self.info)


def describe_model(path: Path) -> MeasuredModel:
    """Describe a .tflite file without running it.

    Raises:
        InputError: The file is missing or unreadable.
    """
    try:
        sha256, size = sha256_of(path), path.stat().st_size
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}", hint="give the path of a .tflite file"
        ) from error
    sidecar = read_sidecar(path, sha256=sha256)
    record = sidecar.record if sidecar is not None else None
    problem = sidecar.problem if sidecar is not None else None
    parity = record.parity if record is not None else None
    ref = ArtifactRef(
        path=_as_unicode(str(path)),
        name=_as_unicode((record.name if record is not None else "") or path.stem),
        sha256=sha256,
        recipe=record.recipe.name if record is not None and record.recipe is not None else None,
        parameters=record.parameters if record is not None else None,
        macs=record.macs if record is not None else None,
        parity=encode(parity) if parity is not None else None,
    )
    accuracy = parity.accuracy if parity is not None else None
    info, defect = _structure(path)
    return MeasuredModel(
        path=path,
        ref=ref,
        model_bytes=size,
        accuracy=None if accuracy is None else RecordedAccuracy(accuracy.correct, accuracy.of),
        notes=() if problem is None else (f"{_as_unicode(problem)}; the file was not used",),
        info=info,
        defect=defect,
    )


def _count_pointwise(model: ModelInfo) -> int:
    return sum(
        graph.tensors[operator.inputs[1]].shape[1:3] == _POINTWISE
        for graph in model.subgraphs
        for operator in graph.operators
        if operator.name == "CONV_2D" and len(operator.inputs) > 1
    )


def _structure(path: Path) -> tuple[ModelInfo | None, ConverterError | None]:
    try:
        return read_model(path), None
    except ConverterError as error:
        return None, error  # the runtime's own check says what is wrong with the file


def _as_unicode(name: str) -> str:
    """Return a file's name as valid Unicode: bytes that are not UTF-8 become the replacement character."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
