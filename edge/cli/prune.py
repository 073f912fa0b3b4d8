"""`edge prune`: makes a trained model sparse with a few images, without labels and without training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.options import MODES, SHAPE, SHARE, collect, model_options, take, take_fields
from edge.cli.output import json_option, print_json, print_table, progress, say
from edge.cli.train_sparse import show_pruning

if TYPE_CHECKING:
    from edge.training.oneshot.job import PruneResult


def _overrides(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Turn LAYERS=SPARSITY:BLOCK into the form of `edge train --prune-layer`, which is accepted too."""
    return tuple(re.sub(r":(?=[^=]*$)", "b", value) for value in values)


@click.command("prune")
@click.argument("model")
@click.option("--sparsity", type=SHARE, required=True,
              help="Share of zeros in the 1x1 convolutions (of multiply-adds saved, with --budget instructions)."
              )  # fmt: skip
@click.option("--block", help="Output channels pruned together, 1, 2 or 4; or for some blocks of the network, "
                              "11-16b2.  [default: 1, or the budget's choice]")  # fmt: skip
@click.option("--calibrate", required=True, metavar="DATA",
              help="Images for the correction, labels not needed: folder, .npy, .npz or 'digits'.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=256, show_default=True,
              help="Use at most this many images for the correction.")  # fmt: skip
@click.option("--evaluate", metavar="DATA",
              help="Compare with the dense model on these images (at most 1000).  [default: some of --calibrate]"
              )  # fmt: skip
@click.option("--held-out", type=SHARE, default=0.25, show_default=True,
              help="Share of --calibrate kept for the comparison, unless --evaluate is given.")  # fmt: skip
@click.option("--layer", "overrides", multiple=True, metavar="LAYERS=SPARSITY:BLOCK", callback=_overrides,
              help="Exceptions for layers of these names: 'block_16_*=0.9:4', 'Conv_1=:2', 'block_1_*=0'.")  # fmt: skip
@click.option("--budget", type=click.Choice(["uniform", "global", "instructions"]), default="uniform",
              show_default=True,
              help="Share of each layer: the same for all, the smallest weights anywhere, or by predicted "
                   "instructions.")  # fmt: skip
@click.option("--method", type=click.Choice(["obc", "magnitude"]), default="obc", show_default=True,
              help="Remove the weights that cost least and correct the others, or remove the smallest.")  # fmt: skip
@click.option("--damping", type=click.FloatRange(min=0, min_open=True), default=0.01, show_default=True,
              help="How strongly weights are held near their old values; raise it for few images.")  # fmt: skip
@click.option("--restore/--no-restore", default=True, show_default=True,
              help="Restore the dense model's means and variances in batch normalization.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the choice of images.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Images at a time.")
@model_options
@click.option(
    "--preprocess", type=MODES, help="How pixels were scaled in training.  [default: as recorded with the model]"
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="The .keras file to write.  [default: NAME-pruned.keras in the current folder]")  # fmt: skip
@json_option
def command(as_json: bool, **options: object) -> None:
    """Prune MODEL once, without labels and without training.

    MODEL is a .keras or .h5 file, or a name of `edge models` with --weights. Its 1x1 convolutions are pruned layer by
    layer, and the remaining weights corrected so that each layer's output stays near the dense one's. The first
    convolution, depthwise ones and the classifier stay dense. NAME.json is written next to the .keras file.
    """
    from converters.capture_output import capture_output
    from edge.training.oneshot.prune_request import OneshotOptions, PruneRequest
    from edge.training.pruning_plan import Pruning
    from edge.training.training_settings import default_out

    options["out"] = options["out"] or default_out(str(options["model"]), pruned=True)
    parts = {"arguments": take(options, *SHAPE), "oneshot": OneshotOptions(**take_fields(OneshotOptions, options)),
             "pruning": Pruning(**take_fields(Pruning, options))}  # fmt: skip
    request = collect(PruneRequest, options, **parts)
    with capture_output(), progress("pruning") as advance:
        from edge.training.oneshot.job import prune  # loads TensorFlow, which talks

        result = prune(request, notify=say, advance=advance)
    print_json(result.to_json()) if as_json else _show(result)


def _show(result: PruneResult) -> None:
    rows = [(row["name"], str(row["block"]), f"{row['zeros']:,}/{row['parameters']:,}", f"{row['sparsity']:.2%}",
             _error(row.get("error_before")), _error(row.get("error_after")))
            for row in result.pruning["layers"]]  # fmt: skip
    print_table(("layer", "block", "zeros", "share", "error removed", "corrected"), rows, right=range(1, 6))
    show_pruning(result.pruning)
    agreement = result.agreement
    if agreement["top1_agreement"] is not None:
        click.echo(f"same class as the dense model on {agreement['same_top1']} of {agreement['pictures']} images "
                   f"({agreement['top1_agreement']:.1%})")  # fmt: skip
    if agreement["output_sqnr_db"] is not None:
        click.echo(f"outputs {agreement['output_sqnr_db']:.1f} dB above their difference from the dense model's")
    dense, pruned = agreement["dense"], agreement["pruned"]
    if dense is not None and pruned is not None:
        click.echo(f"right: dense {dense['correct']} of {dense['of']} ({dense['accuracy']:.1%}), pruned "
                   f"{pruned['correct']} ({pruned['accuracy']:.1%})")  # fmt: skip
    click.echo(f"compared on {agreement['measured_on']} (on {result.corrected_with} others)")
    click.echo(f"{result.file}")


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
