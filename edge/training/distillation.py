"""Distils a trained teacher into the model that is trained (Hinton, Vinyals and Dean, arXiv 1503.02531).

The teacher's probabilities travel with the labels, one row per sample: [label, p_0, p_1 ...]. So the student stays a
plain Keras model, saved and resumed like any other, and the teacher sees each image as the student does.

Imports Keras; import it only from functions, before a model that was saved with these classes is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from converters.artifact.preprocessing import Floats, Preprocessing
from edge.data.batches import Batches
from edge.data.data_source import DataSource
from edge.errors import InputError
from edge.models.saved_model import load_keras, read_description

_PACKAGE = "edge"
_SMALLEST = 1e-7


@keras.saving.register_keras_serializable(package=_PACKAGE)
class DistillationLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """(1 - weight) * cross-entropy with the labels + weight * T^2 * KL(teacher at T || student at T).

    For rows without the teacher's probabilities (validation) it is the cross-entropy alone.

    Args:
        temperature: T; both distributions are softened by it.
        weight: of the teacher, 0 to 1.
        from_logits: whether the student ends in plain scores instead of softmax.
    """

    def __init__(
        self, *, temperature: float, weight: float, from_logits: bool, name: str = "distillation", **options: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        super().__init__(name=name, **options)
        self.temperature, self.weight, self.from_logits = temperature, weight, from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401  (tensors)
        """Return the loss of each sample."""
        scores = y_pred if self.from_logits else _log(y_pred)
        hard = ops.sparse_categorical_crossentropy(_labels(y_true), scores, from_logits=True)
        if not _has_teacher_rows(y_true):
            return hard
        teacher = ops.log_softmax(_log(y_true[:, 1:]) / self.temperature)
        student = ops.log_softmax(scores / self.temperature)
        soft = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return (1 - self.weight) * hard + self.weight * self.temperature**2 * soft

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, for saving."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "weight": self.weight,
            "from_logits": self.from_logits,
        }


@keras.saving.register_keras_serializable(package=_PACKAGE)
class LabelAccuracy(keras.metrics.Mean):  # type: ignore[misc]
    """Share of samples whose label gets the highest score, with or without the teacher's probabilities."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:  # noqa: ANN401
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # noqa: ANN401
        """Count a batch."""
        right = ops.equal(ops.argmax(y_pred, axis=-1), ops.cast(_labels(y_true), "int64"))
        super().update_state(ops.cast(right, "float32"), sample_weight=sample_weight)


class Teacher:
    """A trained model that is only run."""

    def __init__(self, model: Any, *, from_logits: bool) -> None:  # noqa: ANN401  (a keras.Model)
        model.trainable = False
        self.model = model
        self._answer: Callable[[Any], Any] = tf.function(
            lambda inputs: ops.softmax(model(inputs, training=False)) if from_logits else model(inputs, training=False),
            reduce_retracing=True,
        )

    def probabilities(self, inputs: Floats) -> Floats:
        """Return the probabilities (batch, classes) of inputs prepared for the model."""
        return np.asarray(self._answer(tf.constant(inputs)), np.float32)


class DistilledBatches(Batches):
    """Batches whose labels are rows [label, the teacher's probabilities]; the teacher sees the augmented images."""

    def __init__(
        self,
        teacher: Teacher,
        source: DataSource,
        size: int,
        *,
        seed: tuple[int, ...] | None = None,
        augment: tuple[str, ...] = (),
    ) -> None:
        super().__init__(source, size, seed=seed, augment=augment)
        self._teacher = teacher

    def __getitem__(self, index: int) -> tuple[Floats, Any]:
        """Read one batch and run the teacher on it."""
        inputs, labels = super().__getitem__(index)
        probabilities = self._teacher.probabilities(inputs)
        return inputs, np.concatenate([labels[:, np.newaxis].astype(np.float32), probabilities], axis=1)


def load_teacher(path: Path, preprocessing: Preprocessing, classes: int, labels: tuple[str, ...] | None) -> Any:  # noqa: ANN401
    """Load a trained .keras file (a keras.Model) to teach a student of this preprocessing and these classes.

    Raises:
        InputError: it cannot be loaded, takes other images or has other classes.
    """
    model, description = load_keras(path), read_description(path)
    wanted = (None, *preprocessing.shape), (None, classes)
    if (model.input_shape, model.output_shape) != wanted:
        raise InputError(
            f"the teacher {path} takes {model.input_shape[1:]} and has {model.output_shape[-1]} classes, "
            f"the student takes {wanted[0][1:]} and learns {classes}",
            hint="student and teacher must take the same images: give the student the teacher's --image-size",
        )
    if description is None:
        return model
    stated, names = description.preprocessing, description.labels
    if stated is not None and stated != preprocessing:
        raise InputError(
            f"the teacher {path} takes other preprocessing than the student: {stated.mode}, not {preprocessing.mode}",
            hint="give the student the teacher's --preprocessing",
        )
    if names is not None and labels is not None and names != labels:
        raise InputError(
            f"the teacher {path} was trained on other classes than the student", hint=f"see {path.stem}.json"
        )
    return model


def _has_teacher_rows(y_true: Any) -> bool:  # noqa: ANN401
    return len(y_true.shape) == 2 and y_true.shape[-1] is not None and y_true.shape[-1] > 1


def _labels(y_true: Any) -> Any:  # noqa: ANN401
    return ops.cast(y_true[:, 0] if len(y_true.shape) == 2 else y_true, "int32")


def _log(probabilities: Any) -> Any:  # noqa: ANN401
    return ops.log(ops.clip(probabilities, _SMALLEST, 1.0))
