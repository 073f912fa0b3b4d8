"""The data of one training, divided: to learn from, to decide by, to measure on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.data.source import Source
from edge.data.sources import available_splits, open_source
from edge.errors import DataError
from edge.runtime.preprocessing import Preprocessing
from edge.training.settings import TrainingSettings

_LIST_MORE = "take more samples of each class, or a larger --limit: the last of a class is never held out"


@dataclass(frozen=True)
class Parts:
    """No sample is in two of them; `whole` is what `train` and `validation` were taken from, with all its labels.

    `measured_on` says in words what `test` is, `digest` identifies all samples; `held_out` holds the arguments of
    `Source.split` that give `test` again, None where the data has a test part of its own.
    """

    whole: Source
    train: Source
    validation: Source
    test: Source
    measured_on: str
    digest: str
    held_out: dict[str, float] | None


def parts_of(settings: TrainingSettings, preprocessing: Preprocessing) -> Parts:
    """Open the data and divide it, stratified by class, as the seed decides.

    Raises:
        InputError: there is no such data.
        DataError: no labels, one class only, or too few samples for the three parts.
    """
    splits, held_out = available_splits(settings.data), None
    data = _limited(_labelled(settings, preprocessing, "train" if splits else None), settings)
    if "test" in splits:
        rest, test = data, _limited(_labelled(settings, preprocessing, "test"), settings)
        measured_on = f"the {len(test)} samples of the test part of {settings.data}, none of them used in training"
        digest = f"{data.digest()}+{test.digest()}"
    else:
        rest, test = data.split(settings.test, seed=settings.seed)
        share = len(test) / max(len(data), 1)
        measured_on = f"{len(test)} of the {len(data)} samples of {settings.data} ({share:.0%}), held out from training"
        digest, held_out = data.digest(), {"fraction": settings.test, "seed": settings.seed}
    train, validation = rest.split(settings.validation, seed=settings.seed + 1)
    _require_enough(settings, train, validation, test, of=data)
    _require_same_classes(settings, data, test)
    return Parts(data, train, validation, test, measured_on, digest, held_out)


def batch_count(samples: int, size: int, *, training: bool) -> int:
    """Return how many batches an epoch has.

    Batch normalization cannot learn from a single sample, so a training epoch drops a last batch of one; the order
    differs from epoch to epoch, so every sample is still seen.
    """
    whole, left = divmod(samples, size)
    return whole + (1 if left > (1 if training and whole else 0) else 0)


def _labelled(settings: TrainingSettings, preprocessing: Preprocessing, split: str | None) -> Source:
    return open_source(settings.data, preprocessing=preprocessing, split=split, labels_needed=True)


def _limited(source: Source, settings: TrainingSettings) -> Source:
    return source if settings.limit is None else source.pick(settings.limit, seed=settings.seed)


def _require_enough(settings: TrainingSettings, train: Source, validation: Source, test: Source, *, of: Source) -> None:
    assert train.labels is not None
    if len(np.unique(train.labels)) < 2:
        present = [train.names[label] if train.names else f"label {label}" for label in set(train.labels.tolist())]
        raise DataError(
            f"{settings.data}: {len(present)} class to learn ({', '.join(present) or 'none'}); a classifier needs two",
            hint="one folder per class, at least two of them",
        )
    sizes = {"training": train, "validation": validation, "test": test}
    empty = [name for name, part in sizes.items() if not len(part)]
    if empty and _one_of_each(of):
        raise DataError(
            f"{settings.data} has one sample of each class ({len(of)}): none can be held out to decide and measure by, "
            "for its class would have none to learn from",
            hint="take three or more samples of each class, or a larger --limit",
        )
    if empty:
        told = ", ".join(f"{len(part)} for {name}" for name, part in sizes.items())
        raise DataError(f"{settings.data} has too few samples: {told}", hint=_LIST_MORE)


def _one_of_each(source: Source) -> bool:
    assert source.labels is not None
    return len(np.unique(source.labels)) == len(source)


def _require_same_classes(settings: TrainingSettings, data: Source, test: Source) -> None:
    if (test.classes or 0) > (data.classes or 0):
        raise DataError(
            f"{settings.data}: the training part has {data.classes} classes, the test part {test.classes}",
            hint="both parts must count their classes alike",
        )
