"""Prunes the 1x1 convolutions of a network one after the other and corrects each on its actual inputs.

Two copies of the network run side by side on the images. A layer's inputs come from the copy that is pruned up to this
layer, its target is the output of the dense copy: so a layer also compensates for errors of the layers before it. Where
its output is added to another value (a residual connection), it compensates for the error of that value as well. Batch
normalization after the first pruned layer is set to the dense network's means, and to its variances where it follows no
corrected layer (whose scale is fitted already).

A layer that is called several times is pruned first, for the dense inputs of all of its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.training.oneshot.layer_program import LayerProgram, Values
from edge.training.oneshot.lockstep import ImageBatches, Lockstep, SpillStore
from edge.training.oneshot.moments import Array, Moments, Quadratic
from edge.training.oneshot.normalization import (
    ChannelSums,
    Neighbours,
    channel_scale,
    find_neighbours,
    is_normalization,
    match,
)
from edge.training.oneshot.prune_request import OneshotOptions
from edge.training.oneshot.surgery import refit, select
from edge.training.pruning import block_mask
from edge.training.pruning_plan import LayerTarget

Advance = Callable[[int, str], None]


@dataclass(frozen=True)
class LayerOutcome:
    """A pruned layer; errors of its output are relative to the target, root mean square, on the images.

    `error_before` is with the smallest weights removed and nothing corrected, `error_after` is the final one.
    """

    name: str
    error_before: float
    error_after: float


def prune_layers(
    dense: LayerProgram,
    pruned: LayerProgram,
    targets: Sequence[LayerTarget],
    images: ImageBatches,
    *,
    options: OneshotOptions,
    advance: Advance = lambda steps, note: None,
) -> tuple[LayerOutcome, ...]:
    """Prune layers in the order of execution.

    Args:
        dense: the program of `pruned` with layers of its own (`program.detached`).
        pruned: its layers are changed in place.
        targets: sparsity and block of each layer that is to be pruned; layers of sparsity 0 stay as they are.
        images: returns the images from the start at each call, float32 (batch, height, width, channels).
        options: the method.
        advance: called after each layer with (layers, name of the next).

    Returns:
        The errors of each, in the order in which they were pruned.

    Raises:
        EdgeError: values inside the network are not finite.
        OutputError: there is no room for the values between two layers.
    """
    wanted = {target.name: target for target in targets if target.sparsity > 0}
    with SpillStore() as store:
        return tuple(_LayerPruner(Lockstep(dense, pruned, images, store), wanted, options, advance).run())


class _LayerPruner:
    """Prunes a network in one pass."""

    def __init__(
        self, networks: Lockstep, wanted: dict[str, LayerTarget], options: OneshotOptions, advance: Advance
    ) -> None:
        self._networks, self._program = networks, networks.pruned
        self._wanted, self._options, self._advance = wanted, options, advance
        self._fitted: set[int] = set()  # outputs of corrected layers: their scale is right

    def run(self) -> list[LayerOutcome]:
        """Prune the layers that are called several times, then all others in order."""
        steps = self._program.steps
        calls = {id(step.layer): self._program.calls_of(step.layer) for step in steps
                 if step.layer.name in self._wanted and hasattr(step.layer, "kernel")}  # fmt: skip
        outcomes = [self._prune_shared(places) for places in calls.values() if len(places) > 1]
        once = {places[0] for places in calls.values() if len(places) == 1}
        first = min((place for places in calls.values() for place in places), default=len(steps))
        self._networks.begin()
        for number, step in enumerate(steps):
            if number in once:
                outcomes.append(self._prune_layer(number))
            elif self._options.restore and number > first and is_normalization(self._program, step):
                self._match_normalization(number)
        return outcomes

    def _prune_layer(self, number: int) -> LayerOutcome:
        step = self._program.steps[number]
        self._advance(0, step.layer.name)
        around = find_neighbours(self._program, step)
        moments, value = Moments(_matrix(step.layer)), step.reads[0]

        def visit(dense: Values, pruned: Values) -> None:
            moments.add(pruned[value], dense[value], self._lost_in_addition(around, dense, pruned))

        self._networks.go_to(number, visit)
        if self._options.method == "obc":
            self._fitted.add(step.makes[0])
        return self._prune(step.layer, moments, around.normalization)

    def _lost_in_addition(self, around: Neighbours, dense: Values, pruned: Values) -> NDArray[Any] | None:
        """Return the error of the value that the layer's output is added to, in the layer's own scale."""
        if self._options.method != "obc" or around.added not in dense or around.added not in pruned:
            return None
        lost = dense[around.added] - pruned[around.added]
        if around.normalization is None:
            return lost
        scale = channel_scale(around.normalization, lost.shape[-1])
        return np.asarray(np.divide(lost, scale, out=np.zeros(lost.shape), where=scale != 0))

    def _prune_shared(self, places: Sequence[int]) -> LayerOutcome:
        layer, program = self._program.steps[places[0]].layer, self._networks.dense
        self._advance(0, layer.name)
        moments = Moments(_matrix(layer))
        for x in self._networks.images():
            values, at = {program.inputs[0]: x}, 0
            for number in places:
                values, at = program.run(values, at, number), number
                inputs = values[program.steps[number].reads[0]]
                moments.add(inputs, inputs)
        return self._prune(layer, moments, None)

    def _prune(self, layer: Any, moments: Moments, normalization: Any | None) -> LayerOutcome:  # noqa: ANN401
        """Prune one layer by the moments of its inputs."""
        if not moments.finite:
            raise EdgeError(
                f"the inputs of the layer {layer.name!r} are not finite on these images",
                hint="look for an overflow in the layers before it",
            )
        target, weights = self._wanted[layer.name], _matrix(layer)
        restored = self._options.restore and (layer.use_bias or normalization is not None)
        quadratic = moments.quadratic(centred=bool(restored), damping=self._options.damping)
        importance = np.square(channel_scale(normalization, weights.shape[1]))
        before = _remove_smallest(weights, importance, target)
        after = before if self._options.method == "magnitude" else _prune_and_correct(quadratic, importance, target)
        layer.kernel.assign(after.astype(weights.dtype).reshape(layer.kernel.shape))
        if restored and normalization is None:
            layer.bias.assign(np.asarray(layer.bias) + moments.mean_error(after))
        self._advance(1, "")
        errors = (quadratic.relative_error(kernel, importance) for kernel in (before, after))
        return LayerOutcome(layer.name, *errors)

    def _match_normalization(self, number: int) -> None:
        step = self._program.steps[number]
        axis, value = step.layer.axis, step.reads[0]
        dense, pruned = ChannelSums(axis), ChannelSums(axis)

        def visit(of_dense: Values, of_pruned: Values) -> None:
            dense.add(of_dense[value])
            pruned.add(of_pruned[value])

        self._networks.go_to(number, visit)
        match(step.layer, dense, pruned, variances=value not in self._fitted)


def _matrix(layer: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return the kernel of a 1x1 convolution as (inputs, outputs)."""
    kernel = np.asarray(layer.kernel)
    return kernel.reshape(kernel.shape[2:])


def _remove_smallest(weights: NDArray[Any], importance: Array, target: LayerTarget) -> Array:
    scaled = weights * np.sqrt(importance)
    mask = block_mask(scaled[None, None], target.sparsity, target.block)[0, 0]
    return np.where(mask, weights, 0.0).astype(np.float64)


def _prune_and_correct(quadratic: Quadratic, importance: Array, target: LayerTarget) -> Array:
    mask = select(quadratic, importance, sparsity=target.sparsity, block=target.block)
    return refit(quadratic, mask, target.block)
