"""What `edge profile` prints: results to stdout; failures, alarms and, beside JSON, advice to stderr."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from edge.cli.output import print_json, say, show_error
from edge.errors import MeasurementInvalid
from edge.measure.advice import AdviceCriteria, advice_on
from edge.measure.measurement import Measurement, as_document
from edge.measure.profile_files import MeasuringFailure, Profiled
from edge.measure.sparse_proof import alarms_in
from edge.report.terminal.advice_lines import advice_text
from edge.report.terminal.measurement_lines import summary


def say_failure(failure: MeasuringFailure) -> None:
    """Tell a failure as soon as it happened."""
    show_error(failure.error, of=f"{failure.path} on {failure.device}")


def show(found: Profiled, *, as_json: bool, as_list: bool, terms: AdviceCriteria) -> None:
    """Print the measurements, and with several of them what to ship."""
    measurements = found.measurements
    advice = advice_text(advice_on(measurements, terms)) if as_list and measurements else ""
    if not as_json:
        parts = [*(summary(each, alarmed=red) for each in measurements), *([advice] if advice else [])]
        click.echo("\n\n".join(parts), nl=bool(parts))
        return
    if as_list or measurements:
        print_json(as_document(measurements, as_list=as_list))
    if advice:
        say(advice)
    for alarm in alarms_in(measurements):
        say(red(f"ALARM: {alarm}"))


def end(found: Profiled, *, strict: bool) -> None:
    """Raise for the first failure; where strictness is asked for, also for what must not be relied on."""
    found.check()
    if strict:
        _check(found.measurements)


def red(line: str) -> str:
    """Return a line in red; what is written elsewhere than to a terminal loses the colour."""
    return line if os.environ.get("NO_COLOR") else click.style(line, fg="red", bold=True)


def _check(measurements: Sequence[Measurement]) -> None:
    invalid = [each.artifact.name for each in measurements if not each.validity.valid]
    alarms, count = alarms_in(measurements), len(measurements)
    said, hints = [], []
    if invalid:
        said.append(f"{len(invalid)} of {count} measurements are invalid: {', '.join(invalid)}")
        hints.append("quieten the machine, pin its clock, or measure longer (--window-seconds); the reasons are above")
    if alarms:
        said.append(f"{len(alarms)} of {count} measurements raise an alarm: {'; '.join(alarms)}")
        hints.append(
            "`edge inspect FILE --target BOARD` tells what was expected; do not ship the file before it is clear"
        )
    if said:
        raise MeasurementInvalid("; ".join(said), hint="; ".join(hints))
