"""`edge profile`: measures latency, kernels and memory of .tflite files on devices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from devices.registry import find_devices
from edge.cli.options import (
    F,
    Names,
    Options,
    add_options,
    delegate_options,
    loss_option,
    take,
    take_delegates,
    take_fields,
)
from edge.cli.output import json_option, print_json, progress, say, show_error
from edge.errors import MeasurementInvalid
from edge.measure.measurement import Measurement
from edge.measure.measurement_files import as_document, save_measurements
from edge.measure.plan import BOARD_WAIT_S, ENERGY_WINDOW_S, ENERGY_WINDOWS, EnergyPlan, Plan, quick
from edge.measure.profiling import MeasuringFailure, Profiled, profile_on
from edge.measure.sparse_verdict import find_alarms
from edge.report.terminal.measurement_lines import summary

if TYPE_CHECKING:
    from edge.measure.advice import AdviceCriteria

_PLAN, _ENERGY = Plan(), EnergyPlan("none")


def _numbers(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers of processors, such as 2,3, got {text!r}") from None


def _seconds(context: click.Context, option: click.Parameter, minutes: float | None) -> float | None:
    return None if minutes is None else 60 * minutes


def plan_options(command: F) -> F:
    """Add one option for each field of `Plan` that a user chooses: the option carries the field's name."""
    return add_options(
        command,
        click.option("--threads", type=click.IntRange(1), help="Threads of the main latency.  [default: 1]"),
        click.option("--windows", type=click.IntRange(1), help=f"Number of windows.  [default: {_PLAN.windows}]"),
        click.option("--window-seconds", "window_s", type=click.FloatRange(0.001), metavar="S",
                     help=f"Length of a window.  [default: {_PLAN.window_s}]"),
        click.option("--warmup-seconds", "warmup_s", type=click.FloatRange(0), metavar="S",
                     help=f"Warm-up before the first window.  [default: {_PLAN.warmup_s}]"),
        click.option("--quick", "is_quick", is_flag=True,
                     help="Short windows, for a first look (about 3 s per file)."),
        click.option("--kernels/--no-kernels", default=None,
                     help="With or without the kernel profile.  [default: with]"),
        click.option("--all-cores/--no-all-cores", default=None, help="Also measure with all cores.  [default: yes]"),
        click.option("--runtime", metavar="NAME",
                     help="TFLite runtime, such as ai-edge-litert.  [default: the first installed]"),
        delegate_options,
        click.option("--cpus", metavar="N,N", callback=_numbers, help="Run on these processors only, such as 2,3."),
        click.option("--cool-below", "cool_below_c", type=click.FloatRange(0, 120), metavar="C",
                     help=f"Wait until the device is cooler than this.  [default: {_PLAN.cool_below_c:g}]"),
        click.option("--cool-wait", "cool_wait_s", type=click.FloatRange(0), metavar="S",
                     help="Longest wait for that.  "
                          f"[default: {BOARD_WAIT_S:g} on a board, 0 on this machine and with --quick]"),
        click.option("--sustain", "sustain_s", type=click.FloatRange(0), callback=_seconds, metavar="MINUTES",
                     help="Load the device this long afterwards: latency, temperature and clock over time."),
        _energy_options,
    )  # fmt: skip


def _energy_options(command: F) -> F:
    """Add --energy and what goes with it."""
    return add_options(
        command,
        click.option("--energy", "energy_meter", metavar="METER",
                     help="Also measure energy per inference with this power meter, see `edge meter`."),
        click.option("--energy-trigger", metavar="CHIP:LINE",
                     help="Output of the board wired to the meter's trigger, such as gpiochip0:17."),
        click.option("--energy-windows", type=click.IntRange(1), metavar="N",
                     help=f"Number of energy windows; below {ENERGY_WINDOWS} always INVALID."
                          f"  [default: {_ENERGY.windows}]"),
        click.option("--energy-window-seconds", "energy_window_s", type=click.FloatRange(0.001), metavar="S",
                     help=f"Shortest energy window; below {ENERGY_WINDOW_S:g} always INVALID."
                          f"  [default: {_ENERGY.window_s:g}]"),
        click.option("--energy-trace", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
                     help="Also write the meter's samples to a file (.edgetrace), as `edge meter record` does."),
    )  # fmt: skip


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--on", "names", type=Names(), default="local", show_default=True, metavar="NAME[,NAME...]",
              help="Devices or groups of devices, see `edge devices`.")  # fmt: skip
@plan_options
@loss_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the measurements to a file.")
@click.option("--strict", is_flag=True,
              help="Exit with status 11 if a measurement is invalid or disagrees with the prediction.")  # fmt: skip
@json_option
def command(
    files: tuple[Path, ...],
    names: tuple[str, ...],
    criteria: AdviceCriteria | None,
    out: Path | None,
    strict: bool,
    as_json: bool,
    **options: object,
) -> None:
    """Measure latency, kernels and memory of .tflite files.

    Each file is warmed up and then measured in windows, with one thread (or --threads) and with all cores. The result
    states the conditions and whether the measurement is valid; a noisy one is INVALID, with the reasons. A file that
    cannot be measured, or an unreachable device, does not stop the others; the exit status is then that of the first
    failure. Several measurements end with the variant to ship for each device.
    """
    devices = find_devices(names)
    plan = _plan(options, len(devices), len(files))
    count = len(files) * len(devices)
    with progress("profiling", total=count * plan.steps) as advance:
        profiled = profile_on(
            devices,
            files,
            plan,
            on_step=lambda note: advance(1, note),
            on_wait=lambda note: advance(0, note),
            on_failure=_show_failure if count > 1 else None,
        )
    _show(profiled, as_json=as_json, as_list=count > 1, criteria=criteria)
    if out is not None and profiled.measurements:
        save_measurements(out, profiled.measurements, as_list=count > 1)
    profiled.check()
    if strict:
        _check(profiled.measurements)


def _plan(options: Options, devices: int, files: int) -> Plan:
    """Make the plan of the options; what is not given keeps the default, or that of --quick."""
    base = quick(_PLAN) if options.pop("is_quick") else _PLAN
    delegates, energy = take_delegates(options), _energy_plan(options, devices, files)
    return replace(base, **take_fields(Plan, options), delegates=delegates, energy=energy)


def _energy_plan(options: Options, devices: int, files: int) -> EnergyPlan | None:
    """Make the energy plan, None without a meter.

    Raises:
        click.UsageError: An option of energy without a meter, a meter for several devices, one trace for several files.
        InputError: The plan cannot be measured.
    """
    names = ("meter", "trigger", "windows", "window_s", "trace")
    prefixed = take(options, *(f"energy_{name}" for name in names))
    given = {name.removeprefix("energy_"): value for name, value in prefixed.items()}
    if not given:
        return None
    if "meter" not in given:
        raise click.UsageError("an option of energy was given without a meter (--energy METER)")
    if devices > 1:
        raise click.UsageError(f"a meter measures one board, {devices} devices were named (--on)")
    if files > 1 and "trace" in given:
        raise click.UsageError(f"--energy-trace holds the samples of one model, {files} models were named")
    return EnergyPlan(**given)


def _show_failure(failure: MeasuringFailure) -> None:
    show_error(failure.error, of=f"{failure.path} on {failure.device}")


def _show(profiled: Profiled, *, as_json: bool, as_list: bool, criteria: AdviceCriteria | None) -> None:
    """Print the measurements, and with several of them what to ship; with --json that goes to stderr."""
    measurements = profiled.measurements
    advice = [_advice(measurements, criteria)] if as_list and measurements else []
    if not as_json:
        parts = [*(summary(each, alarmed=_red) for each in measurements), *advice]
        click.echo("\n\n".join(parts), nl=bool(parts))
        return
    if as_list or measurements:
        print_json(as_document(measurements, as_list=as_list))
    for text in advice:
        say(text)
    for alarm in find_alarms(measurements):
        say(_red(f"ALARM: {alarm}"))


def _advice(measurements: Sequence[Measurement], criteria: AdviceCriteria | None) -> str:
    from edge.measure.advice import advise_each
    from edge.report.terminal.verdict_lines import advice_text

    return advice_text(advise_each(measurements, criteria))


def _red(line: str) -> str:
    """Return a line in red; outside a terminal the colour is dropped."""
    return line if os.environ.get("NO_COLOR") else click.style(line, fg="red", bold=True)


def _check(measurements: Sequence[Measurement]) -> None:
    """Raise if a measurement is invalid or disagrees with what was predicted."""
    invalid = [each.artifact.name for each in measurements if not each.validity.valid]
    alarms, count = find_alarms(measurements), len(measurements)
    problems, hints = [], []
    if invalid:
        problems.append(f"{len(invalid)} of {count} measurements are invalid: {', '.join(invalid)}")
        hints.append("stop other programs, pin the clock, or measure longer (--window-seconds); the reasons are above")
    if alarms:
        problems.append(f"{len(alarms)} of {count} measurements raise an alarm: {'; '.join(alarms)}")
        hints.append("compare with `edge inspect FILE --target BOARD`; do not ship the file before the cause is known")
    if problems:
        raise MeasurementInvalid("; ".join(problems), hint="; ".join(hints))
