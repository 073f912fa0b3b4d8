"""`edge devices scan`: finds boards on the network and what is attached to this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from edge.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from devices.findings import Finding

_SSH_PORT = 22


@click.command("scan")
@click.option("--seconds", "duration_s", type=click.FloatRange(0.1, 60), default=3.0, show_default=True, metavar="S",
              help="How long to listen on the network.")  # fmt: skip
@click.option("--interface", metavar="ADDRESS", help="Listen only on this IP address of this machine.")
@json_option
def command(duration_s: float, interface: str | None, as_json: bool) -> None:
    """Find boards, serial ports and Coral accelerators.

    Boards are searched for on the network, the rest on this machine, with whether you have access to it.
    """
    from devices.discovery import scan

    found = scan(duration_s=duration_s, interface=interface)
    if as_json:
        cures = [{"what": each.what, "cure": each.fix} for each in found.cures]
        print_json({"found": [each.to_json() for each in found.findings], "looked_for": list(found.looked_for),
                    "problems": list(found.problems), "cures": cures})  # fmt: skip
        return
    for finding in found.findings:
        _show(finding, click.echo)
    for cure in found.cures:
        click.echo(f"{cure.what}\n  -> {cure.fix}")
    for problem in found.problems:
        say(problem)
    if not found.findings:
        say("nothing was found; looked for:")
        for what in found.looked_for:
            say(f"  {what}")


def _show(finding: Finding, line: Callable[[str], None]) -> None:
    line(f"{finding.name}: {finding.about}")
    if finding.kind == "board":
        port = f" --port {finding.port}" if finding.port not in (_SSH_PORT, None) else ""
        line(f"  at {', '.join(finding.addresses)}")
        line(f"  edge devices add {finding.name.partition('.')[0]} USER@{finding.name}{port}")
    if finding.note:
        line(f"  {finding.note}")
    if finding.access is not None:
        line(f"  {'you may open ' + finding.access.path if finding.access.allowed else finding.access.problem}")
        if finding.access.hint:
            line(f"  -> {finding.access.hint}")
