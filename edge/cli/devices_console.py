"""`edge devices console`: prepares a new board over its serial console."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.output import json_option, print_json, say
from edge.errors import InputError

if TYPE_CHECKING:
    from firmware_tools.console.provision import Provisioned

_SSH_PORT = 22
_KEY_HINT = "give a file such as ~/.ssh/id_ed25519.pub; `ssh-keygen -t ed25519` makes one"


@click.command("console")
@click.option(
    "--port", required=True, metavar="PORT", help="Serial port, such as /dev/ttyUSB0; see `edge devices scan`."
)
@click.option("--baud", type=click.IntRange(1, 12_000_000), default=115200, show_default=True, help="Bits per second.")
@click.option(
    "--user",
    default="pi",
    show_default=True,
    callback=lambda context, option, name: _user(name),
    help="User to log in as.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it.")
@click.option("--ssh-key", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.pub",
              help="Public key to install for the user.")  # fmt: skip
@click.option("--hostname", help="The board's new name.")
@click.option("--enable-ssh", is_flag=True, help="Start the board's SSH server, now and at each start.")
@click.option("--bridge", is_flag=True, help="Connect the serial line to the board's SSH server.")
@click.option("--ssh-port", type=click.IntRange(1, 65535), default=_SSH_PORT, show_default=True,
              help="Port of the SSH server on the board, for the bridge.")  # fmt: skip
@json_option
def command(
    port: str,
    baud: int,
    user: str,
    password_stdin: bool,
    ssh_key: Path | None,
    hostname: str | None,
    enable_ssh: bool,
    bridge: bool,
    ssh_port: int,
    as_json: bool,
) -> None:
    """Log in on a board's serial console and prepare the board.

    Shows the board's addresses. Passwords are read without an echo, and sent only where the board does not echo them.
    The user is logged out at the end.

    With --bridge a small program replaces the shell on the line and connects it to the board's SSH server, with check
    sums: `edge devices add NAME USER@localhost --serial PORT` then makes the board a normal, if slow, device. The
    bridge ends when the board restarts or this command runs again.
    """
    from firmware_tools.console.provision import Steps, provision
    from firmware_tools.line import SerialLine

    steps = Steps(_key(ssh_key), hostname, enable_ssh, ssh_port if bridge else None)
    with SerialLine(port, baud=baud) as line:
        found = provision(line, user, steps, _password(user, from_stdin=password_stdin), on_step=say)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _show(found, port, ssh_key)


def _user(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", name, re.IGNORECASE):
        raise click.BadParameter(f"{name!r} cannot be a user's name: letters, digits, '_', '.', '-', 32 at most")
    return name


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.expanduser().read_text("utf-8").strip()
    except FileNotFoundError as error:
        raise InputError(f"there is no key {file}", hint=_KEY_HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"cannot read the key {file}: {why}", hint=_KEY_HINT) from error


def _password(user: str, *, from_stdin: bool) -> Callable[[str], str]:
    """Return a function that asks for the password once."""
    known: list[str] = []

    def ask(what: str) -> str:
        if not known:
            if from_stdin:
                known.append(sys.stdin.readline().rstrip("\n"))
            elif sys.stdin.isatty():
                known.append(click.prompt(f"Password of {user} on the board", hide_input=True, err=True))
            else:
                raise InputError("the board asks for a password", hint="without a terminal, --password-stdin reads it")
        return known[0]

    return ask


def _show(found: Provisioned, port: str, ssh_key: Path | None) -> None:
    click.echo(f"{found.hostname}, logged in as {found.user}")
    for each in found.addresses:
        click.echo(f"  {each.interface:<10} {each.address}")
    if not found.addresses:
        click.echo("  no address: it has no network")
    if found.key is not None:
        click.echo(f"key {ssh_key}: {'added' if found.key == 'added' else 'was already installed'}")
    if found.bridge:
        click.echo(f"bridge on {port}: `edge devices add NAME {found.user}@localhost --serial {port}` uses it")
