"""Sets up a TFLite runtime on a device: chooses it, installs it, and verifies that it works there."""

from __future__ import annotations

import sys
import time
from typing import Protocol, runtime_checkable

from devices.contract import Device
from devices.solver.errors import SetupError
from devices.solver.installation import Installation
from devices.solver.setup_result import OnStep, SetupResult, ignore_step
from devices.solver.solve import Solution, solve

DEADLINE_S = 900.0


@runtime_checkable
class RuntimeOwner(Protocol):
    """A device that makes the environment of its runtime itself, as emulated boards do."""

    def plan_runtime(self, want: str | None) -> Solution:
        """Return what `set_up_runtime` would choose."""

    def set_up_runtime(self, want: str | None, *, deadline_s: float, on_step: OnStep) -> SetupResult:
        """Choose and build the runtime, and verify that it works; else the previous one stays in use."""


def setup(
    device: Device, want: str | None = None, *, deadline_s: float = DEADLINE_S, on_step: OnStep | None = None
) -> SetupResult:
    """Install a runtime into the board's private environment (~/.local/share/edge-convert/venv).

    The system's packages are not changed, and the board accesses no package index. The new environment is built
    alongside the one in use and takes its place only after two models have run in it with the right answers; whatever
    fails before that leaves the board as it was. Wheels that are there already are not sent again.

    Args:
        device: A board; not this machine. An emulated one makes its environment itself, on this machine.
        want: See `devices.solver.solve.solve`.
        deadline_s: Longest time for everything.
        on_step: Called as work goes on.

    Raises:
        NoRuntimeFits: Nothing fits, or not what was asked for.
        WheelError: The wheels are neither in the cache nor to be downloaded.
        SetupError: The board refused, or the runtime failed its check there.
        DeviceError: The board did not answer in time, or a transfer failed.
    """
    _refuse_this_machine(device, want)
    on_step = on_step or ignore_step
    if isinstance(device, RuntimeOwner):
        return device.set_up_runtime(want, deadline_s=deadline_s, on_step=on_step)
    return Installation(device, time.monotonic() + deadline_s, on_step).run(want)


def plan(device: Device, want: str | None = None, *, deadline_s: float = 60.0) -> Solution:
    """Return what `setup` would install on any device; nothing is changed there and nothing downloaded.

    Raises:
        NoRuntimeFits: Nothing fits, or not what was asked for.
    """
    if device.kind == "local":
        return solve(device.facts(deadline_s=deadline_s), want)
    if isinstance(device, RuntimeOwner):
        return device.plan_runtime(want)
    return Installation(device, time.monotonic() + deadline_s, ignore_step).choose(want).solution


def _refuse_this_machine(device: Device, want: str | None) -> None:
    if device.kind != "local":
        return
    solution = solve(device.facts(), want)
    raise SetupError(
        f"{device.name} is this machine: it uses the runtime of the Python that runs `edge`",
        hint=f"install into that one: {sys.executable} -m pip install {' '.join(solution.requirements[:2])}",
    )
