"""`edge rollback`: switches devices back to an earlier release."""

from __future__ import annotations

import click

from edge.cli.options import Names
from edge.cli.output import json_option
from edge.cli.releases import on_devices, root_option, show_released


@click.command("rollback")
@click.option("--on", "names", type=Names(), required=True, metavar="NAME[,NAME...]",
              help="Devices or groups of devices, see `edge devices`.")  # fmt: skip
@click.option("--to-release", "to", metavar="ID",
              help="Id or number, see `edge deploy --status`.  [default: the release before]")  # fmt: skip
@root_option
@click.option("--check/--no-check", default=True, show_default=True,
              help="With or without golden vectors; SHA-256 sums are always compared.")  # fmt: skip
@json_option
def command(names: tuple[str, ...], to: str | None, root: str | None, check: bool, as_json: bool) -> None:
    """Switch back to the release before, or to the one named.

    A release whose files have changed since it was deployed is refused. Nothing is sent; the switch is atomic.
    """
    from edge.workflows.deployment import rollback

    on_devices(
        names,
        lambda device, step: rollback(device, to, root=root, check=check, on_step=step),
        show_released,
        as_json=as_json,
    )
