"""What a training leaves: the model, a sidecar that says how to feed it and what it knows, and the history."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converters.files import replacing, sha256_of, write_whole
from edge.data.splits import DatasetSplits
from edge.training.checkpoints import TrainingState
from edge.training.trainable_model import SIDECAR_SCHEMA, TrainableModel
from edge.training.training_settings import TrainingSettings

_HISTORY_SCHEMA = "edge-history/1"


@dataclass(frozen=True)
class CorrectCount:
    """So many right of so many."""

    correct: int
    of: int

    @property
    def accuracy(self) -> float:
        """The share, 0..1."""
        return self.correct / self.of


@dataclass(frozen=True)
class TrainingResult:
    """A finished training; accuracies are those of the best epoch's weights, which is what `file` holds."""

    file: Path
    sidecar: Path
    history_file: Path
    classes: int
    parameters: int
    test: CorrectCount
    measured_on: str
    validation: CorrectCount
    best_epoch: int
    epochs: int
    stopped_early: bool
    training_s: float
    pruning: dict[str, Any] | None = None
    distillation: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `edge train --json` prints."""
        return {
            "file": str(self.file),
            "sidecar": str(self.sidecar),
            "history": str(self.history_file),
            "classes": self.classes,
            "parameters": self.parameters,
            "metrics": describe_metrics(self.test, self.validation, self.measured_on),
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "stopped_early": self.stopped_early,
            "training_s": self.training_s,
            "pruning": self.pruning,
            "distillation": self.distillation,
        }


def describe_metrics(test: CorrectCount, validation: CorrectCount, measured_on: str) -> dict[str, Any]:
    """Return the figures with what they were measured on."""
    return {
        "test": {**asdict(test), "accuracy": test.accuracy, "measured_on": measured_on},
        "validation": {**asdict(validation), "accuracy": validation.accuracy,
                       "measured_on": "the validation samples, by which the best epoch was chosen"},
    }  # fmt: skip


def describe_distillation(settings: TrainingSettings) -> dict[str, Any] | None:
    """Return who taught, None if nobody did."""
    taught = settings.distillation
    if taught is None:
        return None
    return {**asdict(taught), "teacher": str(taught.teacher), "teacher_sha256": sha256_of(taught.teacher)}


def write_history(settings: TrainingSettings, state: TrainingState) -> None:
    """Write the epochs so far beside the model."""
    value = {
        "schema": _HISTORY_SCHEMA,
        "settings": dict(state.identity),
        "best_epoch": state.best.epoch if state.best else None,
        "finished": state.finished,
        "epochs": [asdict(epoch) for epoch in state.history],
    }
    write_whole(settings.history_file, json.dumps(value, indent=1) + "\n")


def write_model(model: Any, settings: TrainingSettings, sidecar: dict[str, Any]) -> None:  # noqa: ANN401
    """Write the model and its sidecar; an old sidecar is removed first, so that none ever lies beside another model.

    Raises:
        WriteError: the disk is full or the folder not writable.
    """
    settings.sidecar_file.unlink(missing_ok=True)
    with replacing(settings.out) as draft:
        model.save(draft)
    described = {**sidecar, "file": settings.out.name, "sha256": sha256_of(settings.out)}
    write_whole(settings.sidecar_file, json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def describe_model(
    settings: TrainingSettings, subject: TrainableModel, parts: DatasetSplits, *, classes: int, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the description that lies beside the model and that conversion reads.

    `found` is what is known only after training: the metrics, what was pruned, who taught.
    """
    labels, held_out = parts.whole.names or subject.labels, parts.held_out
    return {
        "schema": SIDECAR_SCHEMA,
        "name": subject.name,
        "arguments": subject.arguments(classes),
        "classes": classes,
        "labels": None if labels is None else list(labels),
        "preprocessing": subject.preprocessing.to_json(),
        "data": {
            "source": settings.data,
            "digest": parts.digest,
            "samples": len(parts.whole),
            "held_out": None if held_out is None else {"fraction": held_out.fraction, "seed": held_out.seed},
        },
        **found,
        "seed": settings.seed,
        "tools": {
            "edge-convert": version("edge-convert"),
            "tensorflow": version("tensorflow"),
            "keras": version("keras"),
            "python": platform.python_version(),
        },
    }
