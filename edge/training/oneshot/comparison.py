"""Compares the pruned network with the dense one on images that were not used to correct the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from converters.artifact.preprocessing import Preprocessing
from edge.data.data_source import DataSource, Integers
from edge.data.open_data import available_splits, open_data
from edge.data.splits import HeldOut
from edge.errors import DataError
from edge.training.oneshot.layer_program import LayerProgram
from edge.training.oneshot.prune_request import PruneRequest
from edge.training.outcome import CorrectCount

MOST_COMPARED = 1000
Images = NDArray[Any]


class _Accuracy(TypedDict):
    correct: int
    of: int
    accuracy: float


class AgreementReport(TypedDict):
    """The agreement with the images it was measured on, as JSON."""

    pictures: int
    measured_on: str
    same_top1: int | None
    top1_agreement: float | None
    output_sqnr_db: float | None
    dense: _Accuracy | None
    pruned: _Accuracy | None


@dataclass(frozen=True)
class Agreement:
    """How near the pruned network's outputs are to the dense one's; None is not known.

    Attributes:
        images: the number of images compared.
        same_top1: on how many of them the class is the same; None where the model is no classifier.
        sqnr_db: power of the dense outputs over the power of the difference; None where there is no difference.
        dense, pruned: correct answers, where labels are known.
    """

    images: int
    same_top1: int | None
    sqnr_db: float | None
    dense: CorrectCount | None
    pruned: CorrectCount | None

    def to_json(self, measured_on: str) -> AgreementReport:
        """Return the figures with the images they were measured on."""
        return {
            "pictures": self.images,
            "measured_on": measured_on,
            "same_top1": self.same_top1,
            "top1_agreement": None if self.same_top1 is None else self.same_top1 / self.images,
            "output_sqnr_db": self.sqnr_db,
            "dense": _accuracy_json(self.dense),
            "pruned": _accuracy_json(self.pruned),
        }


@dataclass(frozen=True)
class ImageSplit:
    """Images to correct the weights with, and others to compare on, which `measured_on` describes."""

    correct: DataSource
    compare: DataSource
    measured_on: str


def split_images(request: PruneRequest, preprocessing: Preprocessing, held_out: HeldOut | None) -> ImageSplit:
    """Open the data and split it.

    Compared is, in this order: on `evaluate`; on the test part of `calibrate`; on what a training held out of
    `calibrate`; on a random share of it.

    Raises:
        InputError: there is no such data.
        DataError: there are no images, or too few to hold some out.
    """
    parts = available_splits(request.calibrate)
    source = open_data(request.calibrate, preprocessing=preprocessing, split="train" if parts else None)
    evaluate = _open_evaluate(request, preprocessing)
    if evaluate is not None and evaluate.digest() != source.digest():
        correct, compare, origin = source, evaluate, f"images of {evaluate.spec}"
    elif "test" in parts:
        test = open_data(request.calibrate, preprocessing=preprocessing, split="test")
        correct, compare, origin = source, test, f"images of the test part of {source.spec}"
    else:
        correct, compare = _hold_out(source, request, held_out)
        origin = f"images of {source.spec} that were held out"
    if not len(correct) or not len(compare):
        raise DataError(
            f"{source.spec} has {len(source)} image{'' if len(source) == 1 else 's'}: some are needed to correct the "
            "weights with, and others to compare on",
            hint="give more images, or others to compare on with --evaluate",
        )
    compare = compare.pick(MOST_COMPARED, seed=request.seed)
    correct = correct.pick(request.limit, seed=request.seed)
    return ImageSplit(correct, compare, f"{len(compare)} {origin}; none used to correct the weights")


def match_labels(source: DataSource, classes: int | None, notify: Callable[[str], None]) -> Integers | None:
    """Return the labels as numbers of the model's outputs; None where there are none, or they do not fit."""
    if source.labels is None or classes is None:
        return None
    offset = source.label_offset(classes)
    if offset is None:
        notify(f"{source.spec} has labels up to {int(source.labels.max())}, the model has {classes} classes: the "
               "labels are not used")  # fmt: skip
        return None
    return source.labels + offset


def compare_networks(
    dense: LayerProgram, pruned: LayerProgram, source: DataSource, labels: Integers | None, *, batch: int
) -> Agreement:
    """Run both networks on a source's images; `labels` are numbers of the model's outputs."""
    signal = noise = 0.0
    top1: list[tuple[Integers, Integers]] = []
    for x in read_batches(source, batch):
        of_dense, of_pruned = (_run(program, x) for program in (dense, pruned))
        for wanted, got in zip(of_dense, of_pruned, strict=True):
            signal += float(np.square(wanted, dtype=np.float64).sum())
            noise += float(np.square(wanted.astype(np.float64) - got).sum())
        if len(of_dense) == 1 and of_dense[0].ndim == 2 and of_dense[0].shape[1] > 1:
            top1.append((of_dense[0].argmax(axis=1), of_pruned[0].argmax(axis=1)))
    sqnr = 10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None
    if not top1:
        return Agreement(len(source), None, sqnr, None, None)
    first, second = (np.concatenate(classes) for classes in zip(*top1, strict=True))
    same = int((first == second).sum())
    return Agreement(len(source), same, sqnr, _count_correct(first, labels), _count_correct(second, labels))


def read_batches(source: DataSource, size: int) -> Iterator[Images]:
    """Yield a source's images, float32 (batch, height, width, channels), each batch read when it is requested."""
    for start in range(0, len(source), size):
        indices = range(start, min(start + size, len(source)))
        yield np.stack([sample.x for sample in source.samples(indices)])


def _open_evaluate(request: PruneRequest, preprocessing: Preprocessing) -> DataSource | None:
    if request.evaluate is None or request.evaluate == request.calibrate:
        return None
    split = "test" if "test" in available_splits(request.evaluate) else None
    return open_data(request.evaluate, preprocessing=preprocessing, split=split)


def _hold_out(source: DataSource, request: PruneRequest, held_out: HeldOut | None) -> tuple[DataSource, DataSource]:
    splits = None if held_out is None else held_out.split(source)
    if splits is not None:
        return splits
    order = np.random.default_rng(request.seed).permutation(len(source))
    count = min(len(source) - 1, max(1, round(request.held_out * len(source))))
    return source.subset(order[count:]), source.subset(order[:count])


def _run(program: LayerProgram, x: Images) -> list[NDArray[Any]]:
    values = program.run({program.inputs[0]: x}, 0, len(program.steps))
    return [values[number] for number in program.outputs]


def _count_correct(classes: Integers, labels: Integers | None) -> CorrectCount | None:
    return None if labels is None else CorrectCount(int((classes == labels).sum()), len(labels))


def _accuracy_json(count: CorrectCount | None) -> _Accuracy | None:
    return None if count is None else {"correct": count.correct, "of": count.of, "accuracy": count.accuracy}
