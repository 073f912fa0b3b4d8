"""Options of `edge train` for pruning and distillation, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge.training.pruning_plan import Pruning
    from edge.training.settings import Distillation

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
_BUDGETS = click.Choice(["uniform", "global", "instructions"])
_PRUNING = {"sparsity": "sparsity", "block": "block", "budget": "budget", "prune_layer": "overrides",
            "prune_begin": "begin", "prune_end": "end", "prune_every": "every"}  # fmt: skip
_DISTILLATION = {"distill": "teacher", "temperature": "temperature", "distill_weight": "weight"}

Command = Callable[..., Any]


def pruning_options(command: Command) -> Command:
    """Add the options of pruning."""
    return _decorated(
        command,
        click.option("--sparsity", type=_SHARE,
                     help="Prune the 1x1 convolutions to this share of zeros (of multiply-adds saved, with the budget "
                          "instructions)."),
        click.option("--block", help="Output channels pruned together, 1, 2 or 4; or for some blocks of the network, "
                                     "11-16b2, 12b4.  [default: 1, or the budget's choice]"),
        click.option("--budget", type=_BUDGETS,
                     help="Which layer loses how much: all the same, the smallest weights anywhere, or by predicted "
                          "instructions.  [default: uniform]"),
        click.option("--prune-layer", multiple=True, metavar="LAYERS=SPARSITYbBLOCK",
                     help="Otherwise for layers of these names: 'block_16_*=0.9b4', 'Conv_1=b2', 'block_1_*=0'."),
        click.option("--prune-begin", type=click.FloatRange(0, 1),
                     help="Part of the training after which pruning begins.  [default: 0.25, trained models 0]"),
        click.option("--prune-end", type=click.FloatRange(0, 1, min_open=True),
                     help="Part of the training after which the sparsity is final.  [default: 0.7]"),
        click.option("--prune-every", type=click.IntRange(min=1),
                     help="Steps from one mask to the next.  [default: a fiftieth of the pruning]"),
    )  # fmt: skip


def distillation_options(command: Command) -> Command:
    """Add the options of distillation."""
    return _decorated(
        command,
        click.option("--distill", type=click.Path(dir_okay=False, path_type=Path), metavar="TEACHER.keras",
                     help="Learn from this trained model as well as from the labels."),
        click.option("--temperature", type=click.FloatRange(min=0, min_open=True),
                     help="Softens what the teacher says.  [default: 4]"),
        click.option("--distill-weight", type=click.FloatRange(0, 1, min_open=True),
                     help="Weight of the teacher against the labels.  [default: 0.5]"),
    )  # fmt: skip


def taken_pruning(options: dict[str, Any]) -> Pruning | None:
    """Take the options of pruning out of all options.

    Raises:
        UsageError: some are given without --sparsity.
        InputError: what they say cannot be meant.
    """
    given = _taken(options, _PRUNING, needed="sparsity")
    if not given:
        return None
    from edge.training.pruning_plan import Pruning

    return Pruning(**given)


def taken_distillation(options: dict[str, Any]) -> Distillation | None:
    """Take the options of distillation out of all options.

    Raises:
        UsageError: some are given without --distill.
        InputError: what they say cannot be meant.
    """
    given = _taken(options, _DISTILLATION, needed="distill")
    if not given:
        return None
    from edge.training.settings import Distillation

    return Distillation(**given)


def tell_pruning(pruning: dict[str, Any]) -> None:
    """Say in two or three lines what was pruned."""
    click.echo(f"1x1 convolutions: {pruning['zeros']:,} of {pruning['parameters']:,} weights are zero "
               f"({pruning['sparsity']:.2%}, {len(pruning['layers'])} layers)")  # fmt: skip
    if not pruning["above_two_thirds"]:
        click.echo("no more than two thirds are zero: XNNPACK will compute these layers densely")
    if pruning["predicted_instructions"] is not None:
        dense, sparse = (pruning["predicted_instructions"][name] / 1e6 for name in ("dense", "sparse"))
        click.echo(f"predicted for them on a Cortex-A72, per inference: {sparse:.3g} million instructions, "
                   f"dense {dense:.3g}")  # fmt: skip


def _taken(options: dict[str, Any], names: dict[str, str], *, needed: str) -> dict[str, Any]:
    values = {name: options.pop(name) for name in names}
    given = {name: value for name, value in values.items() if value not in (None, ())}
    if given and needed not in given:
        other = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{other} goes with --{needed}")
    return {names[name]: value for name, value in given.items()}


def _decorated(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
