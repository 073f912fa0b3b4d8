"""Adds the options of `edge train` for pruning and distillation, and shows what was pruned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.options import SHARE, F, Options, add_options, take

if TYPE_CHECKING:
    from edge.training.pruning_plan import Pruning
    from edge.training.pruning_report import PruningReport
    from edge.training.training_settings import Distillation

_BUDGETS = click.Choice(["uniform", "global", "instructions"])
_PRUNING = {"sparsity": "sparsity", "block": "block", "budget": "budget", "prune_layer": "overrides",
            "prune_begin": "begin", "prune_end": "end", "prune_every": "every"}  # fmt: skip
_DISTILLATION = {"distill": "teacher", "temperature": "temperature", "distill_weight": "weight"}


def pruning_options(command: F) -> F:
    """Add the options of pruning."""
    return add_options(
        command,
        click.option("--sparsity", type=SHARE,
                     help="Prune the 1x1 convolutions to this share of zeros (of multiply-adds saved, with the budget "
                          "instructions)."),
        click.option("--block", help="Output channels pruned together, 1, 2 or 4; or for some blocks of the network, "
                                     "11-16b2, 12b4.  [default: 1, or the budget's choice]"),
        click.option("--budget", type=_BUDGETS,
                     help="Share of each layer: the same for all, the smallest weights anywhere, or by predicted "
                          "instructions.  [default: uniform]"),
        click.option("--prune-layer", multiple=True, metavar="LAYERS=SPARSITYbBLOCK",
                     help="Exceptions for layers of these names (repeatable): 'block_16_*=0.9b4', "
                          "'Conv_1=b2', 'block_1_*=0'."),
        click.option("--prune-begin", type=click.FloatRange(0, 1),
                     help="Fraction of the training after which pruning begins.  "
                          "[default: 0.25, for trained models 0]"),
        click.option("--prune-end", type=click.FloatRange(0, 1, min_open=True),
                     help="Fraction of the training after which the sparsity is final.  [default: 0.7]"),
        click.option("--prune-every", type=click.IntRange(min=1),
                     help="Steps between two masks.  [default: 1/50 of the pruning phase]"),
    )  # fmt: skip


def distillation_options(command: F) -> F:
    """Add the options of distillation."""
    return add_options(
        command,
        click.option("--distill", type=click.Path(dir_okay=False, path_type=Path), metavar="TEACHER.keras",
                     help="Learn from this trained model as well as from the labels."),
        click.option("--temperature", type=click.FloatRange(min=0, min_open=True),
                     help="Softens the teacher's outputs.  [default: 4]"),
        click.option("--distill-weight", type=click.FloatRange(0, 1, min_open=True),
                     help="Weight of the teacher against the labels.  [default: 0.5]"),
    )  # fmt: skip


def take_pruning(options: Options) -> Pruning | None:
    """Take the options of pruning out of all options.

    Raises:
        UsageError: some are given without --sparsity.
        InputError: a value is out of range.
    """
    given = _take(options, _PRUNING, needed="sparsity")
    if not given:
        return None
    from edge.training.pruning_plan import Pruning

    return Pruning(**given)


def take_distillation(options: Options) -> Distillation | None:
    """Take the options of distillation out of all options.

    Raises:
        UsageError: some are given without --distill.
        InputError: a value is out of range.
    """
    given = _take(options, _DISTILLATION, needed="distill")
    if not given:
        return None
    from edge.training.training_settings import Distillation

    return Distillation(**given)


def show_pruning(pruning: PruningReport) -> None:
    """Print what was pruned in two or three lines."""
    click.echo(f"1x1 convolutions: {pruning['zeros']:,} of {pruning['parameters']:,} weights are zero "
               f"({pruning['sparsity']:.2%}, {len(pruning['layers'])} layers)")  # fmt: skip
    if not pruning["above_two_thirds"]:
        click.echo("at most two thirds are zero: XNNPACK will run these layers dense")
    if pruning["predicted_instructions"] is not None:
        instructions = pruning["predicted_instructions"]
        click.echo(f"predicted for them on a Cortex-A72, per inference: {instructions['sparse'] / 1e6:.3g} million "
                   f"instructions, dense {instructions['dense'] / 1e6:.3g}")  # fmt: skip


def _take(options: Options, names: dict[str, str], *, needed: str) -> dict[str, Any]:
    given = take(options, *names)
    if given and needed not in given:
        others = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{others} goes with --{needed}")
    return {names[name]: value for name, value in given.items()}
