"""The walk through a network: every 1x1 convolution pruned and corrected on what really reaches it.

Two copies of the network are run side by side on the pictures. A layer's inputs are taken from the copy that is already
pruned up to there, its target is what the dense layer gives in the dense copy: so a layer also makes up for what the
layers before it lost, as far as it can. Where its output is added to another value (a residual connection), it makes up
for what that value lost as well. Batch normalization behind the first pruned layer is brought to the dense network's
means on the way, and to its variances where it follows no corrected layer (whose scale is fitted already).

A layer that is called several times is the exception: it is done first, for the dense inputs of all of its calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.training.oneshot.layer_program import LayerProgram, Values
from edge.training.oneshot.lockstep import SpillStore
from edge.training.oneshot.moments import Array, Moments, Quadratic
from edge.training.oneshot.neighbours import Neighbours, neighbours_of
from edge.training.oneshot.normalization import ChannelSums, channel_scale, is_normalization, match
from edge.training.oneshot.prune_request import OneshotOptions
from edge.training.oneshot.surgery import refit, select
from edge.training.pruning import block_mask
from edge.training.pruning_plan import LayerTarget

PictureBatches = Callable[[], Iterable[NDArray[Any]]]
Advance = Callable[[int, str], None]


@dataclass(frozen=True)
class LayerOutcome:
    """A pruned layer; errors of its output are relative to what is wanted, root mean square, on the pictures.

    `error_before` is with the smallest weights removed and nothing corrected, `error_after` is what it came to.
    """

    name: str
    error_before: float
    error_after: float


def prune_layers(
    dense: LayerProgram,
    pruned: LayerProgram,
    targets: Sequence[LayerTarget],
    pictures: PictureBatches,
    *,
    manner: OneshotOptions,
    advance: Advance = lambda steps, note: None,
) -> tuple[LayerOutcome, ...]:
    """Prune layers in the order of execution.

    Args:
        dense: the program of `pruned` with layers of its own (`program.detached`).
        pruned: its layers are changed in place.
        targets: sparsity and block of each layer that is to be pruned; layers of sparsity 0 stay as they are.
        pictures: gives the pictures anew at each call, float32 (batch, height, width, channels).
        manner: how.
        advance: told after each layer, (layers, what comes next).

    Returns:
        What became of each, in the order in which they were done.

    Raises:
        EdgeError: values inside the network are not finite.
        OutputError: there is no room for what waits between two layers.
    """
    wanted = {target.name: target for target in targets if target.sparsity > 0}
    with SpillStore() as shelf:
        return tuple(_Walk(_Lockstep(dense, pruned, pictures, shelf), wanted, manner, advance).run())


class _Lockstep:
    """Both networks on all pictures, brought forward together; what later steps need waits on the shelf."""

    def __init__(self, dense: LayerProgram, pruned: LayerProgram, pictures: PictureBatches, shelf: SpillStore) -> None:
        self.dense, self.pruned, self.pictures = dense, pruned, pictures
        self._shelf, self._count, self._at = shelf, 0, 0

    def begin(self) -> None:
        """Take the pictures in."""
        for index, x in enumerate(self.pictures()):
            for name, program in self._both():
                self._shelf.put(f"{name}-{index}", {program.inputs[0]: x})
            self._count = index + 1

    def go_to(self, number: int, see: Callable[[Values, Values], None]) -> None:
        """Run both networks up to a step, and show the values there, batch by batch: dense and pruned."""
        for index in range(self._count):
            values = []
            for name, program in self._both():
                values.append(program.run(self._shelf.take(f"{name}-{index}"), self._at, number))
                self._shelf.put(f"{name}-{index}", values[-1])
            see(values[0], values[1])
        self._at = number

    def _both(self) -> tuple[tuple[str, LayerProgram], ...]:
        return ("dense", self.dense), ("pruned", self.pruned)


class _Walk:
    """One pass through the network."""

    def __init__(
        self, networks: _Lockstep, wanted: dict[str, LayerTarget], manner: OneshotOptions, advance: Advance
    ) -> None:
        self._networks, self._program = networks, networks.pruned
        self._wanted, self._manner, self._advance = wanted, manner, advance
        self._fitted: set[int] = set()  # values that corrected layers make: their scale is right

    def run(self) -> list[LayerOutcome]:
        """Do the layers that are called several times, then all others in order."""
        steps = self._program.steps
        calls = {id(step.layer): self._program.calls_of(step.layer) for step in steps
                 if step.layer.name in self._wanted and hasattr(step.layer, "kernel")}  # fmt: skip
        outcomes = [self._called_often(places) for places in calls.values() if len(places) > 1]
        once = {places[0] for places in calls.values() if len(places) == 1}
        first = min((place for places in calls.values() for place in places), default=len(steps))
        self._networks.begin()
        for number, step in enumerate(steps):
            if number in once:
                outcomes.append(self._layer(number))
            elif self._manner.restore and number > first and is_normalization(self._program, step):
                self._normalization(number)
        return outcomes

    def _layer(self, number: int) -> LayerOutcome:
        step = self._program.steps[number]
        self._advance(0, step.layer.name)
        around = neighbours_of(self._program, step)
        moments, value = Moments(_matrix(step.layer)), step.reads[0]

        def see(dense: Values, pruned: Values) -> None:
            moments.add(pruned[value], dense[value], self._lost_beside(around, dense, pruned))

        self._networks.go_to(number, see)
        if self._manner.method == "obc":
            self._fitted.add(step.makes[0])
        return self._operate(step.layer, moments, around.normalization)

    def _lost_beside(self, around: Neighbours, dense: Values, pruned: Values) -> NDArray[Any] | None:
        """Return what the value that the layer's output is added to has lost, in the layer's own scale."""
        if self._manner.method != "obc" or around.beside not in dense or around.beside not in pruned:
            return None
        lost = dense[around.beside] - pruned[around.beside]
        if around.normalization is None:
            return lost
        scale = channel_scale(around.normalization, lost.shape[-1])
        return np.asarray(np.divide(lost, scale, out=np.zeros(lost.shape), where=scale != 0))

    def _called_often(self, places: Sequence[int]) -> LayerOutcome:
        layer, program = self._program.steps[places[0]].layer, self._networks.dense
        self._advance(0, layer.name)
        moments = Moments(_matrix(layer))
        for x in self._networks.pictures():
            values, at = {program.inputs[0]: x}, 0
            for number in places:
                values, at = program.run(values, at, number), number
                inputs = values[program.steps[number].reads[0]]
                moments.add(inputs, inputs)
        return self._operate(layer, moments, None)

    def _operate(self, layer: Any, moments: Moments, normalization: Any | None) -> LayerOutcome:  # noqa: ANN401
        """Prune one layer with what is known of its inputs."""
        if not moments.finite:
            raise EdgeError(
                f"what reaches the layer {layer.name!r} is not finite on these pictures",
                hint="look for an overflow in the layers before it",
            )
        target, weights = self._wanted[layer.name], _matrix(layer)
        restored = self._manner.restore and (layer.use_bias or normalization is not None)
        quadratic = moments.quadratic(centred=bool(restored), damping=self._manner.damping)
        importance = np.square(channel_scale(normalization, weights.shape[1]))
        before = _smallest_removed(weights, importance, target)
        after = before if self._manner.method == "magnitude" else _corrected(quadratic, importance, target)
        layer.kernel.assign(after.astype(weights.dtype).reshape(layer.kernel.shape))
        if restored and normalization is None:
            layer.bias.assign(np.asarray(layer.bias) + moments.mean_error(after))
        self._advance(1, "")
        errors = (quadratic.relative_error(each, importance) for each in (before, after))
        return LayerOutcome(layer.name, *errors)

    def _normalization(self, number: int) -> None:
        step = self._program.steps[number]
        axis, value = step.layer.axis, step.reads[0]
        dense, pruned = ChannelSums(axis), ChannelSums(axis)

        def see(of_dense: Values, of_pruned: Values) -> None:
            dense.add(of_dense[value])
            pruned.add(of_pruned[value])

        self._networks.go_to(number, see)
        match(step.layer, dense, pruned, variances=value not in self._fitted)


def _matrix(layer: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return the kernel of a 1x1 convolution as (inputs, outputs)."""
    kernel = np.asarray(layer.kernel)
    return kernel.reshape(kernel.shape[2:])


def _smallest_removed(weights: NDArray[Any], importance: Array, target: LayerTarget) -> Array:
    scaled = weights * np.sqrt(importance)
    mask = block_mask(scaled[None, None], target.sparsity, target.block)[0, 0]
    return np.where(mask, weights, 0.0).astype(np.float64)


def _corrected(quadratic: Quadratic, importance: Array, target: LayerTarget) -> Array:
    kept = select(quadratic, importance, sparsity=target.sparsity, block=target.block)
    return refit(quadratic, kept, target.block)
