"""Finds the layers of a model to prune, and the sparsity and block of each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.models.layer_counts import list_calls
from edge.training.instruction_budget import LayerCandidate, global_sparsities, solve
from edge.training.pruning import BLOCKS, prunable_layers
from edge.training.pruning_plan import BlockRule, LayerTarget, Override, Pruning, parse_block, parse_overrides

# Names of keras.applications: the number of the block in the network, and what the first is called.
_PLACES = ((re.compile(r"block_(\d+)_"), 0), (re.compile(r"conv_pw_(\d+)$"), 1))
_FIRST_BLOCK = "expanded_conv_"


@dataclass(frozen=True)
class PointwiseLayer:
    """A 1x1 convolution; `macs` of one inference and `place` (the network's block, from 0) are None if unknown."""

    layer: Any
    macs: int | None
    place: int | None

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)

    @property
    def kernel(self) -> NDArray[Any]:
        """The weights now: (1, 1, inputs, outputs)."""
        return np.asarray(self.layer.kernel)


def pointwise_layers(model: Any) -> tuple[PointwiseLayer, ...]:  # noqa: ANN401  (a keras.Model)
    """Return the 1x1 convolutions that sparse kernels can run, in execution order.

    Raises:
        InputError: there is none, or the model has no static graph of layers.
    """
    layers = prunable_layers(model)
    if not layers:
        raise InputError(
            f"the model {model.name!r} has no 1x1 convolution to prune",
            hint="sparse inference needs a network of 1x1 and depthwise convolutions, such as mobilenet_v2",
        )
    shapes: dict[int, list[tuple[int | None, ...]]] = {}
    for call in list_calls(model):
        shapes.setdefault(id(call.layer), []).append(call.output_shape[1:-1])
    return tuple(PointwiseLayer(layer, _macs(layer, shapes[id(layer)]), _place(layer.name)) for layer in layers)


def layer_targets(pruning: Pruning, layers: tuple[PointwiseLayer, ...]) -> tuple[LayerTarget, ...]:
    """Return sparsity and block of every layer, from its present weights where the budget depends on them.

    Raises:
        InputError: an override or a range of blocks fits no layer, or the budget cannot be met.
    """
    _require_fitting(pruning, layers)
    fixed = [_find_fixed_target(pruning, layer) for layer in layers]
    if pruning.budget == "instructions":
        return solve(
            [_candidate(layer, *target) for layer, target in zip(layers, fixed, strict=True)], pruning.sparsity
        )
    blocks = _blocks(pruning, layers)
    shares = [share for share, _ in fixed]
    targets = [
        LayerTarget(layer.name, pruning.sparsity if share is None else share, block or default)
        for layer, (share, block), default in zip(layers, fixed, blocks, strict=True)
    ]
    return _global(pruning, layers, targets, shares) if pruning.budget == "global" else tuple(targets)


def _global(
    pruning: Pruning, layers: tuple[PointwiseLayer, ...], targets: list[LayerTarget], shares: list[float | None]
) -> tuple[LayerTarget, ...]:
    """Distribute the rest of the zeros by magnitude over the layers without a fixed share."""
    sizes = np.array([layer.kernel.size for layer in layers])
    free = [index for index, share in enumerate(shares) if share is None]
    zeros = pruning.sparsity * sizes.sum() - sum(
        share * size for share, size in zip(shares, sizes, strict=True) if share is not None
    )
    part = float(zeros / max(sizes[free].sum(), 1))
    if not 0 <= part < 1:
        raise InputError(
            f"{pruning.sparsity:.1%} zeros cannot be reached: fixed layers leave {part:.1%} to the others",
            hint="fix fewer layers, or with other sparsities",
        )
    shares_of_free = global_sparsities([layers[i].kernel for i in free], [targets[i].block for i in free], part)
    by_index = dict(zip(free, shares_of_free, strict=True))
    return tuple(
        LayerTarget(layer.name, by_index.get(index, layer.sparsity), layer.block) for index, layer in enumerate(targets)
    )


def _candidate(layer: PointwiseLayer, share: float | None, block: int | None) -> LayerCandidate:
    if layer.macs is None:
        raise InputError(
            f"the cost of the layer {layer.name!r} is not known: its height or width is not fixed",
            hint="build the model with a fixed input size, or take the budget uniform or global",
        )
    return LayerCandidate(layer.name, layer.kernel, layer.macs, BLOCKS if block is None else (block,), share)


def _find_fixed_target(pruning: Pruning, layer: PointwiseLayer) -> tuple[float | None, int | None]:
    """Return the sparsity and the block that the options fix for a layer, a block for all layers included."""
    rule = parse_block(pruning.block)
    share, block = None, rule.size if rule and rule.first is None else None
    for override in _fitting(pruning, layer.name):
        share = share if override.sparsity is None else override.sparsity
        block = block if override.block is None else override.block
    return share, block


def _fitting(pruning: Pruning, name: str) -> list[Override]:
    return [override for override in parse_overrides(pruning.overrides) if override.fits(name)]


def _blocks(pruning: Pruning, layers: tuple[PointwiseLayer, ...]) -> list[int]:
    """Return the block of each layer by the rule for all of them."""
    rule = parse_block(pruning.block) or BlockRule(1)
    if rule.first is None or rule.last is None:
        return [rule.size] * len(layers)
    last = max(layer.place for layer in layers if layer.place is not None)
    # What follows the last block of the network belongs to it ("from block 11 to the end").
    places = [last if layer.place is None and index else layer.place for index, layer in enumerate(layers)]
    return [rule.size if place is not None and rule.first <= place <= rule.last else 1 for place in places]


def _require_fitting(pruning: Pruning, layers: tuple[PointwiseLayer, ...]) -> None:
    names = [layer.name for layer in layers]
    for override in parse_overrides(pruning.overrides):
        if not any(override.fits(name) for name in names):
            raise InputError(
                f"no 1x1 convolution to prune is called {override.names!r}",
                hint=f"there are {', '.join(names[:4])}{' ...' if len(names) > 4 else ''} ({len(names)})",
            )
    rule, places = parse_block(pruning.block), {layer.place for layer in layers if layer.place is not None}
    if rule is not None and rule.first is not None and not places & set(range(rule.first, (rule.last or 0) + 1)):
        available = f"blocks {min(places)} to {max(places)}" if places else "no numbered blocks"
        raise InputError(
            f"the block pattern {pruning.block} fits nothing: the network has {available}",
            hint="block sizes of single layers are given by name: LAYERS=b2",
        )


def _macs(layer: Any, shapes: list[tuple[int | None, ...]]) -> int | None:  # noqa: ANN401
    fixed = [[side for side in shape if side is not None] for shape in shapes]
    if any(len(sides) < len(shape) for sides, shape in zip(fixed, shapes, strict=True)):
        return None
    return sum(map(math.prod, fixed)) * int(math.prod(layer.kernel.shape))


def _place(name: str) -> int | None:
    for pattern, first in _PLACES:
        if match := pattern.search(name):
            return int(match[1]) - first
    return 0 if name.startswith(_FIRST_BLOCK) else None
