"""`edge train`: trains a model on labelled images and writes a .keras file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.options import MODES, SHAPE, SHARE, collect, take
from edge.cli.output import json_option, print_json, progress, say
from edge.cli.train_sparse import (
    distillation_options,
    pruning_options,
    show_pruning,
    take_distillation,
    take_pruning,
)

if TYPE_CHECKING:
    from edge.training.checkpoints import Epoch
    from edge.training.outcome import TrainingResult
    from edge.training.training_loop import TrainingCallbacks

_AUGMENT = click.Choice(["flip", "shift"])


@click.command()
@click.argument("model")
@click.option("--data", required=True, help="Folder of class folders, folder with labels.csv, .npz, or 'digits'.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="The .keras file to write.  [default: by the model's name, in the current folder]")  # fmt: skip
@click.option(
    "--image-size", type=click.IntRange(min=1), help="Height and width of the input in pixels.  [default: the model's]"
)
@click.option("--classes", type=click.IntRange(min=2), help="Number of classes.  [default: from the data]")
@click.option("--alpha", type=click.FloatRange(min=0, min_open=True), help="Width multiplier, for models that take it.")
@click.option("--padding", type=click.Choice(["same", "symmetric"]),
              help="Padding of stride 2, for models that take it; sparse kernels need symmetric.")  # fmt: skip
@click.option("--preprocessing", "mode", type=MODES, help="How pixels are scaled.  [default: the model's]")
@click.option(
    "--epochs", type=click.IntRange(min=1), default=12, show_default=True, help="Passes over the training data."
)
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Samples per step.")
@click.option("--lr", "learning_rate", type=click.FloatRange(min=0, min_open=True), default=2e-3, show_default=True,
              help="Highest learning rate, after a warm-up; it then falls as a cosine.")  # fmt: skip
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of weights, data order and augmentation.",
)
@click.option("--validation", type=SHARE, default=0.1,
              show_default=True, help="Fraction of the data that decides which epoch is best.")  # fmt: skip
@click.option("--test", type=SHARE, default=0.2, show_default=True,
              help="Fraction of the data kept for the test, if there is no test part.")  # fmt: skip
@click.option("--patience", type=click.IntRange(min=1), default=5, show_default=True,
              help="Stop after this many epochs without a lower validation loss.")  # fmt: skip
@click.option("--augment", multiple=True, type=_AUGMENT, help="Vary the images at random (repeatable).")
@click.option("--limit", type=click.IntRange(min=1), help="Use only this many samples, class-balanced.")
@click.option("--checkpoint-dir", "checkpoints", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the state after each epoch.  [default: next to --out]")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint.")
@pruning_options
@distillation_options
@json_option
def command(as_json: bool, **options: object) -> None:
    """Train MODEL, a name of `edge models` or a .keras file, on labelled images.

    Next to the .keras file, NAME.json (how to feed the model, its labels, the measured accuracy) and
    NAME-history.json are written. An interrupted training continues with --resume.

    With --sparsity the 1x1 convolutions are pruned during the training; the first convolution, depthwise ones and
    the classifier stay dense.
    """
    from edge.training.training_loop import train
    from edge.training.training_settings import TrainingSettings, default_out

    pruning = take_pruning(options)
    options["out"] = options["out"] or default_out(str(options["model"]), pruned=pruning is not None)
    parts = {"arguments": take(options, *SHAPE), "pruning": pruning, "distillation": take_distillation(options)}
    settings = collect(TrainingSettings, options, **parts)
    try:
        with progress("training", settings.epochs) as advance:
            result = train(settings, _watch(settings.epochs, advance))
    except KeyboardInterrupt:
        say(f"interrupted; the state after the last complete epoch is in "
            f"{settings.checkpoint_folder}, --resume continues from there")  # fmt: skip
        raise
    print_json(result.to_json()) if as_json else _show(result)


def _watch(epochs: int, advance: Callable[[int, str], None]) -> TrainingCallbacks:
    from edge.training.training_loop import TrainingCallbacks

    def on_epoch(epoch: Epoch) -> None:
        zeros = "" if epoch.sparsity is None else f"{epoch.sparsity:.1%} zeros  "
        text = (f"epoch {epoch.epoch}/{epochs}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.2%}  validation loss "
                f"{epoch.val_loss:.4f}  accuracy {epoch.val_accuracy:.2%}  {zeros}"
                f"{epoch.duration_s:.1f} s")  # fmt: skip
        say(text)
        advance(1, "")

    return TrainingCallbacks(
        on_step=lambda epoch, step, steps: advance(0, f"epoch {epoch}, batch {step} of {steps}"),
        on_epoch=on_epoch,
        on_note=say,
    )


def _show(result: TrainingResult) -> None:
    early = ", stopped early" if result.stopped_early else ""
    click.echo(f"{result.file}: {result.parameters:,} parameters, {result.classes} classes")
    click.echo(f"test accuracy {result.test.accuracy:.2%} ({result.test.correct} of {result.test.of}): measured on "
               f"{result.measured_on}")  # fmt: skip
    if result.pruning is not None:
        show_pruning(result.pruning)
    click.echo(f"epoch {result.best_epoch} of {result.epochs} is kept{early}; trained for {result.training_s:.1f} s; "
               f"history in {result.history_file}")  # fmt: skip
