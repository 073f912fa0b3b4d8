"""`edge convert`: converts a Keras model to checked TFLite variants."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.recipes import RECIPES, Recipe, Tolerance, recipes_named
from converters.targets.boards import DEFAULT_TARGET
from edge.cli.options import MODES, SHAPE, collect, model_options, take
from edge.cli.output import json_option, print_json, print_table, progress, say

if TYPE_CHECKING:
    from converters.convert import Variant


def _recipes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Recipe, ...]:
    """Return the recipes of names separated by commas; an unknown name is answered with the nearest."""
    from converters.errors import ConversionError

    names = [part.strip() for part in value.split(",") if part.strip()]
    if not names:
        raise click.BadParameter("name at least one recipe", ctx, param)
    try:
        return recipes_named(names)
    except ConversionError as error:
        raise click.BadParameter(f"{error}; {error.hint}", ctx, param) from error


def _file_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse what is not a plain file name: artifacts stay in the folder of --out."""
    if value is not None and (not value.isprintable() or "/" in value or value.strip() in ("", ".", "..")):
        raise click.BadParameter(f"{value!r} is not a file name; --out names the folder", ctx, param)
    return value


def _tolerance(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float]:
    """Return the tolerance's fields from NAME=VALUE pairs separated by commas."""
    known = [field.name for field in fields(Tolerance)]
    result = {}
    for pair in [] if value is None else value.split(","):
        key, _, number = pair.strip().partition("=")
        if key not in known:
            raise click.BadParameter(f"there is no tolerance '{key}'; tolerances are {', '.join(known)}", ctx, param)
        try:
            result[key] = float(number)
        except ValueError:
            raise click.BadParameter(f"'{pair}' is not NAME=NUMBER", ctx, param) from None
        if not 0 <= result[key] < math.inf:
            raise click.BadParameter(f"'{pair}': a tolerance is a number from 0", ctx, param)
    return result


@click.command("convert")
@click.argument("source")
@click.option(
    "--to",
    "recipes",
    metavar="RECIPES",
    callback=_recipes,
    required=True,
    help=f"{', '.join(RECIPES)}; separated by commas.",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for NAME-RECIPE.tflite and NAME-RECIPE.json.",
)
@click.option("--name", callback=_file_name, help="Name of the artifacts.  [default: the source's]")
@model_options
@click.option("--calibrate", metavar="SRC", help="Real inputs for the integer recipes: folder, .npy, .npz or 'digits'.")
@click.option("--check", metavar="SRC", help="Inputs for the comparison with Keras.  [default: those of --calibrate]")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Take at most this many inputs from each source.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the choice of inputs.")
@click.option("--labels", metavar="FILE|imagenet", help="Class names, one per line.")
@click.option("--preprocess", type=MODES, help="How pixels were scaled in training.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Static batch size.")
@click.option(
    "--tolerance",
    metavar="NAME=NUMBER,...",
    callback=_tolerance,
    help="Allowed differences instead of the recipe's own, such as relative_rms_error=0.1,accuracy_drop=0.02.",
)
@click.option(
    "--target", default=DEFAULT_TARGET, show_default=True, help="Board on which sparse recipes must run sparse kernels."
)
@click.option(
    "--io",
    type=click.Choice(["uint8", "int8"]),
    help="For edgetpu: type of input and output.  [default: uint8, for raw pixels]",
)
@click.option("--compiler", metavar="PATH|docker:IMAGE", help="For edgetpu-compiled: the edgetpu_compiler to run.")
@click.option(
    "--force", is_flag=True, help="Also write files that would run dense on the target, or not on the Edge TPU at all."
)
@json_option
def command(as_json: bool, **options: object) -> None:
    """Convert SOURCE to TFLite variants and check each against the Keras model.

    SOURCE is a name of `edge models`, a .keras or .h5 file, or a SavedModel folder. Only variants within their
    tolerance are written.
    """
    from converters.capture_output import capture_output
    from edge.workflows.conversion import ConvertRequest, convert_source

    request = collect(ConvertRequest, options, arguments=take(options, *SHAPE))
    with capture_output(), progress("converting", 2 * len(request.recipes) + 5) as advance:
        artifacts = convert_source(request, notify=say, on_progress=advance)
    _show(artifacts, as_json)


def _show(artifacts: tuple[Variant, ...], as_json: bool) -> None:
    if as_json:
        print_json([artifact.to_json() for artifact in artifacts])
        return
    rows = [_row(artifact) for artifact in artifacts]
    print_table(("artifact", "bytes", "max error", "mean error", "cosine", "top-1", "correct"), rows, right=range(1, 7))
    parity = artifacts[0].parity
    accuracy = parity.accuracy
    _show_mapping(artifacts)
    keras = f"; Keras itself: {accuracy.reference_correct} of {accuracy.of} correct" if accuracy else ""
    say(f"compared with Keras on {parity.samples} inputs: {parity.source}{keras}")


def _show_mapping(artifacts: tuple[Variant, ...]) -> None:
    """Print what the Edge TPU will run, or runs in a compiled file, and where that differs from the prediction."""
    for artifact in artifacts:
        edgetpu = artifact.record.edgetpu
        if edgetpu is not None:
            how = "compiled: " if artifact.recipe.compiled else "predicted: "
            say(f"{artifact.name}: {how}{edgetpu['mapped']} of {edgetpu['of']} operators on the Edge TPU")
            for line in edgetpu.get("differences", ()):
                say(f"{artifact.name}: differs from the prediction: {line}")


def _row(artifact: Variant) -> tuple[str, ...]:
    parity = artifact.parity
    accuracy = parity.accuracy
    return (
        str(artifact.path),
        f"{len(artifact.data):,}",
        f"{parity.max_abs_error:.2g}",
        f"{parity.mean_abs_error:.2g}",
        "-" if parity.cosine is None else f"{parity.cosine:.6f}",
        "-" if parity.top1_agreement is None else f"{parity.top1_agreement:.1%}",
        f"{accuracy.correct}/{accuracy.of}" if accuracy else "-",
    )
