"""`edge doctor`: shows what is installed, what is missing, why it matters and how to get it."""

from __future__ import annotations

import click

from converters.errors import MissingPartError
from edge.cli.output import json_option, print_json, print_lines
from edge.doctor.diagnosis import JOBS, Diagnosis, diagnose
from edge.report.terminal.device_lines import diagnosis_lines


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
        print_lines(diagnosis_lines(diagnosis, JOBS))
    _judge(diagnosis, jobs or JOBS)


def _judge(diagnosis: Diagnosis, jobs: tuple[str, ...]) -> None:
    blockers = diagnosis.blockers(*jobs)
    if blockers:
        blocked = [job for job in jobs if diagnosis.blockers(job)]
        raise MissingPartError(
            f"cannot {', '.join(blocked)} here: {', '.join(f'{item.name} ({item.detail})' for item in blockers)}",
            hint="; ".join(dict.fromkeys(item.how for item in blockers if item.how)) or None,
        )
