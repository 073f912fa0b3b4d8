"""Gathers the inputs for calibration and checking into memory, and refuses those that would mislead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.artifact.record import CalibrationRecord
from converters.errors import CalibrationError
from converters.freezing import Port

Array = npt.NDArray[Any]
Sample = tuple[Sequence[Array], int | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleSet:
    """Model inputs in memory.

    Attributes:
        source: their origin, in terms a user can repeat.
        seed: of the choice among more inputs, or of the generation.
        inputs: one array per model input, samples along the first axis, without the model's batch dimension.
        labels: class index per sample in the model's own output order, or None.
        real: False for generated numbers.
    """

    source: str
    seed: int | None
    inputs: tuple[Array, ...]
    labels: npt.NDArray[np.int64] | None
    real: bool

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.inputs[0])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shapes, types and bytes of the inputs."""
        digest = hashlib.sha256()
        for array in self.inputs:
            digest.update(f"{array.shape}{array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def first(self, count: int | None) -> SampleSet:
        """Return the first so many samples; all for None."""
        if count is None or count >= self.count:
            return self
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, inputs=tuple(array[:count] for array in self.inputs), labels=labels)

    def batches(self, size: int) -> Iterable[tuple[Array, ...]]:
        """Yield batches of exactly `size`; the last is filled by repeating its last sample."""
        for start in range(0, self.count, size):
            indices = np.minimum(np.arange(start, start + size), self.count - 1)
            yield tuple(array[indices] for array in self.inputs)

    @property
    def record(self) -> CalibrationRecord:
        """The artifact's record of calibration with these inputs."""
        return CalibrationRecord(source=self.source, samples=self.count, seed=self.seed, digest=self.digest)


def gather(samples: Iterable[Sample], *, inputs: Sequence[Port], source: str, seed: int | None) -> SampleSet:
    """Read samples into memory and check that they are usable.

    Args:
        samples: pairs of (one array per model input without batch dimension, label or None).
        inputs: the model's inputs; their first dimension is the batch.
        source: the origin of the samples.
        seed: recorded.

    Raises:
        CalibrationError: no sample, a shape that does not fit, values that are not finite, or nothing but constants.
    """
    columns: list[list[Array]] = [[] for _ in inputs]
    labels: list[int | None] = []
    for index, (arrays, label) in enumerate(samples):
        for column, array, port in zip(columns, _fitting(arrays, inputs, index, source), inputs, strict=True):
            column.append(np.asarray(array, port.dtype))
        labels.append(label)
    if not labels:
        raise CalibrationError(
            f"{source} holds no samples", hint="name a folder of pictures, an .npy or .npz file with at least one input"
        )
    _require_variety(columns, inputs, source)
    known = None if any(label is None for label in labels) else np.asarray(labels, np.int64)
    stacked = tuple(np.stack(column) for column in columns)
    return SampleSet(source=source, seed=seed, inputs=stacked, labels=known, real=True)


def draw_samples(inputs: Sequence[Port], *, value_range: tuple[float, float], count: int, seed: int) -> SampleSet:
    """Generate inputs uniformly within a valid range: for checks without data, never for calibration."""
    generator = np.random.default_rng(seed)
    low, high = value_range
    arrays = tuple(generator.uniform(low, high, (count, *port.shape[1:])).astype(port.dtype) for port in inputs)
    source = f"drawn uniformly from {low:g} to {high:g}"
    return SampleSet(source=source, seed=seed, inputs=arrays, labels=None, real=False)


def _fitting(arrays: Sequence[Array], inputs: Sequence[Port], index: int, source: str) -> Sequence[Array]:
    if len(arrays) != len(inputs):
        raise CalibrationError(
            f"the model has {len(inputs)} inputs ({', '.join(port.name for port in inputs)}), "
            f"sample {index} of {source} has {len(arrays)}",
            hint="give an .npz file with one array per input, named as the inputs",
        )
    for array, port in zip(arrays, inputs, strict=True):
        if tuple(array.shape) != port.shape[1:]:
            raise CalibrationError(
                f"input '{port.name}' takes {list(port.shape[1:])}, sample {index} of {source} has {list(array.shape)}",
                hint="give samples of the model's own input shape; pictures are resized, arrays are taken as they are",
            )
        if not np.isfinite(array).all():
            raise CalibrationError(
                f"sample {index} of {source} holds NaN or infinity",
                hint="remove it, or fix its source",
            )
    return arrays


def _require_variety(columns: Sequence[Sequence[Array]], inputs: Sequence[Port], source: str) -> None:
    for column, port in zip(columns, inputs, strict=True):
        if all(array.size > 1 and array.min() == array.max() for array in column):
            raise CalibrationError(
                f"every sample of {source} is constant for input '{port.name}' ({len(column)} looked at)",
                hint="give inputs as the model will see them in use: ranges measured on constants are meaningless",
            )
