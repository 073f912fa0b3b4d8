"""Prunes during a Keras training: keeps zeros, and renews masks by the cubic schedule.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edge.training.pruning import block_mask
from edge.training.pruning_layers import PointwiseLayer, layer_targets, pointwise_layers
from edge.training.pruning_plan import CubicSchedule, LayerTarget, Pruning


class KeepZeros(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Keeps the zeros that 1x1 convolutions have when training begins: resets them after every step.

    Masks need no file of their own: they are saved with the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self._layers: tuple[PointwiseLayer, ...] = ()
        self._masks: list[Any] = []  # tensors; None where nothing is zero

    def on_train_begin(self, logs: object = None) -> None:
        """Find the layers and the masks of their zeros."""
        self._layers = pointwise_layers(self.model)
        self._masks = [self._mask_of(layer.kernel != 0) for layer in self._layers]

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Undo the optimizer's changes of zeros."""
        self._apply()

    @property
    def sparsity(self) -> float:
        """Share of zeros of all these layers now."""
        zeros = sum(layer.kernel.size - np.count_nonzero(layer.kernel) for layer in self._layers)
        return float(zeros / sum(layer.kernel.size for layer in self._layers))

    def _apply(self) -> None:
        for layer, mask in zip(self._layers, self._masks, strict=True):
            if mask is not None:
                kernel = layer.layer.kernel
                kernel.assign(keras.ops.where(mask, kernel, keras.ops.zeros_like(kernel)))

    @staticmethod
    def _mask_of(kept: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:  # noqa: ANN401
        return None if kept.all() else keras.ops.convert_to_tensor(kept)


class MagnitudePruning(KeepZeros):
    """Magnitude pruning by the schedule of Zhu and Gupta, for `model.fit(callbacks=[...])`.

    Masks are made from the weights' magnitudes at the schedule's steps, which the optimizer counts, so that a
    training resumes where it was interrupted. Zeros stay zero: they have the smallest magnitude at the next mask.

    Args:
        pruning: the final sparsity and how it is distributed.
        schedule: the steps.
        targets: the `targets` of a training that is resumed; None at the start.
    """

    def __init__(
        self, pruning: Pruning, schedule: CubicSchedule, *, targets: tuple[LayerTarget, ...] | None = None
    ) -> None:
        super().__init__()
        self._pruning, self._schedule, self._done = pruning, schedule, 0
        self.targets = targets

    def check(self, model: Any) -> None:  # noqa: ANN401  (a keras.Model)
        """Check that the options fit the model, before training.

        Raises:
            InputError: there is nothing to prune, or an override or a block pattern fits no layer.
        """
        layer_targets(self._pruning, pointwise_layers(model))

    def on_train_begin(self, logs: object = None) -> None:
        """Find the layers and the progress of pruning."""
        super().on_train_begin(logs)
        self._done = self._schedule.updates_until(self._step)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Make new masks if they are due, and apply them."""
        due = self._schedule.updates_until(self._step)
        if due > self._done:
            self._done = due
            self._renew(self._schedule.part_at(self._step))
        super().on_train_batch_end(batch, logs)

    @property
    def _step(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _renew(self, part: float) -> None:
        """Make the masks for this part of the final sparsity."""
        if self.targets is None or self._pruning.budget == "global":
            self.targets = layer_targets(self._pruning, self._layers)
        self._masks = [
            self._mask_of(block_mask(layer.kernel, part * target.sparsity, target.block))
            for layer, target in zip(self._layers, self.targets, strict=True)
        ]
