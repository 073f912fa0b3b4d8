"""When a training prunes, in steps and epochs."""

from __future__ import annotations

import math
from pathlib import Path

from edge.data.splits import DatasetSplits, batch_count
from edge.training.pruning_plan import CubicSchedule
from edge.training.trainable_model import read_sidecar
from edge.training.training_settings import SUFFIX, TrainingSettings


def schedule_of(settings: TrainingSettings, parts: DatasetSplits) -> CubicSchedule | None:
    """Return when the training prunes, None if it does not."""
    if settings.pruning is None:
        return None
    steps = settings.epochs * batch_count(len(parts.train), settings.batch, training=True)
    return settings.pruning.schedule(steps, trained=settings.model.endswith(SUFFIX))


def first_counted_epoch(settings: TrainingSettings, parts: DatasetSplits) -> int:
    """Return the first epoch at whose end the sparsity is final; 1 without pruning."""
    schedule = schedule_of(settings, parts)
    if schedule is None:
        return 1
    return math.ceil(schedule.end_step / batch_count(len(parts.train), settings.batch, training=True))


def was_pruned(settings: TrainingSettings) -> bool:
    """Whether the .keras file to train further has zeros that are meant to stay, by its sidecar."""
    return settings.model.endswith(SUFFIX) and read_sidecar(Path(settings.model)).get("pruning") is not None
