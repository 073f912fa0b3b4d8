"""Asking a device's agent what the device is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from devices.errors import UnreachableError
from devices.facts import Facts

if TYPE_CHECKING:
    from devices.contract import Device

REQUEST = b'{"id":1,"job":"facts"}\n'


def read_facts(device: Device, *, deadline_s: float) -> Facts:
    """Start the agent for one job, `facts`, and parse what it says.

    Raises:
        UnreachableError: The agent did not start, or answered something else.
        DeadlineError: It did not answer in time.
    """
    done = device.run(device.agent_argv(), deadline_s=deadline_s, stdin=REQUEST)
    for line in done.stdout.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            break
        if isinstance(answer, dict) and answer.get("id") == 1 and answer.get("ok") is True:
            return Facts.parse(device.name, device.kind, answer["result"])
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    raise UnreachableError(
        f"the agent on {device.name} ended with {done.exit} and stated no facts",
        hint=f"it wrote: {said[-1][:200]}" if said else None,
    )
