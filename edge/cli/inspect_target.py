"""The part of `edge inspect` that judges a file for a target: where it runs, and whether sparse kernels will."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import click

from converters.targets import Cluster, SparsePrediction, Target, place_operators, predict_sparse
from converters.tflite.values import ModelInfo

_WIDTH = 80
_MARGIN = 16


def judge(model: ModelInfo, target: Target, runtime: str | None) -> dict[str, Any]:
    """Return the JSON value `target` of an inspection."""
    prediction = predict_sparse(model, target, runtime)
    return {
        "name": target.name,
        "board": target.board,
        "cpu": target.cpu,
        "runtime": prediction.runtime,
        "operators": [dataclasses.asdict(each) for each in place_operators(model, target, prediction)],
        "sparse": prediction.to_json(),
    }


def show(model: ModelInfo, target: Target, runtime: str | None) -> None:
    """Print the verdict for a target, and what to change, in 80 columns."""
    prediction = predict_sparse(model, target, runtime)
    click.echo(f"\nTarget {target.name}")
    fact("board", f"{target.board}, {target.cpu}")
    fact("runtime", prediction.runtime + ("" if runtime else " (--runtime NAME==VERSION judges another)"))
    fact("sparse kernels", _verdict(prediction))
    for number, cluster in enumerate(prediction.clusters):
        fact("" if number else "clusters", _cluster(cluster))
    for number, reason in enumerate(prediction.reasons):
        if not number:
            click.echo("\nReasons, the ones to act on first")
        head = f"  {number + 1}. "
        click.echo(wrapped(reason.text, head, " " * len(head)))
        if reason.tensor:
            click.echo(wrapped(f"tensor {reason.tensor.partition(';')[0]}", " " * len(head), " " * len(head)))
        if reason.change:
            click.echo(wrapped(reason.change, " " * len(head) + "-> ", " " * (len(head) + 3)))


def _verdict(prediction: SparsePrediction) -> str:
    if prediction.refused:
        return "none: the runtime will NOT LOAD this file, see below"
    warning = " - and the results would be WRONG, see below" if prediction.corrupts else ""
    if prediction.engages is None:
        return "not known: this was not measured" + warning
    if not prediction.engages:
        return f"none of {prediction.of} 1x1 convolutions will run sparse{warning}"
    return f"{prediction.ran} of {prediction.of} 1x1 convolutions will run sparse{warning}"


def _cluster(cluster: Cluster) -> str:
    share = "no weights" if cluster.share is None else f"{cluster.share:.1%} of {cluster.parameters:,} 1x1 weights zero"
    span = f"operators {cluster.operators[0]} to {cluster.operators[-1]}"
    verdict = {True: "sparse", False: "dense", None: "not known"}[cluster.engages]
    return f"{span}: {cluster.pointwise} 1x1 convolutions, {share}, {cluster.encoded} stored sparse: {verdict}"


def fact(name: str, text: str) -> None:
    """Print one line of a verdict, wrapped behind its name."""
    click.echo(wrapped(text, f"  {name}".ljust(_MARGIN) + " ", " " * (_MARGIN + 1)))


def wrapped(text: str, head: str, margin: str) -> str:
    """Return text in 80 columns, without what could move a terminal's cursor."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return click.wrap_text(" ".join(_pieces(clean)), _WIDTH, initial_indent=head, subsequent_indent=margin)


def _pieces(text: str) -> Iterator[str]:
    """Cut words that no line could hold: names of tensors have no spaces."""
    for word in text.split():
        room = _WIDTH - 20
        yield " ".join(word[start : start + room] for start in range(0, len(word), room))
