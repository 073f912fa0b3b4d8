"""`edge doctor`: shows what is installed, what is missing, why it matters and how to get it."""

from __future__ import annotations

from itertools import groupby

import click

from converters.errors import MissingPartError
from edge.cli.output import json_option, print_json
from edge.doctor.diagnosis import JOBS, Diagnosis, Finding, diagnose

_WIDTH = 80
_MARGIN = 10
# What is missing there keeps none of the jobs from running.
_OPTIONAL = ("coral", "programs")


@click.command("doctor")
@click.option(
    "--job",
    "jobs",
    multiple=True,
    type=click.Choice(JOBS),
    help="Check only these jobs (repeatable); on a board: --job run --job profile.  [default: all]",
)
@json_option
def command(*, jobs: tuple[str, ...], as_json: bool) -> None:
    """Show what is installed, what is missing, why it matters and how to get it.

    The exit status is 0 if the jobs can run here, 8 if a part they need is missing or unusable.
    """
    diagnosis = diagnose()
    if as_json:
        print_json(diagnosis.to_json())
    else:
        _show(diagnosis)
    _judge(diagnosis, jobs or JOBS)


def _judge(diagnosis: Diagnosis, jobs: tuple[str, ...]) -> None:
    blockers = diagnosis.blockers(*jobs)
    if blockers:
        blocked = [job for job in jobs if diagnosis.blockers(job)]
        raise MissingPartError(
            f"cannot {', '.join(blocked)} here: {', '.join(f'{item.name} ({item.detail})' for item in blockers)}",
            hint="; ".join(dict.fromkeys(item.how for item in blockers if item.how)) or None,
        )


def _show(diagnosis: Diagnosis) -> None:
    for section, findings in groupby(diagnosis.findings, key=lambda item: item.section):
        click.echo(f"{section}, each optional" if section in _OPTIONAL else section)
        for item in findings:
            _show_finding(item)
    click.echo("jobs")
    for job in JOBS:
        blockers = diagnosis.blockers(job)
        waits = f": needs {', '.join(item.name for item in blockers)}" if blockers else ""
        click.echo(f"  {'missing' if blockers else 'ok':8}{job}{waits}")


def _show_finding(item: Finding) -> None:
    _wrapped(f"  {item.state:8}", f"{item.name}: {item.detail}")
    _wrapped("", item.why)
    if item.how:
        _wrapped("", f"-> {item.how}")


def _wrapped(head: str, text: str) -> None:
    margin = " " * _MARGIN
    click.echo(click.wrap_text(text, _WIDTH, initial_indent=head or margin, subsequent_indent=margin))
