"""The artifact: NAME.tflite with NAME.json beside it, published together or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from converters.files import replacing
from converters.inspection import Inspection, inspect_model
from converters.parity import Parity
from converters.recipes import Recipe
from converters.tflite.reader import parse_model

SCHEMA = "edge-artifact/1"
_TOOLS = ("edge-convert", "tensorflow", "keras")


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """Where a model came from: enough to make it again."""

    name: str
    kind: str
    arguments: Mapping[str, Any]
    sha256: str | None
    weights: str | None
    weights_sha256: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What all variants of one conversion share, as it goes into their JSON."""

    source: SourceRecord
    preprocessing: Mapping[str, Any] | None
    preprocessing_assumed: bool
    labels: Sequence[str] | None
    labels_origin: str | None
    calibration: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """One converted variant with everything known about it; `folder` is where it was published.

    `edgetpu` is the forecast of what the Edge TPU's compiler maps, or for a compiled file what it mapped; else None.
    """

    name: str
    folder: Path
    data: bytes
    recipe: Recipe
    parity: Parity
    provenance: Provenance
    edgetpu: Mapping[str, Any] | None = None

    @property
    def path(self) -> Path:
        """The .tflite file."""
        return self.folder / f"{self.name}.tflite"

    @property
    def json_path(self) -> Path:
        """The description beside it."""
        return self.folder / f"{self.name}.json"

    def to_json(self) -> dict[str, Any]:
        """Return the description: schema `edge-artifact/1`."""
        inspection = inspect_model(parse_model(self.data, name=self.path.name), self.path)
        shared = self.provenance
        return {
            "schema": SCHEMA,
            "name": self.name,
            "file": self.path.name,
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "bytes": len(self.data),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "source": asdict(shared.source),
            "recipe": self.recipe.to_json(),
            "inputs": _ends(inspection.inputs),
            "outputs": _ends(inspection.outputs),
            "preprocessing": shared.preprocessing,
            "assumed": shared.preprocessing_assumed,
            "labels": None if shared.labels is None else list(shared.labels),
            "labels_origin": shared.labels_origin,
            **_counts(inspection),
            "tools": tools(),
            "calibration": shared.calibration if self.recipe.calibrated else None,
            "parity": self.parity.to_json(self.recipe.tolerance),
            "edgetpu": self.edgetpu,
        }


def publish(artifacts: Sequence[Artifact]) -> None:
    """Write the artifacts: all drafts first, then per artifact the JSON and last the .tflite into place.

    A reader takes an artifact as whole when the .tflite is there and its SHA-256 is the one in the JSON. Whatever
    happens, interrupt and loss of power included, no pair looks whole that is not.

    Raises:
        WriteError: a draft could not be written (disk full, no permission); nothing of this call is in place.
    """
    with contextlib.ExitStack() as drafts:
        for artifact in reversed(
            artifacts
        ):  # leaving the stack reverses again: JSON before .tflite, in the order given
            drafts.enter_context(replacing(artifact.path)).write_bytes(artifact.data)
            text = json.dumps(artifact.to_json(), indent=2, ensure_ascii=False) + "\n"
            drafts.enter_context(replacing(artifact.json_path)).write_bytes(text.encode())


def tools() -> dict[str, str | None]:
    """Return the versions of what made the artifact; None for what is not installed as a package."""
    return {**{name: _version(name) for name in _TOOLS}, "python": python_version()}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _ends(ends: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": end.name,
            "shape": list(end.shape),
            "dtype": end.dtype,
            "scale": end.scale,
            "zero_point": end.zero_point,
        }
        for end in ends
    ]


def _counts(inspection: Inspection) -> dict[str, Any]:
    return {
        "parameters": inspection.parameters.count,
        "macs": inspection.macs.total,
        "layers_sparsity": [
            {"name": name, "parameters": parameters, "zeros": zeros}
            for name, parameters, zeros in inspection.layers_sparsity
        ],
    }
