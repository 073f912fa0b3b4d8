"""A source as Keras takes it: batches read while training runs, in an order that only seed and epoch decide.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edge.data.augment import augmented
from edge.data.source import Integers, Source
from edge.data.splits import batch_count
from edge.runtime.preprocessing import Floats

_READERS = 2
_BATCHES_AHEAD = 4


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Batches of (inputs, labels); shuffled and augmented if a `seed` is given."""

    def __init__(
        self, source: Source, size: int, *, seed: tuple[int, ...] | None = None, augment: tuple[str, ...] = ()
    ) -> None:
        super().__init__(workers=_READERS, max_queue_size=_BATCHES_AHEAD)
        self._source, self._size, self._seed, self._augment = source, size, seed, augment
        count = len(source)
        self._order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)

    def __len__(self) -> int:
        """Return the number of batches; a last one of a single sample is left out in training."""
        return batch_count(len(self._source), self._size, training=self._seed is not None)

    def __getitem__(self, index: int) -> tuple[Floats, Integers]:
        """Read one batch: float32 (batch, height, width, channels) and labels."""
        chosen = self._order[index * self._size : (index + 1) * self._size].tolist()
        samples = list(self._source.samples(chosen))
        inputs = [self._varied(sample.x, place) for place, sample in zip(chosen, samples, strict=True)]
        return np.stack(inputs), np.array([sample.label for sample in samples], np.int64)

    def _varied(self, x: Floats, place: int) -> Floats:
        if self._seed is None or not self._augment:
            return x
        return augmented(x, self._augment, np.random.default_rng((*self._seed, place)))


def count_correct(model: Any, source: Source, size: int) -> int:  # noqa: ANN401
    """Return how many samples the model gives the right class."""
    assert source.labels is not None
    return int((model.predict(Batches(source, size), verbose=0).argmax(axis=1) == source.labels).sum())
