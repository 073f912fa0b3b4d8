"""`edge compare`: decides whether one measurement is slower than another."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.output import json_option, print_json
from edge.errors import InputError, MeasurementInvalid, RegressionFound
from edge.measure.comparability import NotComparable
from edge.measure.comparison import ComparisonResult, compare
from edge.measure.measurement_files import load_measurements
from edge.measure.verdict import INCONCLUSIVE, SLOWER, VerdictCriteria
from edge.report.terminal.verdict_lines import comparison_summary, objection_text

if TYPE_CHECKING:
    _Type = click.ParamType[float]
else:  # generic only since click 8.4
    _Type = click.ParamType


class Percent(_Type):
    """A share written with its sign, "5%", so that 0.05 cannot be mistaken for it."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share: 0.05 for "5%"."""
        if isinstance(value, float):
            return value
        number, sign, rest = str(value).partition("%")
        try:
            share = float(number) / 100
        except ValueError:
            share = math.nan
        if not sign or rest.strip() or not 0 <= share < math.inf:
            self.fail(f"{value!r} is not a percentage: write it like 5%", param, ctx)
        return share


@click.command()
@click.argument("before", type=click.Path(path_type=Path), metavar="A.json")
@click.argument("after", type=click.Path(path_type=Path), metavar="B.json")
@click.option("--fail-if-slower", type=Percent(), metavar="PERCENT",
              help="Exit with status 12 if B is slower than A by more than this, such as 5%.")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(0.0001, 0.5), default=0.05, show_default=True,
              help="Accepted probability of a wrong verdict.")  # fmt: skip
@click.option("--fail-if-inconclusive", is_flag=True, help="Exit with status 11 if the test is inconclusive.")
@click.option("--force", is_flag=True, help="Compare what is invalid, or differs in device, threads or runtime.")
@json_option
def command(
    before: Path,
    after: Path,
    fail_if_slower: float | None,
    alpha: float,
    fail_if_inconclusive: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Decide whether the measurements in B are slower than those in A.

    An exact test on the medians of the windows gives the verdict: slower or faster (by more than the percentage), not
    slower, or inconclusive. Without --fail-if-slower the percentage is 5% and the exit status 0. Models are matched by
    name and device. Several measurements of one model in a file are repeats; four on each side also cover the
    differences between processes.
    """
    criteria = VerdictCriteria(alpha=alpha)
    if fail_if_slower is not None:
        criteria = replace(criteria, margin=fail_if_slower)
    try:
        outcome = compare(load_measurements(before), load_measurements(after), criteria, force=force)
    except NotComparable as refusal:
        raise InputError(objection_text(refusal), hint=refusal.hint) from refusal
    if as_json:
        print_json(outcome.to_json())
    else:
        click.echo(comparison_summary(outcome))
    _end(outcome, fail_if_slower=fail_if_slower is not None, fail_if_inconclusive=fail_if_inconclusive)


def _end(outcome: ComparisonResult, *, fail_if_slower: bool, fail_if_inconclusive: bool) -> None:
    by_verdict = {verdict: _names(outcome, verdict) for verdict in (SLOWER, INCONCLUSIVE)}
    if fail_if_slower and by_verdict[SLOWER]:
        raise RegressionFound(f"slower than allowed: {', '.join(by_verdict[SLOWER])}")
    if fail_if_inconclusive and by_verdict[INCONCLUSIVE]:
        raise MeasurementInvalid(
            f"inconclusive: {', '.join(by_verdict[INCONCLUSIVE])}",
            hint="measure with more or longer windows, or on a quieter machine",
        )


def _names(outcome: ComparisonResult, verdict: str) -> list[str]:
    return [each.name for each in outcome.comparisons if each.finding.verdict == verdict]
