"""Compiles a Keras model and trains it for one epoch; saves and restores the state of its random layers.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from edge.data.batches import Batches
from edge.data.splits import DatasetSplits, batch_count
from edge.errors import EdgeError, InputError
from edge.training.checkpoints import Epoch
from edge.training.distillation import DistillationLoss, DistilledBatches, LabelAccuracy, Teacher
from edge.training.pruning_callback import KeepZeros
from edge.training.pruning_plan import LayerTarget
from edge.training.recalibration import lags, recalibrate
from edge.training.training_settings import TrainingSettings

_WARM_UP_PART = 0.2
_WARM_UP_EPOCHS = 5
_FIRST_RATE_PART = 0.1
_LAST_RATE_PART = 0.01
_CALIBRATION_SAMPLES = 1024

OnStep = Callable[[int, int, int], None]


def compile_model(model: Any, settings: TrainingSettings, samples: int) -> None:  # noqa: ANN401
    """Compile with AdamW, a warm-up and a cosine over all epochs, and cross-entropy or distillation."""
    steps = batch_count(samples, settings.batch, training=True)
    total = steps * settings.epochs
    warm_up = min(int(total * _WARM_UP_PART), steps * _WARM_UP_EPOCHS)
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate * _FIRST_RATE_PART,
        max(total - warm_up, 1),
        alpha=_LAST_RATE_PART,
        warmup_target=settings.learning_rate,
        warmup_steps=warm_up,
    )
    loss, metrics = _loss_and_metrics(settings, from_logits=not ends_in_softmax(model))
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay),
        loss=loss,
        metrics=metrics,
        jit_compile=False,  # on a CPU, compiling with XLA costs more than a short training gains
    )


def _loss_and_metrics(settings: TrainingSettings, *, from_logits: bool) -> tuple[Any, list[Any]]:
    if settings.distillation is None:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits), ["accuracy"]
    temperature, weight = settings.distillation.temperature, settings.distillation.weight
    loss = DistillationLoss(temperature=temperature, weight=weight, from_logits=from_logits)
    return loss, [LabelAccuracy()]


@dataclass(frozen=True)
class TrainingHooks:
    """Extends a training: keeps or creates zeros, distils a teacher, runs a callback after each step."""

    zeros: KeepZeros | None
    teacher: Teacher | None
    on_step: OnStep

    @property
    def targets(self) -> tuple[LayerTarget, ...]:
        """The targets that pruning has chosen for the layers, empty before."""
        return getattr(self.zeros, "targets", None) or ()


def fit_epoch(
    model: Any,  # noqa: ANN401
    settings: TrainingSettings,
    splits: DatasetSplits,
    epoch: int,
    *,
    hooks: TrainingHooks,
) -> Epoch:
    """Train one epoch (counted from 1) and measure the validation loss.

    As long as moving averages of the batch normalization still contain their values from before the training, they are
    re-measured first: MobileNetV2's keep 0.999 of themselves at each step, so that a short training would be
    evaluated with statistics the network never had (Wu and Johnson 2021, "Rethinking batch in BatchNorm", section 3).

    Raises:
        EdgeError: the loss is not finite.
        DataError: a sample cannot be read.
    """
    seed = (settings.seed, epoch)
    batch_type = Batches if hooks.teacher is None else partial(DistilledBatches, hooks.teacher)
    batches = batch_type(splits.train, settings.batch, seed=seed, augment=settings.augment)
    zeros = hooks.zeros
    started = time.monotonic()
    logs = model.fit(
        batches,
        initial_epoch=epoch - 1,
        epochs=epoch,
        callbacks=[*([zeros] if zeros else []), _Steps(epoch, len(batches), hooks.on_step)],
        shuffle=False,  # the order is the batches' own
        verbose=0,
    ).history
    if lags(model, epoch * len(batches)):
        plain = Batches(splits.train, settings.batch, seed=seed)
        full_batches = max(1, len(splits.train) // settings.batch)  # a smaller rest would count as much as a full batch
        count = min(full_batches, max(1, _CALIBRATION_SAMPLES // settings.batch))
        recalibrate(model, (plain[index][0] for index in range(count)))
    validation = model.evaluate(Batches(splits.validation, settings.batch), verbose=0, return_dict=True)
    figures = {name: float(values[-1]) for name, values in logs.items()}
    figures |= {f"val_{name}": float(value) for name, value in validation.items()}
    if not (math.isfinite(figures["loss"]) and math.isfinite(figures["val_loss"])):
        raise EdgeError(
            f"training diverged in epoch {epoch}: loss {figures['loss']}, validation loss {figures['val_loss']}",
            hint=f"lower the learning rate, now {settings.learning_rate:g} (--lr)",
        )
    return Epoch(
        epoch=epoch,
        loss=figures["loss"],
        accuracy=figures["accuracy"],
        val_loss=figures["val_loss"],
        val_accuracy=figures["val_accuracy"],
        learning_rate=float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        duration_s=round(time.monotonic() - started, 3),
        sparsity=None if zeros is None else zeros.sparsity,
    )


def random_states(model: Any) -> tuple[tuple[int, ...], ...]:  # noqa: ANN401
    """Return the states of the model's random layers, which a .keras file does not contain."""
    return tuple(tuple(int(word) for word in variable.numpy()) for variable in _random_variables(model))


def restore_random_states(model: Any, states: tuple[tuple[int, ...], ...]) -> None:  # noqa: ANN401
    """Restore what `random_states` returned."""
    for variable, state in zip(_random_variables(model), states, strict=True):
        variable.assign(state)


def without_optimizer(model: Any) -> Any:  # noqa: ANN401
    """Return the same model uncompiled: a third of the size on disk."""
    plain = type(model).from_config(model.get_config())
    plain.set_weights(model.get_weights())
    return plain


def _random_variables(model: Any) -> list[Any]:  # noqa: ANN401
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def ends_in_softmax(model: Any) -> bool:  # noqa: ANN401
    """Whether a classifier returns probabilities; False: plain scores.

    Raises:
        InputError: it returns neither.
    """
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        return ends_in_softmax(last)
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        return True
    if activation in (None, keras.activations.linear):
        return False
    raise InputError(
        f"the model ends in {type(last).__name__} with {getattr(activation, '__name__', activation)}; a classifier "
        "ends in softmax or in plain scores",
        hint="end it with Dense(classes, activation='softmax')",
    )


class _Steps(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Reports the progress of the epoch after each batch."""

    def __init__(self, epoch: int, steps: int, on_step: OnStep) -> None:
        super().__init__()
        self._epoch, self._steps, self._on_step = epoch, steps, on_step

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Report it."""
        self._on_step(self._epoch, batch + 1, self._steps)
