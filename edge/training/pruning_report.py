"""What pruning leaves: the calibrated model and the report.

Imports Keras; import it only from functions.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge.data.batches import Batches
from edge.data.splits import DatasetSplits
from edge.training.instruction_budget import DENSE_COST, predict_instructions
from edge.training.pruning_layers import PointwiseLayer, pointwise_layers
from edge.training.pruning_plan import CubicSchedule, LayerTarget, Pruning
from edge.training.recalibration import recalibrate
from edge.training.training_settings import TrainingSettings

_RECALIBRATION_SAMPLES = 2048
_LEAST_SHARE = 2 / 3


@dataclass(frozen=True)
class Recalibration:
    """Batch normalization measured anew: validation loss before and after, and which of the two was kept."""

    normalizations: int
    samples: int
    val_loss_before: float
    val_loss_after: float
    kept: bool


def recalibrate_if_better(model: Any, settings: TrainingSettings, parts: DatasetSplits) -> Recalibration | None:  # noqa: ANN401
    """Measure the model's batch normalization on training pictures; keep it if the validation loss is no higher.

    Returns:
        What it changed; None if the model has no batch normalization.
    """
    validation = Batches(parts.validation, settings.batch)
    before, weights = _loss(model, validation), model.get_weights()
    shuffled = Batches(parts.train, settings.batch, seed=(settings.seed, 0))
    count = min(len(shuffled), max(1, _RECALIBRATION_SAMPLES // settings.batch))
    normalizations = recalibrate(model, (shuffled[index][0] for index in range(count)))
    if not normalizations:
        return None
    after = _loss(model, validation)
    kept = after <= before
    if not kept:
        model.set_weights(weights)
    samples = min(count * settings.batch, len(parts.train))
    return Recalibration(normalizations, samples, before, after, kept)


def _loss(model: Any, batches: Batches) -> float:  # noqa: ANN401
    return float(model.evaluate(batches, verbose=0, return_dict=True)["loss"])


def describe_pruning(
    model: Any,  # noqa: ANN401
    *,
    pruning: Pruning | None,
    schedule: CubicSchedule | None,
    targets: tuple[LayerTarget, ...],
    recalibration: Recalibration | None,
) -> dict[str, Any]:
    """Return what was pruned, layer by layer, counted in the model itself.

    A layer's mask is where its kernel is not zero; `mask_sha256` is the digest of that, packed 8 weights to the byte in
    the order of the kernel (1, 1, inputs, outputs). Instructions are predicted for the 1x1 convolutions alone.
    """
    layers = pointwise_layers(model)
    known = targets or tuple(LayerTarget(each.name, 0.0, 1) for each in layers)
    rows = [_row(each, target if targets else None) for each, target in zip(layers, known, strict=True)]
    zeros, weights = sum(row["zeros"] for row in rows), sum(row["parameters"] for row in rows)
    return {
        "method": "magnitude" if pruning else "kept from the model that was trained further",
        "settings": None if pruning is None else {**asdict(pruning), "overrides": list(pruning.overrides)},
        "schedule": None if schedule is None else {"kind": "cubic", **asdict(schedule)},
        "zeros": zeros,
        "parameters": weights,
        "sparsity": zeros / weights,
        "above_two_thirds": zeros / weights > _LEAST_SHARE,
        "macs": _macs(layers, rows),
        "predicted_instructions": _predicted(layers, known, rows) if targets else None,
        "recalibration": None if recalibration is None else asdict(recalibration),
        "layers": rows,
    }


def _row(each: PointwiseLayer, target: LayerTarget | None) -> dict[str, Any]:
    kernel = each.kernel
    kept = kernel != 0
    zeros = int(kernel.size - np.count_nonzero(kept))
    return {
        "name": each.name,
        "block": None if target is None else target.block,
        "target": None if target is None else target.sparsity,
        "parameters": int(kernel.size),
        "zeros": zeros,
        "sparsity": zeros / kernel.size,
        "mask_sha256": hashlib.sha256(np.packbits(kept).tobytes()).hexdigest(),
    }


def _macs(layers: tuple[PointwiseLayer, ...], rows: list[dict[str, Any]]) -> dict[str, int] | None:
    known = [(each.macs, row["sparsity"]) for each, row in zip(layers, rows, strict=True) if each.macs is not None]
    if len(known) < len(layers):
        return None
    return {"dense": sum(macs for macs, _ in known), "left": round(sum(macs * (1 - share) for macs, share in known))}


def _predicted(
    layers: tuple[PointwiseLayer, ...], targets: tuple[LayerTarget, ...], rows: list[dict[str, Any]]
) -> dict[str, int] | None:
    known = [
        (each.macs, target.block, row["sparsity"])
        for each, target, row in zip(layers, targets, rows, strict=True)
        if each.macs is not None
    ]
    if len(known) < len(layers):
        return None
    return {
        "dense": round(sum(macs for macs, _, _ in known) * DENSE_COST),
        "sparse": round(sum(predict_instructions(macs, share, block) for macs, block, share in known)),
    }
