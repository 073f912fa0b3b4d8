"""`edge models`: lists the models that can be built by name."""

from __future__ import annotations

import click

from edge.cli.output import json_option, print_json, print_table
from edge.models import ModelSpec, specs

_COLUMNS = ("name", "parameters", "MACs", "input", "classes", "top-1", "on", "published in")
_NUMBERS = (1, 2, 4, 5)


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the models that can be built by name.

    Parameters are counted by Keras; MACs are multiply-accumulates for one image; both for the default arguments. Top-1
    is the published figure, with its source.
    """
    if as_json:
        print_json([_as_json(spec) for spec in specs()])
    else:
        print_table(_COLUMNS, [_row(spec) for spec in specs()], right=_NUMBERS)


def _row(spec: ModelSpec) -> tuple[str, ...]:
    side = spec.image_size
    top1 = "-" if spec.top1_percent is None else f"{spec.top1_percent:.2f} %"
    return (spec.name, f"{spec.parameters:,}", f"{spec.macs:,}", f"{side}x{side}x3", str(spec.classes), top1,
            spec.dataset, spec.top1_source or "-")  # fmt: skip


def _as_json(spec: ModelSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "parameters": spec.parameters,
        "trainable": spec.trainable,
        "fused": spec.fused,
        "macs": spec.macs,
        "input": [spec.image_size, spec.image_size, 3],
        "classes": spec.classes,
        "preprocessing": {"mode": spec.mode, "note": spec.preprocessing_note},
        "published": {
            "dataset": spec.dataset,
            "top1_percent": spec.top1_percent,
            "source": spec.top1_source,
        },
        "source": spec.source,
        "imagenet_weights": spec.keras_weights,
        "arguments": dict(spec.defaults),
    }
