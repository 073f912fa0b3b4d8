"""Holds a data source: its samples, labels and class names; picks, splits and reads samples one at a time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from converters.artifact.preprocessing import Floats, Preprocessing
from edge.errors import DataError

Integers = npt.NDArray[np.int64]

IMAGENET_CLASSES = 1000
# Contents are hashed for this many samples, evenly spread; names, labels and sizes always for all.
_HASHED_CONTENTS = 2000


@dataclass(frozen=True)
class DataSample:
    """One input of the model, already preprocessed (float32, height x width x channels)."""

    x: Floats
    label: int | None
    name: str


class SampleOrigin(Protocol):
    """Reads the samples of a source by position, counted from 0."""

    def read(self, position: int) -> Floats:
        """Return one preprocessed input, or raise DataError naming it."""

    def name(self, position: int) -> str:
        """Return the sample's name for the user: a path inside the folder, or a row."""

    def size_bytes(self, position: int) -> int:
        """Return the size of the stored sample."""

    def content(self, position: int) -> bytes:
        """Return the stored bytes."""


@dataclass(frozen=True)
class DataSource:
    """Some samples of an origin; nothing is read before `samples`, and never more than one sample is held.

    `indices` are positions in the origin; `labels` are aligned with them. `names` are the class names by label.
    """

    spec: str
    kind: str
    preprocessing: Preprocessing
    origin: SampleOrigin
    indices: Integers
    labels: Integers | None
    names: tuple[str, ...] | None

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self.indices)

    @property
    def labels_known(self) -> bool:
        """Whether every sample has a label."""
        return self.labels is not None

    @property
    def classes(self) -> int | None:
        """The number of classes: of the names, or else the largest label + 1; None without labels."""
        if self.names is not None:
            return len(self.names)
        return int(self.labels.max()) + 1 if self.labels is not None and len(self.labels) else None

    def label_offset(self, classes: int) -> int | None:
        """Return what to add to labels to get a model's output number; None where labels exceed the model's classes.

        It is 1 for ImageNet labels and a model whose class 0 is the background.
        """
        if self.labels is None or not len(self.labels):
            return 0
        if classes == IMAGENET_CLASSES + 1 and self.classes is not None and self.classes <= IMAGENET_CLASSES:
            return 1
        return 0 if int(self.labels.max()) < classes else None

    def samples(self, indices: Iterable[int] | None = None) -> Iterator[DataSample]:
        """Yield samples one by one; each is read when it is requested.

        Args:
            indices: positions within this source, 0..len-1, in the order wanted; all by default.

        Raises:
            DataError: an image or row cannot be read; the error names it.
        """
        for index in range(len(self)) if indices is None else indices:
            yield self.sample(index)

    def sample(self, index: int) -> DataSample:
        """Read one sample, by its position within this source."""
        position = int(self.indices[index])
        label = None if self.labels is None else int(self.labels[index])
        return DataSample(self.origin.read(position), label, self.origin.name(position))

    def pick(self, count: int, *, seed: int = 0) -> DataSource:
        """Choose samples, the same for the same seed: class-balanced where labels are known.

        Returns:
            A source of `count` samples, or of all where there are fewer.
        """
        if count < 1:
            raise DataError(f"at least one sample must be picked, got {count}")
        random = np.random.default_rng(seed)
        order = random.permutation(len(self))
        if self.labels is not None:
            order = order[_round_robin(self.labels[order], random)]
        return self.subset(order[:count])

    def split(self, fraction: float, *, seed: int = 0) -> tuple[DataSource, DataSource]:
        """Hold out a fraction, stratified by class where labels are known; a class of one sample is not held out.

        Returns:
            The rest and the held-out part: all samples, without overlap.
        """
        if not 0.0 < fraction < 1.0:
            raise DataError(f"the fraction to hold out must lie between 0 and 1, got {fraction}")
        order = np.random.default_rng(seed).permutation(len(self))
        if self.labels is not None:
            counts = np.bincount(self.labels)
            order = order[counts[self.labels[order]] > 1]
            order = order[np.argsort(self.labels[order], kind="stable")]
        # Of the samples in the order of their classes, every (1 / fraction)-th.
        steps = np.floor(np.arange(len(order) + 1) * fraction + 0.5)
        held = order[np.diff(steps) > 0]
        rest = np.setdiff1d(np.arange(len(self)), held)
        return self.subset(rest), self.subset(held)

    def subset(self, indices: Iterable[int]) -> DataSource:
        """Return a source of some of the samples, in the order of the origin."""
        chosen = np.sort(np.fromiter(indices, np.int64))
        labels = None if self.labels is None else self.labels[chosen]
        return dataclasses.replace(self, indices=self.indices[chosen], labels=labels)

    def digest(self) -> str:
        """Return a SHA-256 of this source.

        It covers the kind, every sample's name, label and size in bytes, and the contents of all samples up to 2,000;
        of more, those of 2,000 spread evenly.
        """
        hashed = hashlib.sha256(f"{self.kind}\n{len(self)}\n".encode())
        for index, position in enumerate(self.indices.tolist()):
            label = "" if self.labels is None else str(self.labels[index])
            hashed.update(f"{self.origin.name(position)}\t{label}\t{self.origin.size_bytes(position)}\n".encode())
        spread = np.unique(np.linspace(0, len(self) - 1, min(len(self), _HASHED_CONTENTS)).astype(np.int64))
        for position in self.indices[spread].tolist():
            hashed.update(hashlib.sha256(self.origin.content(position)).digest())
        return hashed.hexdigest()


def _round_robin(labels: Integers, random: np.random.Generator) -> Integers:
    """Return an order that takes one sample of each class in turn, the classes in random order."""
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        turn[places] = np.arange(len(places))
    rank = random.permutation(int(labels.max()) + 1)[labels]
    return np.lexsort((rank, turn))
