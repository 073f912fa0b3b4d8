"""Prunes 1x1 convolutions by magnitude, in blocks; pure NumPy on Keras kernels.

A block is 1, 2 or 4 neighbouring output channels that share one input channel's weight or lack it together: XNNPACK's
sparse kernels compute that many output channels at once ("Fast Sparse ConvNets", arXiv 1911.09723, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.models.layer_counts import LayerCall, list_calls

BLOCKS = (1, 2, 4)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """One layer's kernel after pruning."""

    name: str
    parameters: int
    zeros: int
    block: int

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / self.parameters


def block_mask(kernel: NDArray[Any], sparsity: float, block: int) -> Mask:
    """Return the mask of the weights to keep, of the kernel's shape: the blocks of the largest mean magnitude.

    Args:
        kernel: of a 1x1 convolution in Keras' layout: (1, 1, input channels, output channels). Where the output
            channels are no multiple of the block, the last block of each input channel is smaller.
        sparsity: share of weights to drop, 0 to 1; the mask is exact to one block. Of blocks with equal magnitudes
            the first ones are dropped.
        block: 1, 2 or 4 neighbouring output channels.

    Raises:
        InputError: the kernel is not 1x1, or sparsity or block is out of range.
    """
    _check(kernel.shape, sparsity, block)
    inputs, outputs = kernel.shape[2:]
    groups = -(-outputs // block)
    sizes = np.full(groups, block)
    sizes[-1] = outputs - block * (groups - 1)
    magnitudes = np.abs(kernel.reshape(inputs, outputs).astype(np.float64))
    padded = np.pad(magnitudes, ((0, 0), (0, groups * block - outputs)))
    scores = padded.reshape(inputs, groups, block).sum(axis=2) / sizes
    mask = _keep_largest(scores.reshape(-1), np.tile(sizes, inputs), drop=sparsity * kernel.size)
    return np.repeat(mask.reshape(inputs, groups), block, axis=1)[:, :outputs].reshape(kernel.shape)


def prunable_layers(model: Any) -> tuple[Any, ...]:  # noqa: ANN401  (a keras.Model; its Conv2D layers)
    """Return the 1x1 convolutions that sparse kernels can run, each once, in execution order.

    Excluded are the first convolution, depthwise ones, those with strides, groups or dilation, and those after
    global pooling, which are the classifier or a squeeze-and-excite branch.

    Raises:
        InputError: the model has no static graph of layers.
    """
    return tuple({id(call.layer): call.layer for call in _pointwise(list_calls(model))}.values())


def prune_magnitude(model: Any, sparsity: float, block: int) -> tuple[PrunedLayer, ...]:  # noqa: ANN401
    """Set the smallest blocks of every prunable layer's kernel to zero, the same share in each, without training.

    Args:
        model: a functional or sequential keras.Model; changed in place.
        sparsity: share of zeros per layer, exact to one block.
        block: neighbouring output channels pruned together: 1, 2 or 4.

    Returns:
        What was pruned, in execution order.

    Raises:
        InputError: nothing in the model can be pruned, or sparsity or block is out of range.
    """
    layers = prunable_layers(model)
    if not layers:
        raise InputError(
            f"the model {model.name!r} has no 1x1 convolution to prune",
            hint="sparse inference needs a network of 1x1 and depthwise convolutions, such as mobilenet_v2",
        )
    return tuple(_prune(layer, sparsity, block) for layer in layers)


def _prune(layer: Any, sparsity: float, block: int) -> PrunedLayer:  # noqa: ANN401
    kernel = np.asarray(layer.kernel)
    pruned = np.where(block_mask(kernel, sparsity, block), kernel, np.zeros((), kernel.dtype))
    layer.kernel.assign(pruned)
    zeros = int(kernel.size - np.count_nonzero(pruned))
    return PrunedLayer(name=layer.name, parameters=int(kernel.size), zeros=zeros, block=block)


def _keep_largest(scores: NDArray[np.float64], sizes: NDArray[np.int64], *, drop: float) -> Mask:
    """Drop the lowest scores until the weights dropped are as near to `drop` as whole blocks allow."""
    order = np.argsort(scores, kind="stable")
    dropped = np.concatenate([[0], np.cumsum(sizes[order])])
    mask = np.ones(len(scores), np.bool_)
    mask[order[: int(np.argmin(np.abs(dropped - drop)))]] = False
    return mask


def _pointwise(graph: tuple[LayerCall, ...]) -> Iterator[LayerCall]:
    pooled: set[int] = set()
    convolved = False
    for call in graph:
        after_pooling = _is_after_pooling(call, pooled)
        if after_pooling:
            pooled.update(call.outputs)
        if call.kind == "Conv2D":
            if convolved and not after_pooling and _is_pointwise(call.layer):
                yield call
            convolved = True


def _is_after_pooling(call: LayerCall, pooled: set[int]) -> bool:
    """Whether the call's output holds one value per channel because of global pooling before it."""
    if call.kind.startswith("Global"):
        return True
    single = all(size == 1 for size in call.output_shape[1:-1])
    return single and any(tensor in pooled for tensor in call.inputs)


def _is_pointwise(layer: Any) -> bool:  # noqa: ANN401
    ones = (1, 1)
    return bool(layer.kernel_size == layer.strides == layer.dilation_rate == ones and layer.groups == 1)


def _check(shape: tuple[int, ...], sparsity: float, block: int) -> None:
    if len(shape) != 4 or shape[:2] != (1, 1) or 0 in shape:
        raise InputError(
            f"the kernel is of shape {list(shape)}; blocks are for 1x1 convolutions: [1, 1, inputs, outputs]"
        )
    if not 0 <= sparsity <= 1:
        raise InputError(f"the sparsity is {sparsity!r}; it must be a share from 0 to 1", hint="0.9 is 90 % zeros")
    if block not in BLOCKS:
        raise InputError(f"the block is {block!r}; it must be one of {', '.join(map(str, BLOCKS))} output channels")
