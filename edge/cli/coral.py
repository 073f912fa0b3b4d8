"""`edge coral`: predicts how models share an Edge TPU, and splits a model for several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.devices import Nearest
from edge.cli.output import json_option, print_json, print_table, say
from edge.report.formatting import mebibytes
from edge.report.terminal.text_layout import paragraph

if TYPE_CHECKING:
    from converters.edgetpu.caching import CachePrediction
    from edge.workflows.splitting import Segmented

_ESTIMATE = "an estimate: the memory left by program and activations differs between models (6.1 to 7.9 MiB observed)"


@click.group(cls=Nearest)
def command() -> None:
    """Predict how models share an Edge TPU, or split one model for several."""


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@json_option
def cache(files: tuple[Path, ...], as_json: bool) -> None:
    """Predict how models share the memory of one Edge TPU.

    FILE is an uncompiled model; the models take turns on the chip. Compiled together, the first gets the memory it
    needs of the chip's 8 MB, the next what remains; all other parameters are streamed for each inference. The order is
    the priority.
    """
    from converters.edgetpu.caching import predict_caching
    from converters.tflite.reader import read_model

    found = predict_caching([(str(file), read_model(file)) for file in files])
    if as_json:
        print_json(found.to_json())
        return
    _show_cache(found)


@command.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.option("--count", type=int, required=True, metavar="N", help="Number of pieces, one per Edge TPU.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the pieces.")
@click.option("--check/--no-check", default=True, show_default=True,
              help="Run the model and the chain here, and compare their outputs bit by bit.")  # fmt: skip
@json_option
def segment(file: Path, count: int, out: Path, check: bool, as_json: bool) -> None:
    """Split an uncompiled model into N files that run in sequence.

    The parameters are distributed evenly. The chain's outputs are bit-identical, which is checked before anything is
    written. FILE-segments.json lists which outputs feed which inputs. Compile each piece afterwards.
    """
    from edge.workflows.splitting import segment_file

    found = segment_file(file, count, out, check=check)
    if as_json:
        print_json(found.to_json())
        return
    _show_segments(found)


def _show_cache(found: CachePrediction) -> None:
    rows = []
    for number, each in enumerate(found.models, 1):
        sizes = map(mebibytes, (each.parameter_bytes, each.cached_bytes, each.streamed_bytes))
        rows.append((str(number), each.name, *sizes, "" if each.certain else "not certain"))
    print_table(("", "model", "parameters", "cached", "streamed each inference", ""), rows, right=(0, 2, 3, 4))
    if found.fits:
        left, usable = mebibytes(found.left_bytes), mebibytes(found.usable_bytes)
        click.echo(f"all stay on the chip together, about {left} of {usable} left")
    else:
        click.echo(paragraph("not all fit: put the model that runs most often first, or use one Edge TPU each", "  "))
    for each in found.models:
        if each.pieces > 1:
            click.echo(f"{each.name} alone needs {each.pieces} Edge TPUs:\n"
                       f"  edge coral segment {each.name} --count {each.pieces} --out pieces")  # fmt: skip
    if len(found.models) > 1:
        loads = ", ".join(map(mebibytes, found.apart_bytes))
        click.echo(paragraph(f"compiled separately, each change of model would reload its parameters: {loads}", "  "))
        click.echo(f"to compile them together:\n  edgetpu_compiler {' '.join(each.name for each in found.models)}")
    say(paragraph(_ESTIMATE, "  "))


def _show_segments(found: Segmented) -> None:
    rows = [
        (file.name, str(each.operators), mebibytes(each.parameter_bytes), str(len(each.inputs)), str(len(each.outputs)),
         f"{sum(b.bytes or 0 for b in each.inputs):,}")
        for file, each in zip(found.files, found.segmentation.segments, strict=True)
    ]  # fmt: skip
    print_table(("piece", "operators", "parameters", "inputs", "outputs", "bytes in"), rows, right=(1, 2, 3, 4, 5))
    if found.checked is not None:
        text = f"the chain gives the whole model's outputs bit for bit ({found.checked:,} values compared)"
    else:
        text = f"the chain was not compared with the whole model: {found.unchecked}"
    click.echo(paragraph(text, "  "))
    click.echo(paragraph(f"written to {found.manifest.parent}, see {found.manifest.name}", "  "))
