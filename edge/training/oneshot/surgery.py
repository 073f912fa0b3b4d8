"""Removes weights of a 1x1 convolution and corrects the others: Optimal Brain Surgeon in blocks; pure NumPy.

Removing input i from a block of neighbouring outputs g costs sum over g of w_ig^2 / [H^-1]_ii if all other weights of
these outputs are corrected for it at once (Hassibi and Stork 1993; for layers of networks: Optimal Brain Compression,
arXiv 2208.11580). Outputs share H, so that each block of outputs has a path of its own, from all inputs to none, with
the cost of each step; the cheapest steps are taken until the layer has the wanted sparsity. The inverse is updated in
groups of removals, as matrix products (as SparseGPT, arXiv 2301.00774, does it with columns in a fixed order; here the
order is free).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.optional_packages import import_optional
from edge.training.oneshot.moments import Array, Quadratic

CANDIDATES = 64
_TINY = float(np.finfo(np.float64).tiny)
Mask = NDArray[np.bool_]


def select(
    quadratic: Quadratic, importance: Array, *, sparsity: float, block: int, candidates: int = CANDIDATES
) -> Mask:
    """Return the mask of the weights to keep, (inputs, outputs), exact to one block.

    Args:
        quadratic: the layer's error.
        importance: of the squared error of each output.
        sparsity: share of weights to drop, 0 to 1.
        block: neighbouring outputs that lose or keep an input together; a last block may be smaller. Each keeps at
            least half as many inputs as the average, so that no output is disconnected.
        candidates: removals are chosen among this many blocks of least cost before all costs are recomputed;
            as many as the layer has inputs, or more, makes the path exact.
    """
    with _one_thread():
        return _select(quadratic, importance, sparsity, block, candidates)


def _select(quadratic: Quadratic, importance: Array, sparsity: float, block: int, candidates: int) -> Mask:
    inputs, outputs = quadratic.dense.shape
    inverse = _inverse(quadratic.hessian)
    start: Array = np.asarray(np.linalg.solve(quadratic.hessian, quadratic.target), np.float64)
    places = _places(outputs, block)
    longest = math.ceil(inputs * (1 + sparsity) / 2)
    paths = [_path(inverse, start[:, place], importance[place], candidates, longest) for place in places]
    costs = np.concatenate([np.maximum.accumulate(costs) for _, costs in paths])
    sizes = np.repeat([place.stop - place.start for place in places], longest)
    cheapest = np.argsort(costs, kind="stable")  # within a path, equal costs stay in its order
    dropped = np.concatenate([[0], np.cumsum(sizes[cheapest])])
    count = int(np.argmin(np.abs(dropped - sparsity * inputs * outputs)))
    lengths = np.bincount(cheapest[:count] // longest, minlength=len(places))
    mask = np.ones((inputs, outputs), np.bool_)
    for (order, _), length, place in zip(paths, lengths, places, strict=True):
        mask[order[:length], place] = False
    return mask


def refit(quadratic: Quadratic, mask: Mask, block: int) -> Array:
    """Return the weights of least error among those that are zero where `mask`, of whole blocks, is false."""
    weights = np.zeros_like(quadratic.dense)
    with _one_thread():
        for place in _places(mask.shape[1], block):
            rows = np.flatnonzero(mask[:, place.start])
            hessian = quadratic.hessian[np.ix_(rows, rows)]
            weights[rows, place] = np.linalg.solve(hessian, quadratic.target[rows, place])
    return weights


def _one_thread() -> AbstractContextManager[Any]:
    """Keep linear algebra in one thread: with many small products, threads mostly wait for each other."""
    limits: AbstractContextManager[Any] = import_optional(
        "threadpoolctl", "threadpoolctl", "pruning"
    ).threadpool_limits(1, "blas")
    return limits


def _places(outputs: int, block: int) -> list[slice]:
    return [slice(first, min(first + block, outputs)) for first in range(0, outputs, block)]


def _path(
    inverse: Array, weights: Array, importance: Array, candidates: int, longest: int
) -> tuple[NDArray[np.intp], Array]:
    """Remove `longest` inputs of one block of outputs, the cheapest first; return their order and costs.

    The inverse of the rest is never formed: it is the first one less lows @ lows.T, of which the diagonal is mask.
    """
    left, orders, costs = np.arange(len(weights)), [], []
    diagonal, lows = inverse.diagonal().copy(), np.empty((len(weights), 0))
    while len(weights) > len(inverse) - longest:
        near = np.argsort(np.square(weights) @ importance / diagonal, kind="stable")[:candidates]
        among = inverse[np.ix_(left[near], left[near])] - lows[near] @ lows[near].T
        take = len(near) if len(left) <= candidates else max(1, candidates // 2)
        order, cost = _greedy(among, weights[near], importance, take)
        gone = near[order]
        orders.append(left[gone])
        costs.append(cost)
        rest = np.delete(np.arange(len(left)), gone)
        across = inverse[np.ix_(left[gone], left[rest])] - lows[gone] @ lows[rest].T
        factor = np.linalg.cholesky(among[np.ix_(order, order)])
        solved = np.linalg.solve(factor, np.hstack([across, weights[gone]]))
        low = solved[:, : len(rest)].T
        weights = weights[rest] - low @ solved[:, len(rest) :]
        diagonal, lows, left = diagonal[rest] - np.square(low).sum(axis=1), np.hstack([lows[rest], low]), left[rest]
    return np.concatenate(orders)[:longest], np.concatenate(costs)[:longest]


def _greedy(inverse: Array, weights: Array, importance: Array, take: int) -> tuple[NDArray[np.intp], Array]:
    """Remove one at a time, with the exact update of all others after each: places, in order, and their costs."""
    inverse, weights = inverse.copy(), weights.copy()
    diagonal, there = inverse.diagonal(), np.zeros(len(weights))  # infinite where gone
    order, costs = np.empty(take, np.intp), np.empty(take)
    for step in range(take):
        saliency = np.square(weights) @ importance / np.maximum(diagonal, _TINY) + there
        place = int(saliency.argmin())
        order[step], costs[step] = place, saliency[place]
        there[place] = np.inf
        row = inverse[place] / inverse[place, place]
        weights -= row[:, None] * weights[place]
        inverse -= inverse[place][:, None] * row
    return order, costs


def _inverse(hessian: Array) -> Array:
    """Invert a positive definite matrix by its Cholesky factor: the result is symmetric and positive definite."""
    factor = np.linalg.solve(np.linalg.cholesky(hessian), np.eye(len(hessian)))
    return np.asarray(factor.T @ factor)
