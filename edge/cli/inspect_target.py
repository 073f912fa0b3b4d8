"""Prints the analysis of a file for a board: which sparse kernels will run, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

import click

from converters.targets.analysis import Analysis
from converters.targets.sparse_prediction import Cluster, SparsePrediction

_WIDTH = 80
_MARGIN = 16


def show(analysis: Analysis, *, hint: bool) -> None:
    """Print the analysis for a board, and what to change, in 80 columns.

    Args:
        analysis: of the file.
        hint: whether to name the option that chooses another runtime.
    """
    target, prediction = analysis.target, analysis.sparse
    click.echo(f"\nTarget {target.name}")
    fact("board", f"{target.board}, {target.cpu}")
    fact("runtime", prediction.runtime + (" (--runtime NAME==VERSION selects another)" if hint else ""))
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
