"""`edge devices`: lists, finds, adds, removes, describes and sets up devices."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli import devices_console, devices_setup
from edge.cli.options import F
from edge.cli.output import json_option, print_json, print_lines, print_table, say

if TYPE_CHECKING:
    from devices.ssh.enroll import Accept, Question


class Nearest(click.Group):
    """A group that suggests the nearest names for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest names."""
        from difflib import get_close_matches

        if args[0] not in self.commands and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.commands, n=2)
            meant = f" Did you mean {' or '.join(near)}?" if near else f" There are: {', '.join(self.commands)}."
            ctx.fail(f"No command '{args[0]}'.{meant}")
        return super().resolve_command(ctx, args)


def _deadline(default_s: float, what: str) -> Callable[[F], F]:
    return click.option("--deadline", "deadline_s", type=click.FloatRange(min=1), default=default_s, show_default=True,
                        metavar="S", help=f"Longest {what}, in seconds.")  # fmt: skip


@click.group(cls=Nearest, invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the devices that models can run on; find, add, describe and set up boards."""
    if context.invoked_subcommand is None:
        _list(as_json)


command.add_command(devices_setup.command)
command.add_command(devices_console.command)


@command.command("list")
@json_option
def list_devices(as_json: bool) -> None:
    """List the devices by name."""
    _list(as_json)


@command.command()
@click.argument("name")
@_deadline(30.0, "wait for the device")
@json_option
def info(name: str, deadline_s: float, as_json: bool) -> None:
    """Describe the device NAME.

    Shows board, CPU, system, clock, temperature, throttling and runtimes.
    """
    from devices.registry import find_device
    from edge.report.terminal.device_lines import fact_lines

    facts = find_device(name).facts(deadline_s=deadline_s)
    if as_json:
        print_json(facts.to_json())
        return
    print_lines(fact_lines(facts))


@command.command()
@click.argument("name")
@click.argument("destination", metavar="[USER@]HOST")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of its SSH server.  [default: as ssh]")
@click.option("--identity", type=click.Path(), metavar="FILE", help="Private key to log in with.  [default: as ssh]")
@click.option("--jump", metavar="[USER@]HOST[:PORT],...", help="Jump hosts on the way.  [default: as ssh]")
@click.option("--serial", metavar="PORT", help="Serial port it is connected to, see `edge devices console --bridge`.")
@click.option("--baud", type=click.IntRange(1, 12_000_000), help="Bit rate of the serial port.  [default: 115200]")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="Group to add it to (repeatable).")
@click.option("--fingerprint", "fingerprints", multiple=True, metavar="SHA256:...",
              help="Host key to accept, for scripts; one for each new machine on the way.")  # fmt: skip
@_deadline(20.0, "wait for the board")
@json_option
def add(
    name: str,
    destination: str,
    port: int | None,
    identity: str | None,
    jump: str | None,
    serial: str | None,
    baud: int | None,
    groups: tuple[str, ...],
    fingerprints: tuple[str, ...],
    deadline_s: float,
    as_json: bool,
) -> None:
    """Add a board that is reached by SSH as device NAME.

    Connects, shows the fingerprint of the board's host key and asks whether to accept it; the key is pinned from then
    on. HOST may be an alias of ~/.ssh/config, whose settings are the defaults. Login is by key only: from ~/.ssh,
    --identity, or the SSH agent. A board without a network is reached over a serial line with --serial PORT and
    localhost as HOST.
    """
    from devices.inventory import Board
    from devices.ssh.address import Address, parse_destination
    from devices.ssh.enroll import enroll

    user, host = parse_destination(destination)
    key = str(Path(identity).expanduser().absolute()) if identity else None
    if jump and serial:
        raise click.UsageError("--jump and --serial exclude each other: give one")
    board = Board(name, Address(host, user, port, key, jump, serial, baud), groups)
    keys = enroll(board, _accept_only(fingerprints) if fingerprints else _ask, deadline_s=deadline_s)
    if as_json:
        pinned = [{"label": each.label, "type": each.kind, "fingerprint": each.fingerprint} for each in keys]
        print_json({**board.to_json(), "pinned": pinned})
        return
    click.echo(f"added {name}: {board.address}; `edge devices info {name}` shows what it is")


@command.command()
@click.option("--seconds", "duration_s", type=click.FloatRange(0.1, 60), default=3.0, show_default=True, metavar="S",
              help="How long to listen on the network.")  # fmt: skip
@click.option("--interface", metavar="ADDRESS", help="Listen only on this IP address of this machine.")
@json_option
def scan(duration_s: float, interface: str | None, as_json: bool) -> None:
    """Find boards, serial ports and Coral accelerators.

    Boards are searched for on the network, the rest on this machine; the list shows whether you have access to each.
    """
    from devices.discovery import scan as scan_all
    from edge.report.terminal.device_lines import scan_lines

    found = scan_all(duration_s=duration_s, interface=interface)
    if as_json:
        cures = [{"what": each.what, "cure": each.fix} for each in found.cures]
        print_json({"found": [each.to_json() for each in found.findings], "looked_for": list(found.looked_for),
                    "problems": list(found.problems), "cures": cures})  # fmt: skip
        return
    for finding in found.findings:
        print_lines(scan_lines(finding))
    for cure in found.cures:
        click.echo(f"{cure.what}\n  -> {cure.fix}")
    for problem in found.problems:
        say(problem)
    if not found.findings:
        say("nothing was found; looked for:")
        for what in found.looked_for:
            say(f"  {what}")


@command.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove the board NAME and its host key from the list of devices.

    Nothing on the board changes.
    """
    from devices.ssh.enroll import forget

    board = forget(name)
    if as_json:
        print_json(board.to_json())
        return
    click.echo(f"removed {name}: {board.address}")


def _list(as_json: bool) -> None:
    from devices.registry import list_devices

    entries = list_devices().values()
    if as_json:
        print_json([{"name": each.name, "kind": each.kind, "about": each.about} for each in entries])
        return
    print_table(("NAME", "KIND", "WHAT"), [(each.name, each.kind, each.about) for each in entries])


def _accept_only(fingerprints: tuple[str, ...]) -> Accept:
    """Return a function that accepts the keys with these fingerprints and no others."""

    def accept(question: Question) -> bool:
        return question.key.fingerprint in fingerprints

    return accept


def _ask(question: Question) -> bool:
    """Show the key and ask on the terminal; without a terminal the key is refused."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    say(f"{question.where} is not known yet. Its host key:\n  {question.key}")
    if question.known_to_ssh:
        say("  (the same as in your ~/.ssh/known_hosts)")
    say("On that machine, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` must show the same.")
    return click.confirm("Pin this key?", default=False, err=True)
