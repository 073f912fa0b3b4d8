"""`edge devices`: list the devices and what they are."""

from __future__ import annotations

import click

from edge.cli.devices_setup import command as setup
from edge.cli.output import json_option, print_json, print_table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the devices that models can run on, or show what one of them is."""
    if context.invoked_subcommand is None:
        _list(as_json)


@command.command("list")
@json_option
def list_devices(as_json: bool) -> None:
    """List the devices by name."""
    _list(as_json)


@command.command()
@click.argument("name")
@click.option("--deadline", "deadline_s", type=click.FloatRange(min=1), default=30.0, show_default=True, metavar="S",
              help="Longest wait for the device, in seconds.")  # fmt: skip
@json_option
def info(name: str, deadline_s: float, as_json: bool) -> None:
    """Show what the device NAME is: board, CPU, system, clock, temperature, runtimes."""
    from devices.describe import lines
    from devices.registry import find_device

    facts = find_device(name).facts(deadline_s=deadline_s)
    if as_json:
        print_json(facts.to_json())
        return
    click.echo("\n".join(lines(facts)))


def _list(as_json: bool) -> None:
    from devices.registry import DEVICES

    entries = DEVICES.values()
    if as_json:
        print_json([{"name": each.name, "kind": each.kind, "about": each.about} for each in entries])
        return
    print_table(("NAME", "KIND", "WHAT"), [(each.name, each.kind, each.about) for each in entries])


command.add_command(setup)
