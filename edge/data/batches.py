"""Reads a data source in batches while Keras trains: shuffled and augmented, reproducible by seed and epoch.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from converters.artifact.preprocessing import Floats
from edge.data.data_source import DataSource, Integers
from edge.data.splits import batch_count

_READERS = 2
_BATCHES_AHEAD = 4
_SHIFT_PART = 8


class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Batches of (inputs, labels); shuffled and augmented if a `seed` is given."""

    def __init__(
        self, source: DataSource, size: int, *, seed: tuple[int, ...] | None = None, augment: tuple[str, ...] = ()
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
        inputs = [self._vary(sample.x, place) for place, sample in zip(chosen, samples, strict=True)]
        return np.stack(inputs), np.array([sample.label for sample in samples], np.int64)

    def _vary(self, x: Floats, place: int) -> Floats:
        if self._seed is None or not self._augment:
            return x
        return augment_input(x, self._augment, np.random.default_rng((*self._seed, place)))


def count_correct(model: Any, source: DataSource, size: int) -> int:  # noqa: ANN401
    """Return how many samples the model gives the right class."""
    assert source.labels is not None
    return int((model.predict(Batches(source, size), verbose=0).argmax(axis=1) == source.labels).sum())


def augment_input(x: Floats, names: tuple[str, ...], random: np.random.Generator) -> Floats:
    """Return one input mirrored and moved at random: `names` of "flip" and "shift"; x is height x width x channels."""
    if "flip" in names and random.integers(2):
        x = x[:, ::-1]
    return _shift(x, random) if "shift" in names else x


def _shift(x: Floats, random: np.random.Generator) -> Floats:
    """Move by up to an eighth of each side; the border is continued with its own pixels."""
    height, width = x.shape[:2]
    reach = height // _SHIFT_PART, width // _SHIFT_PART
    top, left = random.integers(0, 2 * reach[0] + 1), random.integers(0, 2 * reach[1] + 1)
    padded = np.pad(x, ((reach[0],) * 2, (reach[1],) * 2, (0, 0)), mode="edge")
    return padded[top : top + height, left : left + width]
