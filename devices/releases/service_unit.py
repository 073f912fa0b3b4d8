"""Writes the systemd unit for a user's own program that reads the current model.

Sources: systemd.unit(5), systemd.service(5).
"""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from posixpath import basename

from devices.messages.release_jobs import UnitState
from devices.releases.errors import ReleaseError
from devices.releases.package import CURRENT_MODEL, ROOT


def unit_name(root: str) -> str:
    """Return the name of the systemd unit that goes with a root."""
    name = "model" if root.endswith(ROOT) else re.sub(r"[^A-Za-z0-9_.-]", "-", basename(root.rstrip("/")))
    return f"edge-{name}.service"


def unit_text(program: str, root: str) -> str:
    """Return a unit of the user that runs a program and starts it again when it fails.

    The program finds the model's path in EDGE_MODEL.

    Args:
        program: The program on the board, by its absolute path, with its arguments as a shell would split them.
        root: The folder of the releases on the board, as an absolute path.

    Raises:
        ReleaseError: The program has no absolute path, or cannot be parsed.
    """
    try:
        words = shlex.split(program)
    except ValueError as error:
        raise ReleaseError(f"the program {program!r} cannot be read: {error}", hint="are all quotes closed?") from error
    if not words or not PurePosixPath(words[0]).is_absolute() or any(char in program for char in "\n\r\0"):
        raise ReleaseError(
            f"the program {program!r} does not begin with an absolute path",
            hint="give its path on the board: --unit '/home/pi/app/main.py --camera 0'",
        )
    command = " ".join(map(_quote, words))
    return (
        "[Unit]\n"
        "Description=A program that reads the model deployed by edge\n"
        "\n"
        "[Service]\n"
        f"Environment={_quote(f'EDGE_MODEL={root}/{CURRENT_MODEL}', variable=True)}\n"
        f"ExecStart={command}\n"
        "Restart=on-failure\n"
        "RestartSec=2\n"
        "\n"
        "[Install]\n"
        "WantedBy=default.target\n"
    )


def describe_remaining_steps(unit: UnitState) -> tuple[str, ...]:
    """Return the commands that are left for the user to run on the board."""
    by_hand = f"systemctl --user daemon-reload && systemctl --user enable --now {unit.name}"
    linger = "sudo loginctl enable-linger $USER   # so that it starts at boot"
    return (*(() if unit.running else (by_hand,)), *(() if unit.lingers else (linger,)))


def _quote(word: str, *, variable: bool = False) -> str:
    """Return a word so that systemd takes it as it is: specifiers and, in a command, variables are not expanded."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text if variable else text.replace("$", "$$")}"'
