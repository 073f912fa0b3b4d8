"""The option that says how much accuracy may be given up for speed, of `edge profile` and `edge report`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edge.measure.advice import AdviceCriteria

F = TypeVar("F", bound=Callable[..., Any])


def _terms(context: click.Context, option: click.Parameter, points: float) -> AdviceCriteria:
    return AdviceCriteria(loss=points / 100)


loss_option: Callable[[F], F] = click.option(
    "--accuracy-loss", "terms", type=click.FloatRange(0, 100), metavar="POINTS", default=100 * AdviceCriteria().loss,
    show_default=True, callback=_terms, help="How much less accurate than the best a variant may be that is advised.",
)  # fmt: skip
