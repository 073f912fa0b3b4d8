"""The options of `edge profile` that bring a power meter in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge.measure.energy.plan import EnergyPlan
from edge.measure.energy.rules import WINDOW_S, WINDOWS

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULT = EnergyPlan("none")


def energy_options(command: F) -> F:
    """Add --energy and what goes with it; `chosen_energy` makes one value of them."""
    for add in (
        click.option("--energy-trace", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
                     help="Also keep what the meter said, as `edge meter record` does (.edgetrace)."),
        click.option("--energy-window-seconds", "energy_window_s", type=click.FloatRange(0.001), metavar="S",
                     help=f"Shortest of its windows; below {WINDOW_S:g} always INVALID."
                          f"  [default: {_DEFAULT.window_s:g}]"),
        click.option("--energy-windows", type=click.IntRange(1), metavar="N",
                     help=f"How many of them; below {WINDOWS} always INVALID.  [default: {_DEFAULT.windows}]"),
        click.option("--energy-trigger", metavar="CHIP:LINE",
                     help="Output of the board wired to the meter's trigger, such as gpiochip0:17."),
        click.option("--energy", "energy_meter", metavar="METER",
                     help="Also measure energy per inference with this power meter, see `edge meter`."),
    ):  # fmt: skip
        command = add(command)
    return command


def chosen_energy(asked: dict[str, Any], devices: int, files: int) -> dict[str, Any]:
    """Return a command's options with those that `energy_options` added as one, `energy`.

    Raises:
        click.UsageError: An option of energy without a meter, a meter for several devices, one trace for several files.
        InputError: The plan cannot be measured.
    """
    rest = dict(asked)
    meter = rest.pop("energy_meter")
    names = {"energy_trigger": "trigger", "energy_windows": "windows", "energy_window_s": "window_s",
             "energy_trace": "trace"}  # fmt: skip
    given = {name: value for option, name in names.items() if (value := rest.pop(option)) is not None}
    if meter is None:
        if given:
            raise click.UsageError("an option of energy was given without a meter (--energy METER)")
        return rest
    if devices > 1:
        raise click.UsageError(f"a meter measures one board, {devices} devices were named (--on)")
    if files > 1 and "trace" in given:
        raise click.UsageError(f"one file holds what the meter said of one model, {files} models were named")
    return {**rest, "energy": EnergyPlan(meter, **given)}
