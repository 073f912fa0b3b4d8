"""`edge prune`: a trained model and pictures in, a sparse .keras file out, with what it cost in answers."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.files import replacing, require_folder, sha256_of, write_whole
from edge.errors import InputError
from edge.models.loading import ConvertRequest, LoadedModel, Say, load_model
from edge.training.keras_model import start_keras
from edge.training.oneshot.agreement import Agreement, batches, compare
from edge.training.oneshot.image_split import Pictures, labels_in_order, split_images
from edge.training.oneshot.layer_program import detach, trace_model
from edge.training.oneshot.layerwise import LayerOutcome, prune_layers
from edge.training.oneshot.prune_request import PruneRequest
from edge.training.pruning_layers import layer_targets, pointwise_layers
from edge.training.pruning_plan import LayerTarget
from edge.training.pruning_report import describe_pruning
from edge.training.trainable_model import SIDECAR_SCHEMA, freeze_bias_normalizations

Advance = Callable[[int, str], None]


@dataclass(frozen=True)
class PruneResult:
    """A pruned model; `pruning` is what `edge train` reports as well, `layers` has an error per layer besides."""

    file: Path
    sidecar: Path
    corrected_with: int
    agreement: dict[str, Any]
    pruning: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return what `edge prune --json` prints."""
        return {
            "file": str(self.file),
            "sidecar": str(self.sidecar),
            "corrected_with": self.corrected_with,
            "agreement": self.agreement,
            "pruning": self.pruning,
        }


def prune(
    request: PruneRequest, *, say: Say = lambda text: None, advance: Advance = lambda steps, note: None
) -> PruneResult:
    """Prune a model once, layer by layer, and write it.

    Args:
        request: what is asked.
        say: called with each remark a user should read.
        advance: called with layers done and what comes next; there are as many as 1x1 convolutions to prune.

    Raises:
        InputError: the model, its weights or an override is not what it should be.
        DataError: there are no pictures, or too few.
        EdgeError: values inside the network are not finite.
        OutputError: there is no room for what waits between two layers.
        WriteError: the result cannot be written.
    """
    require_folder(request.out.parent)
    start_keras()
    loaded = load_model(_as_conversion(request), say)
    model = _prunable(loaded, request)
    for note in freeze_bias_normalizations(model, request.model):
        say(note)
    layers = pointwise_layers(model)
    targets = layer_targets(request.pruning, layers)
    _tell_uneven(layers, targets, say)
    assert loaded.preprocessing is not None  # `_prunable` has seen to it
    pictures = split_images(request, loaded, loaded.preprocessing)
    program = trace_model(model)
    dense = detach(program)
    found = prune_layers(
        dense, program, targets, lambda: batches(pictures.correct, request.batch), manner=request.manner,
        advance=advance,
    )  # fmt: skip
    advance(0, "comparing")
    labels = labels_in_order(pictures.compare, loaded.model.classes, say)
    agreement = compare(dense, program, pictures.compare, labels, request.batch)
    pruning = _pruning_json(model, request, targets, found)
    return _written(model, request, loaded, pictures, agreement, pruning)


def _as_conversion(request: PruneRequest) -> ConvertRequest:
    return ConvertRequest(
        source=request.model, recipes=(), folder=request.out.parent, weights=request.weights,
        arguments=request.arguments, preprocess=request.preprocess,
    )  # fmt: skip


def _prunable(loaded: LoadedModel, request: PruneRequest) -> Any:  # noqa: ANN401
    """Return the Keras model, if there is one that takes pictures and has sound weights."""
    model = loaded.model.keras_model
    if model is None:
        raise InputError(
            f"{request.model} is a SavedModel: its layers cannot be changed", hint="save the model as .keras in Keras"
        )
    if loaded.preprocessing is None:
        raise InputError(
            f"{request.model} takes no single picture of 1 or 3 channels: {list(loaded.inputs[0].shape)}",
            hint="one-shot pruning is for models of one picture input, channels last",
        )
    for variable in model.variables:
        if not np.isfinite(np.asarray(variable, np.float64)).all():
            raise InputError(
                f"{request.model}: {variable.path} holds values that are not finite",
                hint="the training that made it diverged; take an earlier state of the model",
            )
    return model


def _tell_uneven(layers: Any, targets: tuple[LayerTarget, ...], say: Say) -> None:  # noqa: ANN401
    uneven = [each.name for each, target in zip(layers, targets, strict=True)
              if target.sparsity > 0 and each.kernel.shape[-1] % target.block]  # fmt: skip
    if uneven:
        say(f"the block does not divide the output channels of {', '.join(uneven[:3])}"
            f"{' ...' if len(uneven) > 3 else ''} ({len(uneven)}): their last block is smaller")  # fmt: skip


def _pruning_json(
    model: Any,  # noqa: ANN401
    request: PruneRequest,
    targets: tuple[LayerTarget, ...],
    found: tuple[LayerOutcome, ...],
) -> dict[str, Any]:
    value = describe_pruning(model, pruning=None, schedule=None, targets=targets, recalibration=None)
    errors = {each.name: each for each in found}
    rows = [
        {**row, "error_before": None, "error_after": None}
        if row["name"] not in errors
        else {**row, "error_before": errors[row["name"]].error_before, "error_after": errors[row["name"]].error_after}
        for row in value["layers"]
    ]
    settings = {name: getattr(request.pruning, name) for name in ("sparsity", "block", "budget")}
    settings |= {"overrides": list(request.pruning.overrides), **asdict(request.manner)}
    return {**value, "method": f"one-shot {request.manner.method}", "settings": settings, "layers": rows}


def _written(
    model: Any,  # noqa: ANN401
    request: PruneRequest,
    loaded: LoadedModel,
    pictures: Pictures,
    agreement: Agreement,
    pruning: dict[str, Any],
) -> PruneResult:
    """Write model and sidecar; an old sidecar is removed first, so that none ever lies beside another model."""
    measured = agreement.to_json(pictures.measured_on)
    sidecar = _sidecar(request, loaded, pictures, measured, pruning)
    request.sidecar_file.unlink(missing_ok=True)
    with replacing(request.out) as draft:
        model.save(draft)
    described = {**sidecar, "file": request.out.name, "sha256": sha256_of(request.out)}
    write_whole(request.sidecar_file, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    return PruneResult(request.out, request.sidecar_file, len(pictures.correct), measured, pruning)


def _sidecar(
    request: PruneRequest, loaded: LoadedModel, pictures: Pictures, measured: dict[str, Any], pruning: dict[str, Any]
) -> dict[str, Any]:
    """Return the description that lies beside the model: what is said of the dense one, and what was done to it."""
    known = _known(request, loaded)
    preprocessing = None if loaded.assumed or loaded.preprocessing is None else loaded.preprocessing.to_json()
    return {
        "schema": SIDECAR_SCHEMA,
        "name": str(known.get("name", loaded.record.name)),
        "arguments": known.get("arguments", dict(loaded.record.arguments)),
        "classes": loaded.model.classes,
        "labels": None if loaded.labels is None else list(loaded.labels),
        "preprocessing": preprocessing,
        "data": known.get("data"),
        "dense": asdict(loaded.record),
        "corrected_with": {"source": request.calibrate, "digest": pictures.correct.digest(),
                           "samples": len(pictures.correct), "seed": request.seed},
        "metrics": {"agreement": measured},
        "pruning": pruning,
        "tools": {
            "edge-convert": version("edge-convert"),
            "tensorflow": version("tensorflow"),
            "keras": version("keras"),
            "python": platform.python_version(),
        },
    }  # fmt: skip


def _known(request: PruneRequest, loaded: LoadedModel) -> dict[str, Any]:
    """Return what `edge train` wrote beside the dense model, nothing where that describes another file."""
    beside = Path(request.model).with_suffix(".json")
    if loaded.record.sha256 is None or not beside.is_file():
        return {}
    try:
        value = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    described = isinstance(value, dict) and value.get("schema") == SIDECAR_SCHEMA
    return value if described and value.get("sha256") == loaded.record.sha256 else {}
