"""The runtime of an emulated board: chosen by the same table, with QEMU's own limits, and made by the board itself."""

from __future__ import annotations

import time

from devices.contract import Device
from devices.emulated.qemu import installed_qemu
from devices.emulated.runtime_choice import runtime_of, set_runtime, solution_of
from devices.solver.check import check_runtime
from devices.solver.progress import OnStep
from devices.solver.setup_result import Ready
from devices.solver.solve import Solution


def plan_emulated(name: str, want: str | None) -> Solution:
    """Return what fits an emulated board under the QEMU that is installed.

    Raises:
        NoRuntimeFits: Nothing, or not what was asked for; a runtime that would crash in this QEMU is refused.
        MissingPartError: QEMU is not installed.
    """
    return solution_of(name, want, installed_qemu())


def setup_emulated(device: Device, want: str | None, *, deadline_s: float, on_step: OnStep) -> Ready:
    """Choose the board's runtime, download its parts and prove that it works; else the old choice is restored.

    Raises:
        DeviceError: It is refused, its parts cannot be made, or it fails its check.
    """
    until = time.monotonic() + deadline_s
    solution, before = plan_emulated(device.name, want), runtime_of(device.name)
    on_step("choosing", 0, 2)
    chosen = set_runtime(device.name, f"{solution.name}=={solution.version}", installed_qemu())
    on_step("checking", 1, 2)
    try:
        check_runtime(device, "python3", solution, deadline_s=until - time.monotonic())
    except BaseException:
        set_runtime(device.name, before, installed_qemu())
        raise
    on_step("ready", 2, 2)
    previous = before if before != chosen else None
    return Ready(device.name, solution, chosen, "python3", previous, sent_bytes=0, wheels_bytes=0)
