"""Recalibrates a pruned model and reports what was pruned, layer by layer.

Imports Keras when it recalibrates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from edge.data.splits import DatasetSplits
from edge.training.instruction_budget import DENSE_COST, predict_instructions
from edge.training.pruning_layers import PointwiseLayer, pointwise_layers
from edge.training.pruning_plan import CubicSchedule, LayerTarget, Pruning

_RECALIBRATION_SAMPLES = 2048
_LEAST_SHARE = 2 / 3
KerasModel = Any  # keras.Model, which is imported on use


class _PrunedLayer(TypedDict):
    name: str
    block: int | None
    target: float | None
    parameters: int
    zeros: int
    sparsity: float
    mask_sha256: str


class PrunedLayerReport(_PrunedLayer, total=False):
    """One layer, as JSON; errors are reported by one-shot pruning only."""

    error_before: float | None
    error_after: float | None


class PointwiseMacs(TypedDict):
    """Multiply-adds of the 1x1 convolutions per inference, as JSON."""

    dense: int
    left: int


class PointwiseInstructions(TypedDict):
    """Predicted instructions of the 1x1 convolutions per inference, as JSON."""

    dense: int
    sparse: int


class PruningReport(TypedDict):
    """A pruned model, as JSON; `above_two_thirds` is what XNNPACK's sparse kernels require."""

    method: str
    settings: Mapping[str, object] | None
    schedule: Mapping[str, object] | None
    zeros: int
    parameters: int
    sparsity: float
    above_two_thirds: bool
    macs: PointwiseMacs | None
    predicted_instructions: PointwiseInstructions | None
    recalibration: Mapping[str, object] | None
    layers: list[PrunedLayerReport]


@dataclass(frozen=True)
class Recalibration:
    """Re-measured batch normalization: the validation loss before and after, and whether the new one was kept."""

    normalizations: int
    samples: int
    val_loss_before: float
    val_loss_after: float
    kept: bool


def recalibrate_if_better(model: KerasModel, splits: DatasetSplits, *, batch: int, seed: int) -> Recalibration | None:
    """Measure the model's batch normalization on training images; keep it if the validation loss is no higher.

    Returns:
        The change; None if the model has no batch normalization.
    """
    from edge.data.batches import Batches
    from edge.training.recalibration import recalibrate

    validation = Batches(splits.validation, batch)
    before, weights = _loss(model, validation), model.get_weights()
    shuffled = Batches(splits.train, batch, seed=(seed, 0))
    count = min(len(shuffled), max(1, _RECALIBRATION_SAMPLES // batch))
    normalizations = recalibrate(model, (shuffled[index][0] for index in range(count)))
    if not normalizations:
        return None
    after = _loss(model, validation)
    kept = after <= before
    if not kept:
        model.set_weights(weights)
    return Recalibration(normalizations, min(count * batch, len(splits.train)), before, after, kept)


def describe_pruning(
    model: KerasModel,
    *,
    pruning: Pruning | None,
    schedule: CubicSchedule | None,
    targets: tuple[LayerTarget, ...],
    recalibration: Recalibration | None,
) -> PruningReport:
    """Return what was pruned, layer by layer, counted in the model itself.

    A layer's mask is where its kernel is not zero; `mask_sha256` is its digest, packed 8 weights to the byte in the
    order of the kernel (1, 1, inputs, outputs). Instructions are predicted for the 1x1 convolutions alone.
    """
    layers = pointwise_layers(model)
    rows = [_report_layer(layer, target)
            for layer, target in zip(layers, targets or [None] * len(layers), strict=True)]  # fmt: skip
    zeros, weights = sum(row["zeros"] for row in rows), sum(row["parameters"] for row in rows)
    return {
        "method": "magnitude" if pruning else "kept from the model that was trained further",
        "settings": None if pruning is None else {**asdict(pruning), "overrides": list(pruning.overrides)},
        "schedule": None if schedule is None else {"kind": "cubic", **asdict(schedule)},
        "zeros": zeros,
        "parameters": weights,
        "sparsity": zeros / weights,
        "above_two_thirds": zeros / weights > _LEAST_SHARE,
        "macs": _count_macs(layers, rows),
        "predicted_instructions": _predict(layers, targets, rows) if targets else None,
        "recalibration": None if recalibration is None else asdict(recalibration),
        "layers": rows,
    }


def _loss(model: KerasModel, batches: Any) -> float:  # noqa: ANN401
    return float(model.evaluate(batches, verbose=0, return_dict=True)["loss"])


def _report_layer(layer: PointwiseLayer, target: LayerTarget | None) -> PrunedLayerReport:
    kernel = layer.kernel
    mask = kernel != 0
    zeros = int(kernel.size - np.count_nonzero(mask))
    return {
        "name": layer.name,
        "block": None if target is None else target.block,
        "target": None if target is None else target.sparsity,
        "parameters": int(kernel.size),
        "zeros": zeros,
        "sparsity": zeros / kernel.size,
        "mask_sha256": hashlib.sha256(np.packbits(mask).tobytes()).hexdigest(),
    }


def _count_macs(layers: tuple[PointwiseLayer, ...], rows: list[PrunedLayerReport]) -> PointwiseMacs | None:
    macs = [layer.macs for layer in layers if layer.macs is not None]
    if len(macs) < len(layers):
        return None
    left = sum(count * (1 - row["sparsity"]) for count, row in zip(macs, rows, strict=True))
    return {"dense": sum(macs), "left": round(left)}


def _predict(
    layers: tuple[PointwiseLayer, ...], targets: tuple[LayerTarget, ...], rows: list[PrunedLayerReport]
) -> PointwiseInstructions | None:
    macs = [layer.macs for layer in layers if layer.macs is not None]
    if len(macs) < len(layers):
        return None
    sparse = sum(
        predict_instructions(count, row["sparsity"], target.block)
        for count, target, row in zip(macs, targets, rows, strict=True)
    )
    return {"dense": round(sum(macs) * DENSE_COST), "sparse": round(sparse)}
