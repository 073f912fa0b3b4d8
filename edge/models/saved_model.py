"""Loads and saves Keras models: NAME.keras, and NAME.json next to it, which describes a trained or pruned model."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.capture_output import capture_output
from converters.files import replacing, sha256_of, write_whole
from converters.optional_packages import import_optional
from edge.data.splits import HeldOut
from edge.errors import InputError
from edge.models.catalog import Argument

SCHEMA = "edge-model/1"


class NoDescriptionError(InputError):
    """The file is not JSON of the schema edge-model/1."""


@dataclass(frozen=True)
class TrainingData:
    """The data a model was trained on; `held_out` is None where the data has a test part of its own."""

    source: str
    digest: str
    samples: int
    held_out: HeldOut | None

    def to_json(self) -> dict[str, object]:
        """Return the JSON object of the description."""
        part = self.held_out
        return {
            "source": self.source,
            "digest": self.digest,
            "samples": self.samples,
            "held_out": None if part is None else {"fraction": part.fraction, "seed": part.seed},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainingData:
        """Read what `to_json` returned."""
        part, digest = value.get("held_out"), str(value["digest"])
        held_out = HeldOut(digest, float(part["fraction"]), int(part["seed"])) if part else None
        return cls(str(value.get("source")), digest, int(value.get("samples", 0)), held_out)


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """The description of a model; None and an empty mapping stand for facts not stated.

    Attributes:
        name: the registered model's name, with its `arguments`.
        pruned: whether its zeros are intentional and must be preserved.
        sha256: of the .keras file that is described.
    """

    name: str | None = None
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    data: TrainingData | None = None
    pruned: bool = False
    sha256: str | None = None

    def describes(self, file: Path) -> bool:
        """Whether it describes this file as it is now."""
        return file.is_file() and self.sha256 == sha256_of(file)


def start_keras() -> Any:  # noqa: ANN401  (the module keras)
    """Return the module keras, its TensorFlow backend ready, without the log of TensorFlow's search for devices.

    Raises:
        MissingPartError: TensorFlow or Keras is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with capture_output():
        tensorflow = import_optional("tensorflow", "tensorflow", "training")
        tensorflow.config.list_logical_devices()
        return import_optional("keras", "keras", "training")


def load_keras(path: Path, *, seed: int | None = None) -> Any:  # noqa: ANN401  (a keras.Model, imported on use)
    """Load a .keras file; `seed` sets the states of its random layers, which the file does not hold.

    Raises:
        InputError: it is missing, damaged, or has layers that Keras does not know.
    """
    if not path.is_file():
        raise InputError(f"there is no model {path}", hint="check the path, or give a name of `edge models`")
    keras = start_keras()
    if seed is not None:
        keras.utils.set_random_seed(seed)
    try:
        return keras.models.load_model(path)
    except Exception as error:  # Keras raises exceptions of any type on a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be loaded as a Keras model: {reason}", hint="save it again with model.save(FILE.keras)"
        ) from error


def read_description(file: Path) -> ModelDescription | None:
    """Return the description next to a .keras file, None if there is none.

    Raises:
        NoDescriptionError: NAME.json is something else.
        InputError: it is damaged.
    """
    path = file.with_suffix(".json")
    if not path.is_file():
        return None
    content = _load(path)
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error}", hint="remove it, or train the model again") from error


def write_model(model: Any, file: Path, description: Mapping[str, object]) -> None:  # noqa: ANN401  (a keras.Model)
    """Write a model and its description; an old description is removed first, so that none is left of another model.

    Raises:
        WriteError: the disk is full or the folder not writable.
    """
    path = file.with_suffix(".json")
    path.unlink(missing_ok=True)
    with replacing(file) as temporary_file:
        model.save(temporary_file)
    content = {
        "schema": SCHEMA,
        **description,
        "tools": {
            "edge-convert": version("edge-convert"),
            "tensorflow": version("tensorflow"),
            "keras": version("keras"),
            "python": platform.python_version(),
        },
        "file": file.name,
        "sha256": sha256_of(file),
    }
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _load(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoDescriptionError(f"{path} is not JSON: {error}", hint="remove it, or train the model again") from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        got = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise NoDescriptionError(f"{path} must have the schema {SCHEMA}, got {got}", hint="move it away")
    return value


def _from_json(value: Mapping[str, Any]) -> ModelDescription:
    labels, preprocessing, data = value.get("labels"), value.get("preprocessing"), value.get("data")
    return ModelDescription(
        name=None if value.get("name") is None else str(value["name"]),
        arguments=dict(value.get("arguments") or {}),
        labels=tuple(str(label) for label in labels) if labels else None,
        preprocessing=None if preprocessing is None else Preprocessing.from_json(preprocessing),
        data=TrainingData.from_json(data) if data else None,
        pruned=value.get("pruning") is not None,
        sha256=value.get("sha256"),
    )
