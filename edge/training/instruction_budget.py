"""Distributes the sparsity over the layers: by the magnitude of all weights, or by predicted instructions.

The cost model is linear, its constants from instruction counts of MobileNetV2 1.0 at 224 pixels on a Cortex-A72
(LiteRT 2.1.6, fp32, kernels confirmed by name): 113.7 million per inference dense; at 80 and 90 % zeros 67.0 and 46.7
unstructured, 52.2 and 39.0 in blocks of 2, 57.6 and 41.9 in blocks of 4. Extrapolated to 100 % zeros, the three
lines meet at 26 million: everything that is not a 1x1 convolution. Caches and small feature maps are not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.training.pruning_plan import LayerTarget

_MEASURED_MACS = 267_939_840  # multiply-adds of the 34 1x1 convolutions
_MEASURED_MILLIONS = {1: (67.0, 46.7), 2: (52.2, 39.0), 4: (57.6, 41.9)}  # at 80 and at 90 % zeros
_MEASURED_DENSE_MILLIONS = 113.7
_REST_MILLIONS = sum(at_90 - (at_80 - at_90) for at_80, at_90 in _MEASURED_MILLIONS.values()) / len(_MEASURED_MILLIONS)

# Instructions per multiply-add: of the nonzero weights, by block; and of all weights in a dense kernel.
SPARSE_COST = {
    block: (at_80 - at_90) * 1e6 / (0.1 * _MEASURED_MACS) for block, (at_80, at_90) in _MEASURED_MILLIONS.items()
}
DENSE_COST = (_MEASURED_DENSE_MILLIONS - _REST_MILLIONS) * 1e6 / _MEASURED_MACS

# XNNPACK runs sparse kernels where more than 2/3 of the 1x1 weights are zero; every layer gets a little more.
SMALLEST_SPARSITY = 0.70
_LARGEST_SPARSITY = 0.95
_LARGEST_GLOBAL = 0.98
_GRID = 0.01
_HALVINGS = 60

Array = NDArray[Any]


@dataclass(frozen=True)
class LayerCandidate:
    """A layer to solve for: kernel (1, 1, inputs, outputs), multiply-adds of one inference, allowed block sizes.

    A `sparsity` that is not None is fixed.
    """

    name: str
    kernel: Array
    macs: int
    blocks: tuple[int, ...]
    sparsity: float | None = None


@dataclass(frozen=True)
class _Choices:
    """The (block, sparsity) pairs of one layer; `damage` is -log(share of squared weights kept)."""

    blocks: Array
    sparsities: Array
    damage: Array
    cost: Array


def predict_instructions(macs: int, sparsity: float, block: int) -> float:
    """Return the predicted instructions of one 1x1 convolution in a sparse kernel."""
    return SPARSE_COST[block] * macs * (1 - sparsity)


def solve(candidates: Sequence[LayerCandidate], saved: float) -> tuple[LayerTarget, ...]:
    """Choose block and sparsity of each layer so that the share `saved` of all multiply-adds is saved.

    Minimized is the sum over layers of -log(share of squared weights kept) plus a price times the predicted
    instructions. For white inputs that share is the part of a layer's output energy that survives, and layers in series
    multiply theirs. The price is found by bisection; one factor on all densities then meets the target. Each layer
    keeps between 5 and 30 % of its weights (bounds widen where the target lies beyond), so that every layer stays above
    the sparsity that sparse kernels require.

    Args:
        candidates: the layers, with their present weights.
        saved: share of the multiply-adds of these layers, above 0 and below 1.

    Raises:
        InputError: fixed layers leave too little, or too much, to the others.
    """
    low, high = min(SMALLEST_SPARSITY, saved), max(_LARGEST_SPARSITY, (1 + saved) / 2)
    macs = np.array([candidate.macs for candidate in candidates], float)
    choices = [_choices(candidate, low, high, float(macs.sum())) for candidate in candidates]
    blocks, sparsities = _solve_price(choices, macs, saved)
    free = np.array([candidate.sparsity is None for candidate in candidates])
    exact = _scale_densities(sparsities, macs, saved, np.where(free, low, sparsities), np.where(free, high, sparsities))
    return tuple(
        LayerTarget(candidate.name, float(sparsity), int(block))
        for candidate, sparsity, block in zip(candidates, exact, blocks, strict=True)
    )


def damage_curve(kernel: Array, block: int) -> tuple[Array, Array]:
    """Return, for blocks dropped in the order of their mean magnitude, the shares of weights and of squared weights.

    Both begin with 0 and end with 1.
    """
    cells, scores, sizes = _score_blocks(kernel, block)
    order = np.argsort(scores, kind="stable")
    energy = np.cumsum(np.square(cells).sum(axis=1)[order])
    weights = np.cumsum(sizes[order]) / kernel.size
    return np.append(0.0, weights), np.append(0.0, energy / max(energy[-1], np.finfo(np.float64).tiny))


def global_sparsities(kernels: Sequence[Array], blocks: Sequence[int], sparsity: float) -> tuple[float, ...]:
    """Return each layer's share of zeros if the blocks of smallest mean magnitude of all layers are removed.

    No layer loses more than 98 %, so that none is disconnected.
    """
    block_scores = [_score_with_protection(kernel, block) for kernel, block in zip(kernels, blocks, strict=True)]
    owners = np.repeat(np.arange(len(block_scores)), [len(sizes) for _, sizes in block_scores])
    scores, sizes = (np.concatenate(parts) for parts in zip(*block_scores, strict=True))
    order = np.argsort(scores, kind="stable")
    wanted = sparsity * sum(kernel.size for kernel in kernels)
    dropped = order[: int(np.searchsorted(np.cumsum(sizes[order]), wanted, side="right"))]
    zeros = np.bincount(owners[dropped], weights=sizes[dropped], minlength=len(kernels))
    return tuple(float(count) / kernel.size for count, kernel in zip(zeros, kernels, strict=True))


def _score_blocks(kernel: Array, block: int) -> tuple[Array, Array, Array]:
    """Return the values of each block (a short one filled with 0), its mean magnitude and its size."""
    outputs = kernel.shape[-1]
    groups = -(-outputs // block)
    values = np.pad(kernel.reshape(-1, outputs).astype(np.float64), ((0, 0), (0, groups * block - outputs)))
    sizes = np.full(groups, block)
    sizes[-1] = outputs - block * (groups - 1)
    cells, sizes = values.reshape(-1, block), np.tile(sizes, len(values))
    return cells, np.abs(cells).sum(axis=1) / sizes, sizes


def _score_with_protection(kernel: Array, block: int) -> tuple[Array, Array]:
    """Return score and size of each block; the largest 2 % score infinitely."""
    _, scores, sizes = _score_blocks(kernel, block)
    count = max(1, int(np.ceil(scores.size * (1 - _LARGEST_GLOBAL))))
    scores[np.argsort(scores, kind="stable")[-count:]] = np.inf
    return scores, sizes


def _choices(candidate: LayerCandidate, low: float, high: float, total_macs: float) -> _Choices:
    shares = np.arange(low, high + _GRID / 2, _GRID) if candidate.sparsity is None else np.array([candidate.sparsity])
    curves = [damage_curve(candidate.kernel, block) for block in candidate.blocks]
    cost = [
        np.array([predict_instructions(candidate.macs, share, block) for share in shares]) for block in candidate.blocks
    ]
    return _Choices(
        blocks=np.repeat(candidate.blocks, len(shares)),
        sparsities=np.tile(shares, len(candidate.blocks)),
        damage=np.concatenate([-np.log1p(-_at(shares, *curve)) for curve in curves]),
        cost=np.concatenate(cost) / total_macs,
    )


def _at(shares: Array, weights: Array, energy: Array) -> Array:
    return np.minimum(np.interp(shares, weights, energy), 1 - np.finfo(np.float64).eps)


def _solve_price(choices: list[_Choices], macs: Array, saved: float) -> tuple[Array, Array]:
    """Bisect the price of an instruction until the cheapest choices save the wanted share."""
    low, high = -20.0, 20.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        _, sparsities = _cheapest(choices, np.exp(middle))
        low, high = (low, middle) if float(sparsities @ macs) >= saved * macs.sum() else (middle, high)
    return _cheapest(choices, np.exp(high))


def _cheapest(choices: list[_Choices], price: float) -> tuple[Array, Array]:
    best = [int(np.argmin(layer.damage + price * layer.cost)) for layer in choices]
    pairs = list(zip(choices, best, strict=True))
    return np.array([layer.blocks[i] for layer, i in pairs]), np.array([layer.sparsities[i] for layer, i in pairs])


def _scale_densities(sparsities: Array, macs: Array, saved: float, low: Array, high: Array) -> Array:
    """Multiply all densities by one factor, within the bounds, so that the saved share is met."""
    least, most = float(low @ macs / macs.sum()), float(high @ macs / macs.sum())
    if not least - 1e-9 <= saved <= most + 1e-9:
        raise InputError(
            f"{saved:.1%} of the multiply-adds cannot be saved: the layers allow {least:.1%} to {most:.1%}",
            hint="fix fewer layers, or with other sparsities",
        )
    smallest, largest = 0.0, float(1 / (1 - sparsities.max()))
    for _ in range(_HALVINGS):
        factor = (smallest + largest) / 2
        reached = float(np.clip(1 - factor * (1 - sparsities), low, high) @ macs)
        smallest, largest = (factor, largest) if reached > saved * macs.sum() else (smallest, factor)
    return np.asarray(np.clip(1 - largest * (1 - sparsities), low, high))
