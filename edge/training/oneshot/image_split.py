"""The pictures of one-shot pruning: some to correct with, others to compare on, none in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converters.artifact.preprocessing import Preprocessing
from edge.data.data_source import DataSource, Integers
from edge.data.open_data import available_splits, open_data
from edge.errors import DataError
from edge.models.loading import LoadedModel, Say
from edge.training.oneshot.prune_request import PruneRequest

MOST_COMPARED = 1000


@dataclass(frozen=True)
class Pictures:
    """`correct` is what weights are corrected with, `compare` what is measured on; `measured_on` says it in words."""

    correct: DataSource
    compare: DataSource
    measured_on: str


def split_images(request: PruneRequest, loaded: LoadedModel, preprocessing: Preprocessing) -> Pictures:
    """Open the data and divide it.

    Compared is, in this order: on `evaluate`; on the test part of `calibrate`; on what a training held out of
    `calibrate`; on a random share of it.

    Raises:
        InputError: there is no such data.
        DataError: there are no pictures, or too few to hold some out.
    """
    splits = available_splits(request.calibrate)
    source = open_data(request.calibrate, preprocessing=preprocessing, split="train" if splits else None)
    other = _other(request, preprocessing)
    if other is not None and other.digest() != source.digest():
        rest, compare, told = source, other, f"pictures of {other.spec}"
    elif "test" in splits:
        test = open_data(request.calibrate, preprocessing=preprocessing, split="test")
        rest, compare, told = source, test, f"pictures of the test part of {source.spec}"
    else:
        rest, compare = _divided(source, request, loaded)
        told = f"pictures of {source.spec} that were held out"
    if not len(rest) or not len(compare):
        raise DataError(
            f"{source.spec} has {len(source)} picture{'' if len(source) == 1 else 's'}: some are needed to correct "
            "with, and others to compare on",
            hint="give more pictures, or others to compare on with --evaluate",
        )
    compare = compare.pick(MOST_COMPARED, seed=request.seed)
    return Pictures(rest.pick(request.limit, seed=request.seed), compare, f"{len(compare)} {told}; none corrected with")


def labels_in_order(source: DataSource, classes: int | None, say: Say) -> Integers | None:
    """Return the labels as numbers of the model's outputs; None where there are none, or they do not fit."""
    if source.labels is None or classes is None:
        return None
    offset = source.label_offset(classes)
    if offset is None:
        say(f"{source.spec} has labels up to {int(source.labels.max())}, the model has {classes} classes: the labels "
            "are not used")  # fmt: skip
        return None
    return source.labels + offset


def _other(request: PruneRequest, preprocessing: Preprocessing) -> DataSource | None:
    if request.evaluate is None or request.evaluate == request.calibrate:
        return None
    split = "test" if "test" in available_splits(request.evaluate) else None
    return open_data(request.evaluate, preprocessing=preprocessing, split=split)


def _divided(source: DataSource, request: PruneRequest, loaded: LoadedModel) -> tuple[DataSource, DataSource]:
    splits = None if loaded.held_out is None else loaded.held_out.split(source)
    if splits is not None:
        return splits
    order = np.random.default_rng(request.seed).permutation(len(source))
    count = min(len(source) - 1, max(1, round(request.held_out * len(source))))
    return source.subset(order[count:]), source.subset(order[:count])
