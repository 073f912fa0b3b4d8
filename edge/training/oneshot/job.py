"""Prunes a trained Keras model once, layer by layer, and writes a sparse .keras file (`edge prune`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact.preprocessing import Preprocessing
from converters.files import require_folder
from edge.errors import InputError
from edge.models.loading import ConvertRequest, LoadedModel, load_model
from edge.models.saved_model import ModelDescription, start_keras, write_model
from edge.training.oneshot.comparison import (
    AgreementReport,
    ImageSplit,
    compare_networks,
    match_labels,
    read_batches,
    split_images,
)
from edge.training.oneshot.layer_program import detach, trace_model
from edge.training.oneshot.layerwise import LayerOutcome, prune_layers
from edge.training.oneshot.prune_request import PruneRequest
from edge.training.pruning_layers import PointwiseLayer, layer_targets, pointwise_layers
from edge.training.pruning_plan import LayerTarget
from edge.training.pruning_report import PrunedLayerReport, PruningReport, describe_pruning
from edge.training.trainable_model import freeze_bias_normalizations

Advance = Callable[[int, str], None]
Notify = Callable[[str], None]
KerasModel = Any  # keras.Model, which is imported on use


@dataclass(frozen=True)
class PruneResult:
    """A pruned model; `pruning` is reported as by `edge train`, and the errors of each layer are added."""

    file: Path
    sidecar: Path
    corrected_with: int
    agreement: AgreementReport
    pruning: PruningReport

    def to_json(self) -> dict[str, object]:
        """Return what `edge prune --json` prints."""
        return {
            "file": str(self.file),
            "sidecar": str(self.sidecar),
            "corrected_with": self.corrected_with,
            "agreement": self.agreement,
            "pruning": self.pruning,
        }


def prune(
    request: PruneRequest, *, notify: Notify = lambda text: None, advance: Advance = lambda steps, note: None
) -> PruneResult:
    """Prune a model once, layer by layer, and write it.

    Args:
        request: the model, the images and how much is pruned.
        notify: called with each remark for the user.
        advance: called with the number of layers done and the next one's name; the total is the number of 1x1
            convolutions to prune.

    Raises:
        InputError: the model, its weights or an override is invalid.
        DataError: there are no images, or too few.
        EdgeError: values inside the network are not finite.
        OutputError: there is no room for the values between two layers.
        WriteError: the result cannot be written.
    """
    require_folder(request.out.parent)
    start_keras()
    loaded = load_model(_convert_request(request), notify)
    model, preprocessing = _require_prunable(loaded, request)
    for note in freeze_bias_normalizations(model, request.model):
        notify(note)
    layers = pointwise_layers(model)
    targets = layer_targets(request.pruning, layers)
    _warn_of_uneven_blocks(layers, targets, notify)
    images = split_images(request, preprocessing, loaded.held_out)
    program = trace_model(model)
    dense = detach(program)
    outcomes = prune_layers(
        dense, program, targets, lambda: read_batches(images.correct, request.batch), options=request.oneshot,
        advance=advance,
    )  # fmt: skip
    advance(0, "comparing")
    labels = match_labels(images.compare, loaded.model.classes, notify)
    agreement = compare_networks(dense, program, images.compare, labels, batch=request.batch)
    result = PruneResult(
        file=request.out,
        sidecar=request.sidecar_file,
        corrected_with=len(images.correct),
        agreement=agreement.to_json(images.measured_on),
        pruning=_report(model, request, targets, outcomes),
    )
    write_model(model, request.out, _describe(request, loaded, images, result))
    return result


def _convert_request(request: PruneRequest) -> ConvertRequest:
    return ConvertRequest(
        source=request.model, recipes=(), folder=request.out.parent, weights=request.weights,
        arguments=request.arguments, preprocess=request.preprocess,
    )  # fmt: skip


def _require_prunable(loaded: LoadedModel, request: PruneRequest) -> tuple[KerasModel, Preprocessing]:
    """Return the Keras model and its preprocessing, if it takes images and has finite weights."""
    model = loaded.model.keras_model
    if model is None:
        raise InputError(
            f"{request.model} is a SavedModel: its layers cannot be changed", hint="save the model as .keras in Keras"
        )
    if loaded.preprocessing is None:
        raise InputError(
            f"{request.model} takes no single image of 1 or 3 channels: {list(loaded.inputs[0].shape)}",
            hint="one-shot pruning is for models of one image input, channels last",
        )
    for variable in model.variables:
        if not np.isfinite(np.asarray(variable, np.float64)).all():
            raise InputError(
                f"{request.model}: {variable.path} holds values that are not finite",
                hint="its training diverged; take an earlier state of the model",
            )
    return model, loaded.preprocessing


def _warn_of_uneven_blocks(
    layers: tuple[PointwiseLayer, ...], targets: tuple[LayerTarget, ...], notify: Notify
) -> None:
    uneven = [layer.name for layer, target in zip(layers, targets, strict=True)
              if target.sparsity > 0 and layer.kernel.shape[-1] % target.block]  # fmt: skip
    if uneven:
        notify(f"the block does not divide the output channels of {', '.join(uneven[:3])}"
               f"{' ...' if len(uneven) > 3 else ''} ({len(uneven)}): their last block is smaller")  # fmt: skip


def _report(
    model: KerasModel, request: PruneRequest, targets: tuple[LayerTarget, ...], outcomes: tuple[LayerOutcome, ...]
) -> PruningReport:
    report = describe_pruning(model, pruning=None, schedule=None, targets=targets, recalibration=None)
    by_name = {outcome.name: outcome for outcome in outcomes}
    pruning = request.pruning
    settings = {"sparsity": pruning.sparsity, "block": pruning.block, "budget": pruning.budget,
                "overrides": list(pruning.overrides), **asdict(request.oneshot)}  # fmt: skip
    layers = [_add_errors(row, by_name.get(row["name"])) for row in report["layers"]]
    return {**report, "method": f"one-shot {request.oneshot.method}", "settings": settings, "layers": layers}


def _add_errors(row: PrunedLayerReport, outcome: LayerOutcome | None) -> PrunedLayerReport:
    before, after = (None, None) if outcome is None else (outcome.error_before, outcome.error_after)
    return {**row, "error_before": before, "error_after": after}


def _describe(request: PruneRequest, loaded: LoadedModel, images: ImageSplit, result: PruneResult) -> dict[str, object]:
    """Return the description of the pruned model, with what was stated of the dense one."""
    dense = loaded.description or ModelDescription()
    preprocessing = None if loaded.assumed or loaded.preprocessing is None else loaded.preprocessing.to_json()
    return {
        "name": dense.name or loaded.record.name,
        "arguments": dense.arguments or dict(loaded.record.arguments),
        "classes": loaded.model.classes,
        "labels": None if loaded.labels is None else list(loaded.labels),
        "preprocessing": preprocessing,
        "data": None if dense.data is None else dense.data.to_json(),
        "dense": asdict(loaded.record),
        "corrected_with": {"source": request.calibrate, "digest": images.correct.digest(),
                           "samples": len(images.correct), "seed": request.seed},
        "metrics": {"agreement": result.agreement},
        "pruning": result.pruning,
    }  # fmt: skip
