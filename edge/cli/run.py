"""`edge run`: classifies images with a .tflite file."""

from __future__ import annotations

from pathlib import Path

import click

from converters.printable import printable
from devices.registry import find_device
from edge.cli.options import MODES, collect, delegate_options, take_delegates
from edge.cli.output import json_option, print_json, print_table, say
from edge.runtime.interpreters import RUNTIMES
from edge.workflows.inference import (
    DEADLINE_S,
    Inference,
    InferenceRequest,
    InferenceSession,
    Prediction,
    run_inference,
)


@click.command("run")
@click.argument("model", type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.argument("sources", type=click.Path(path_type=Path), metavar="IMAGE...", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Number of classes to print.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Number of threads.")
@click.option("--runtime", metavar="NAME", help=f"{', '.join(RUNTIMES)}.  [default: the first installed]")
@click.option("--labels", metavar="FILE|imagenet", help="Class names, one per line.  [default: those of the artifact]")
@click.option("--preprocess", type=MODES, help="How pixels are scaled.  [default: as the artifact records it]")
@delegate_options
@click.option("--on", "device", default="local", show_default=True, help="Name of the device, see `edge devices`.")
@click.option(
    "--deadline", "deadline_s", type=click.FloatRange(0, min_open=True), default=DEADLINE_S, show_default=True,
    metavar="SECONDS", help="Stop inference that takes longer.",
)  # fmt: skip
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    device: str,
    as_json: bool,
    **options: object,
) -> None:
    """Run a .tflite file on images and print the classes it sees.

    IMAGE is an image file, a .npy array, or a .npz archive with one array per input. The model is verified, then run
    in a child process, so that a damaged file ends with a message.
    """
    request = collect(InferenceRequest, options, delegates=take_delegates(options))
    if isinstance(context.obj, InferenceSession):  # whoever calls the command many times keeps one child process
        inference = run_inference(request, context.obj)
    else:
        with InferenceSession(find_device(device)) as session:
            inference = run_inference(request, session)
    for note in inference.notes:
        say(f"note: {note}")
    if as_json:
        print_json(_as_json(inference))
        return
    for prediction in inference.predictions:
        _show(prediction)


def _show(prediction: Prediction) -> None:
    click.echo(f"{prediction.source}:")
    if prediction.classes is not None:
        rows = [
            [f"{guess.score:.4f}", str(guess.index), printable(guess.label or "(no name)")]
            for guess in prediction.classes
        ]
        print_table(["score", "class", "name"], rows, right=(0, 1))
        return
    rows = [
        [
            printable(each.name),
            "x".join(map(str, each.shape)),
            each.dtype,
            _number(each.minimum),
            _number(each.maximum),
            _number(each.mean),
        ]
        for each in prediction.outputs
    ]
    print_table(["output", "shape", "type", "min", "max", "mean"], rows, right=(3, 4, 5))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _as_json(inference: Inference) -> dict[str, object]:
    return {
        "model": str(inference.model),
        "runtime": {"name": inference.runtime, "version": inference.runtime_version},
        "preprocessing": inference.preprocessing,
        "predictions": [_prediction_json(prediction) for prediction in inference.predictions],
    }


def _prediction_json(prediction: Prediction) -> dict[str, object]:
    classes = None
    if prediction.classes is not None:
        classes = [
            {
                "index": guess.index,
                "label": guess.label,
                "score": guess.score if abs(guess.score) < float("inf") else None,
            }
            for guess in prediction.classes
        ]
    outputs = [{**vars(each), "shape": list(each.shape)} for each in prediction.outputs]
    return {"source": str(prediction.source), "top": classes, "outputs": outputs}
