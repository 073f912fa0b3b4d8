"""Writes the results of a training: the model with its description, and the history of the epochs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from converters.files import sha256_of, write_whole
from edge.data.splits import DatasetSplits
from edge.models.saved_model import TrainingData, write_model
from edge.training.checkpoints import TrainingState
from edge.training.pruning_report import PruningReport
from edge.training.trainable_model import TrainableModel
from edge.training.training_settings import TrainingSettings

_HISTORY_SCHEMA = "edge-history/1"


@dataclass(frozen=True)
class CorrectCount:
    """The number of correct answers among `of` samples."""

    correct: int
    of: int

    @property
    def accuracy(self) -> float:
        """The share, 0..1."""
        return self.correct / self.of


class MeasuredAccuracy(TypedDict):
    """An accuracy with the samples it was measured on, as JSON."""

    correct: int
    of: int
    accuracy: float
    measured_on: str


class Metrics(TypedDict):
    """The accuracies of a trained model, as JSON."""

    test: MeasuredAccuracy
    validation: MeasuredAccuracy


class DistillationReport(TypedDict):
    """The teacher and its weight, as JSON."""

    teacher: str
    temperature: float
    weight: float
    teacher_sha256: str


@dataclass(frozen=True)
class TrainingResult:
    """A finished training; accuracies are those of the best epoch's weights, which `file` holds."""

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
    pruning: PruningReport | None = None
    distillation: DistillationReport | None = None

    @property
    def metrics(self) -> Metrics:
        """The accuracies with the samples they were measured on."""
        return {
            "test": _add_measured_on(self.test, self.measured_on),
            "validation": _add_measured_on(
                self.validation, "the validation samples, by which the best epoch was chosen"
            ),
        }

    def to_json(self) -> dict[str, object]:
        """Return what `edge train --json` prints."""
        return {
            "file": str(self.file),
            "sidecar": str(self.sidecar),
            "history": str(self.history_file),
            "classes": self.classes,
            "parameters": self.parameters,
            "metrics": self.metrics,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "stopped_early": self.stopped_early,
            "training_s": self.training_s,
            "pruning": self.pruning,
            "distillation": self.distillation,
        }


def describe_distillation(settings: TrainingSettings) -> DistillationReport | None:
    """Return the teacher and its weight; None without one."""
    distillation = settings.distillation
    if distillation is None:
        return None
    return {
        "teacher": str(distillation.teacher),
        "temperature": distillation.temperature,
        "weight": distillation.weight,
        "teacher_sha256": sha256_of(distillation.teacher),
    }


def write_history(settings: TrainingSettings, state: TrainingState) -> None:
    """Write the epochs so far next to the model."""
    value = {
        "schema": _HISTORY_SCHEMA,
        "settings": dict(state.identity),
        "best_epoch": state.best.epoch if state.best else None,
        "finished": state.finished,
        "epochs": [asdict(epoch) for epoch in state.history],
    }
    write_whole(settings.history_file, json.dumps(value, indent=1) + "\n")


def write_result(
    model: Any,  # noqa: ANN401  (a keras.Model)
    result: TrainingResult,
    settings: TrainingSettings,
    source: TrainableModel,
    splits: DatasetSplits,
) -> None:
    """Write the model with its description, which conversion reads.

    Raises:
        WriteError: the disk is full or the folder not writable.
    """
    labels = splits.source.names or source.labels
    data = TrainingData(settings.data, splits.digest, len(splits.source), splits.held_out)
    description = {
        "name": source.name,
        "arguments": source.arguments(result.classes),
        "classes": result.classes,
        "labels": None if labels is None else list(labels),
        "preprocessing": source.preprocessing.to_json(),
        "data": data.to_json(),
        "metrics": result.metrics,
        "pruning": result.pruning,
        "distillation": result.distillation,
        "seed": settings.seed,
    }
    write_model(model, settings.out, description)


def _add_measured_on(count: CorrectCount, measured_on: str) -> MeasuredAccuracy:
    return {"correct": count.correct, "of": count.of, "accuracy": count.accuracy, "measured_on": measured_on}
