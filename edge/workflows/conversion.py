"""Converts a model with its weights and data: the work of `edge convert`."""

from __future__ import annotations

from dataclasses import replace

from converters.convert import Conversion, Progress, Provenance, Variant, check_request, convert
from converters.edgetpu.compiler import PROGRAM, Compiler
from converters.edgetpu.gate import require_mapped
from converters.files import require_folder
from converters.recipes import Recipe
from converters.samples import SampleSet
from converters.targets.boards import DEFAULT_TARGET
from converters.targets.sparse_gate import require_sparse_on
from edge.data.conversion_samples import SampledModel, SampleRequest, read_samples
from edge.errors import InputError
from edge.models.loading import ConvertRequest, LoadedModel, Notify, load_model

__all__ = ["ConvertRequest", "convert_source"]


def convert_source(
    request: ConvertRequest, *, notify: Notify = lambda text: None, on_progress: Progress = lambda steps, note: None
) -> tuple[Variant, ...]:
    """Load, convert, check and publish.

    Args:
        request: what to convert, and how.
        notify: called with each remark a user should read.
        on_progress: called as `on_progress(steps_done, note)`; 2 steps per recipe and 5 more.

    Raises:
        InputError: an argument does not go with the source.
        DataError: a data source is unreadable or does not fit.
        WriteError: the folder cannot be written to; checked before the work begins where possible.
        ConverterError: see `converters.convert.convert` and `converters.source.load_source`.
    """
    recipes = _adapt_recipes(request)
    compiler = Compiler(request.compiler or PROGRAM)
    check_request(recipes, has_calibration=request.calibrate is not None, compiler=compiler)
    require_sparse = require_sparse_on(_sparse_target(request), force=request.force)
    require_folder(request.folder)
    on_progress(0, "loading the model")
    loaded = load_model(request, notify)
    on_progress(1, "reading data")
    calibration, check = _read_samples(request, loaded, notify)
    on_progress(1, "")
    conversion = Conversion(
        model=loaded.model, inputs=loaded.inputs, recipes=recipes, calibration=calibration,
        check=check, classes=loaded.labels is not None or check.labels is not None,
        provenance=_provenance(loaded), name=request.name or loaded.model.name, folder=request.folder,
        require_sparse=require_sparse,
        require_mapped=require_mapped(force=request.force, notify=notify),
        compiler=compiler,
    )  # fmt: skip
    return convert(conversion, on_progress=on_progress)


def _read_samples(request: ConvertRequest, loaded: LoadedModel, notify: Notify) -> tuple[SampleSet | None, SampleSet]:
    samples = SampleRequest(
        calibrate=request.calibrate, check=request.check, count=request.samples, seed=request.seed
    )  # fmt: skip
    model = SampledModel(inputs=loaded.inputs, preprocessing=loaded.preprocessing, classes=loaded.model.classes,
                         held_out=loaded.held_out)  # fmt: skip
    return read_samples(samples, model, notify)


def _sparse_target(request: ConvertRequest) -> str:
    """Return the board for sparse recipes; where there are none, "coral" may be named too."""
    return request.target if any(recipe.sparse for recipe in request.recipes) else DEFAULT_TARGET


def _adapt_recipes(request: ConvertRequest) -> tuple[Recipe, ...]:
    """Return the recipes with the tolerance and the interface asked for."""
    if request.io and not any(recipe.edgetpu for recipe in request.recipes):
        raise InputError(f"--io {request.io} was given, but no recipe leaves a choice",
                         hint="--io goes with --to edgetpu and edgetpu-compiled")  # fmt: skip
    return tuple(
        replace(
            recipe,
            tolerance=replace(recipe.tolerance, **request.tolerance),
            interface=request.io if request.io and recipe.edgetpu else recipe.interface,
        )
        for recipe in request.recipes
    )


def _provenance(loaded: LoadedModel) -> Provenance:
    return Provenance(source=loaded.record, preprocessing=loaded.preprocessing, assumed=loaded.assumed,
                      labels=loaded.labels, labels_origin=loaded.labels_origin)  # fmt: skip
