"""Splits a data source into training, validation and test samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converters.artifact.preprocessing import Preprocessing
from edge.data.data_source import DataSource
from edge.data.open_data import available_splits, open_data
from edge.errors import DataError

_MORE_SAMPLES_HINT = "take more samples of each class, or a larger --limit: the last of a class is never held out"


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """The options of a split; the fields are those of `TrainingSettings`."""

    data: str
    validation: float
    test: float
    seed: int
    limit: int | None = None


@dataclass(frozen=True)
class HeldOut:
    """Samples that a training never used: `DataSource.split` returns them again for the data with this digest."""

    digest: str
    fraction: float
    seed: int

    def split(self, source: DataSource) -> tuple[DataSource, DataSource] | None:
        """Return the samples used in training and those held out; None where the source is other data."""
        return source.split(self.fraction, seed=self.seed) if source.digest() == self.digest else None


@dataclass(frozen=True)
class DatasetSplits:
    """Splits without a common sample.

    Attributes:
        source: `train` and `validation` together, with all labels.
        measured_on: describes `test`.
        digest: identifies all samples.
        held_out: returns `test` again; None where the data has a test part of its own.
    """

    source: DataSource
    train: DataSource
    validation: DataSource
    test: DataSource
    measured_on: str
    digest: str
    held_out: HeldOut | None


def split_dataset(options: SplitOptions, preprocessing: Preprocessing) -> DatasetSplits:
    """Open the data and split it, stratified by class and reproducible by the seed.

    Raises:
        InputError: there is no such data.
        DataError: no labels, one class only, or too few samples for three splits.
    """
    splits, held_out = available_splits(options.data), None
    data = _limit(_open_with_labels(options, preprocessing, "train" if splits else None), options)
    if "test" in splits:
        rest, test = data, _limit(_open_with_labels(options, preprocessing, "test"), options)
        measured_on = f"the {len(test)} samples of the test part of {options.data}, none of them used in training"
        digest = f"{data.digest()}+{test.digest()}"
    else:
        rest, test = data.split(options.test, seed=options.seed)
        share = len(test) / max(len(data), 1)
        measured_on = f"{len(test)} of the {len(data)} samples of {options.data} ({share:.0%}), held out from training"
        digest = data.digest()
        held_out = HeldOut(digest, options.test, options.seed)
    train, validation = rest.split(options.validation, seed=options.seed + 1)
    _require_enough(options, train, validation, test, of=data)
    _require_same_classes(options, data, test)
    return DatasetSplits(data, train, validation, test, measured_on, digest, held_out)


def batch_count(samples: int, size: int, *, training: bool) -> int:
    """Return how many batches an epoch has.

    Batch normalization cannot learn from a single sample, so a training epoch drops a last batch of one; the order
    differs from epoch to epoch, so every sample is still seen.
    """
    full, rest = divmod(samples, size)
    return full + (1 if rest > (1 if training and full else 0) else 0)


def _open_with_labels(options: SplitOptions, preprocessing: Preprocessing, split: str | None) -> DataSource:
    return open_data(options.data, preprocessing=preprocessing, split=split, labels_needed=True)


def _limit(source: DataSource, options: SplitOptions) -> DataSource:
    return source if options.limit is None else source.pick(options.limit, seed=options.seed)


def _require_enough(
    options: SplitOptions, train: DataSource, validation: DataSource, test: DataSource, *, of: DataSource
) -> None:
    assert train.labels is not None
    if len(np.unique(train.labels)) < 2:
        present = [train.names[label] if train.names else f"label {label}" for label in set(train.labels.tolist())]
        raise DataError(
            f"{options.data}: {len(present)} class to learn ({', '.join(present) or 'none'}); a classifier needs two",
            hint="one folder per class, at least two of them",
        )
    sizes = {"training": train, "validation": validation, "test": test}
    empty = [name for name, part in sizes.items() if not len(part)]
    if empty and _has_one_per_class(of):
        raise DataError(
            f"{options.data} has one sample of each class ({len(of)}): none can be held out for "
            "validation or test without leaving its class untrained",
            hint="take three or more samples of each class, or a larger --limit",
        )
    if empty:
        counts = ", ".join(f"{len(part)} for {name}" for name, part in sizes.items())
        raise DataError(f"{options.data} has too few samples: {counts}", hint=_MORE_SAMPLES_HINT)


def _has_one_per_class(source: DataSource) -> bool:
    assert source.labels is not None
    return len(np.unique(source.labels)) == len(source)


def _require_same_classes(options: SplitOptions, data: DataSource, test: DataSource) -> None:
    if (test.classes or 0) > (data.classes or 0):
        raise DataError(
            f"{options.data}: the training part has {data.classes} classes, the test part {test.classes}",
            hint="both parts must count their classes alike",
        )
