"""Measures how far a variant is from the Keras model, and checks that against its recipe's tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.artifact.record import AccuracyRecord, ParityRecord
from converters.recipes import Tolerance

Array = npt.NDArray[Any]
_DECIDED_MARGIN = 0.1
_DECIDED_AT_LEAST = 20
_LABELLED_AT_LEAST = 50


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Correct answers of a variant and of the Keras model on the same labelled inputs."""

    correct: int
    of: int
    reference_correct: int
    classes: int

    @property
    def reference_knows(self) -> bool:
        """Whether the Keras model is at least twice as good as guessing: below that a loss means nothing."""
        return self.reference_correct * self.classes >= 2 * self.of


@dataclass(frozen=True, kw_only=True)
class Parity:
    """A variant against the Keras model; errors are absolute, in units of the outputs, over all outputs.

    Attributes:
        samples: inputs compared.
        source: where they came from; `real` is False for drawn numbers.
        cosine: mean over the inputs of the cosine between the outputs; None where an output is all zeros.
        relative_rms_error: see `Tolerance`.
        relative_max_error: see `Tolerance`.
        top1_agreement: share of all inputs with the same first class; None for models that are not classifiers.
        decided: inputs on which the Keras model clearly prefers one class, and the share of agreement on them.
    """

    samples: int
    source: str
    real: bool
    max_abs_error: float
    mean_abs_error: float
    cosine: float | None
    relative_rms_error: float
    relative_max_error: float
    top1_agreement: float | None
    decided: int | None
    decided_agreement: float | None
    accuracy: Accuracy | None

    def record(self, tolerance: Tolerance) -> ParityRecord:
        """Return the artifact's record of it."""
        accuracy = None if self.accuracy is None else AccuracyRecord(**vars(self.accuracy))
        return ParityRecord(**{**vars(self), "accuracy": accuracy, "tolerance": tolerance.record})

    def beyond(self, tolerance: Tolerance) -> tuple[str, ...]:
        """Return a text for each figure out of tolerance; empty if there is none."""
        figures = (
            ("relative RMS error", self.relative_rms_error, tolerance.relative_rms_error),
            ("relative maximum error", self.relative_max_error, tolerance.relative_max_error),
        )
        found = [
            f"{name} {value:.3g}, allowed {limit:g}"
            for name, value, limit in figures
            if limit is not None and not value <= limit
        ]
        return (*found, *self._beyond_for_classes(tolerance))

    def _beyond_for_classes(self, tolerance: Tolerance) -> list[str]:
        found = []
        limit, share = tolerance.top1_agreement, self.decided_agreement
        if limit is not None and share is not None and (self.decided or 0) >= _DECIDED_AT_LEAST and share < limit:
            found.append(f"top-1 agreement {share:.3f} on {self.decided} clearly decided inputs, needed {limit:g}")
        if tolerance.accuracy_drop is not None and self.accuracy is not None and self._lost(tolerance.accuracy_drop):
            told = self.accuracy
            found.append(f"{told.correct} of {told.of} correct, Keras {told.reference_correct}, "
                         f"a loss of {tolerance.accuracy_drop:.0%} is allowed")  # fmt: skip
        return found

    def _lost(self, drop: float) -> bool:
        assert self.accuracy is not None
        lost = self.accuracy.reference_correct - self.accuracy.correct
        enough = self.accuracy.of >= _LABELLED_AT_LEAST and self.accuracy.reference_knows
        return enough and lost > max(1, math.floor(drop * self.accuracy.of))


@dataclass
class _Output:
    """Running sums of one output."""

    step: float
    elements: int = 0
    squared_excess: float = 0.0
    squared: float = 0.0
    absolute_error: float = 0.0
    largest_error: float = 0.0
    largest: float = 0.0

    def add(self, reference: Array, variant: Array) -> None:
        """Add one batch."""
        error = np.abs(variant - reference)
        self.elements += error.size
        self.squared_excess += float(np.sum(np.maximum(error - self.step, 0.0) ** 2))
        self.squared += float(np.sum(reference**2))
        self.absolute_error += float(np.sum(error))
        self.largest_error = max(self.largest_error, float(error.max(initial=0.0)))
        self.largest = max(self.largest, float(np.abs(reference).max(initial=0.0)))
        if not np.isfinite(error).all():
            self.largest_error = self.squared_excess = math.inf

    def relative_rms(self) -> float:
        """Return the error over the size of the output, one quantization step taken off each element's."""
        return _over(math.sqrt(self.squared_excess), math.sqrt(self.squared))

    def relative_max(self) -> float:
        """Return the largest error over the largest value, one quantization step taken off."""
        return _over(max(0.0, self.largest_error - self.step), self.largest)


@dataclass
class Comparison:
    """Accumulates outputs batch by batch and computes the figures at the end.

    Attributes:
        steps: quantization step of each output, 0 for floating point.
        classifier: whether the first output is a score per class, if it has the shape of one row of scores.
    """

    steps: Sequence[float]
    classifier: bool
    _outputs: list[_Output] = field(init=False)
    _cosines: list[float] = field(init=False, default_factory=list)
    _zeros: bool = field(init=False, default=False)
    _first: list[tuple[Array, Array, Array]] = field(init=False, default_factory=list)
    _samples: int = field(init=False, default=0)
    _classes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Start without batches."""
        self._outputs = [_Output(step) for step in self.steps]

    def add(self, reference: Sequence[Array], variant: Sequence[Array]) -> None:
        """Add a batch: outputs of the Keras model and of the variant, samples along the first axis."""
        real = [np.asarray(array, np.float64) for array in reference]
        got = [np.asarray(array, np.float64) for array in variant]
        for output, left, right in zip(self._outputs, real, got, strict=True):
            output.add(left, right)
        count = len(real[0])
        self._samples += count
        flat = [np.concatenate([array.reshape(count, -1) for array in arrays], axis=1) for arrays in (real, got)]
        self._add_cosines(*flat)
        if self.classifier and real[0].ndim == 2 and real[0].shape[1] > 1:
            self._classes = real[0].shape[-1]
            self._first.append(_decisions(real[0], got[0]))

    def result(self, *, source: str, real: bool, labels: Array | None) -> Parity:
        """Return the figures; `labels` are aligned with the added samples."""
        elements = sum(output.elements for output in self._outputs)
        top1 = [np.concatenate(parts) for parts in zip(*self._first, strict=True)] if self._first else None
        decided = int(top1[2].sum()) if top1 else None
        return Parity(
            samples=self._samples, source=source, real=real,
            max_abs_error=max(output.largest_error for output in self._outputs),
            mean_abs_error=sum(output.absolute_error for output in self._outputs) / max(elements, 1),
            cosine=None if self._zeros or not self._cosines else float(np.mean(self._cosines)),
            relative_rms_error=max(output.relative_rms() for output in self._outputs),
            relative_max_error=max(output.relative_max() for output in self._outputs),
            top1_agreement=float(np.mean(top1[0] == top1[1])) if top1 else None,
            decided=decided,
            decided_agreement=float(np.mean((top1[0] == top1[1])[top1[2]])) if top1 and decided else None,
            accuracy=_accuracy(top1, labels, self._classes),
        )  # fmt: skip

    def _add_cosines(self, left: Array, right: Array) -> None:
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        self._zeros |= bool((norms == 0).any())
        with np.errstate(invalid="ignore", divide="ignore"):
            self._cosines.extend((np.sum(left * right, axis=1) / norms)[norms > 0].tolist())


def looks_like_classes(output: Array) -> bool:
    """Whether a batch of outputs is one probability distribution per input."""
    return (
        output.ndim == 2
        and output.shape[1] >= 2
        and bool((output >= 0).all())
        and bool(np.allclose(output.sum(axis=1), 1.0, atol=1e-2))
    )


def _decisions(reference: Array, variant: Array) -> tuple[Array, Array, Array]:
    """Return the first class of both, and where the reference clearly prefers its own."""
    ordered = np.sort(reference, axis=1)
    decided = ordered[:, -1] - ordered[:, -2] >= _DECIDED_MARGIN * np.abs(ordered[:, -1])
    return reference.argmax(axis=1), variant.argmax(axis=1), decided


def _accuracy(top1: Sequence[Array] | None, labels: Array | None, classes: int) -> Accuracy | None:
    if top1 is None or labels is None:
        return None
    reference, variant, _ = top1
    return Accuracy(correct=int((variant == labels).sum()), of=len(labels),
                    reference_correct=int((reference == labels).sum()), classes=classes)  # fmt: skip


def _over(error: float, size: float) -> float:
    if error == 0.0:
        return 0.0
    return error / size if size > 0 else math.inf
