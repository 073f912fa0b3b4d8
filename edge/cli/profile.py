"""`edge profile`: latency, kernels and memory of .tflite files on a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from devices.registry import find_devices
from edge.cli.advice_option import loss_option
from edge.cli.delegate_options import chosen_delegates, delegate_options
from edge.cli.energy_options import chosen_energy, energy_options
from edge.cli.output import json_option, progress
from edge.cli.profile_output import end, say_failure, show
from edge.cli.releases import Names
from edge.measure.advice import AdviceCriteria
from edge.measure.measurement import save_measurements
from edge.measure.plan import BOARD_WAIT_S, Plan, quick
from edge.measure.profile import steps
from edge.measure.profile_files import profile_on

_DEFAULT = Plan()


def _numbers(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected numbers of processors, such as 2,3, got {text!r}") from None


def _seconds(context: click.Context, option: click.Parameter, minutes: float | None) -> float | None:
    return None if minutes is None else 60 * minutes


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--on", "names", type=Names(), default="local", show_default=True, metavar="NAME[,NAME...]",
              help="Devices or groups of them, see `edge devices`.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Threads of the main latency.  [default: 1]")
@click.option("--windows", type=click.IntRange(1), help=f"How many windows.  [default: {_DEFAULT.windows}]")
@click.option("--window-seconds", "window_s", type=click.FloatRange(0.001), help=f"[default: {_DEFAULT.window_s}]")
@click.option("--warmup-seconds", "warmup_s", type=click.FloatRange(0), help=f"[default: {_DEFAULT.warmup_s}]")
@click.option("--quick", "is_quick", is_flag=True, help="Short windows, for a first look (about 3 s per file).")
@click.option("--kernels/--no-kernels", default=None, help="With or without the kernel profile.  [default: with]")
@click.option("--all-cores/--no-all-cores", default=None, help="Also measure with all cores.  [default: yes]")
@click.option("--runtime", help="TFLite runtime, such as ai-edge-litert.  [default: the first installed]")
@delegate_options
@click.option("--cpus", metavar="N,N", callback=_numbers, help="Run on these processors only, such as 2,3.")
@click.option(
    "--cool-below",
    "cool_below_c",
    type=click.FloatRange(0, 120),
    metavar="C",
    help=f"Temperature at which the device is cool enough to begin.  [default: {_DEFAULT.cool_below_c:g}]",
)
@click.option(
    "--cool-wait",
    "cool_wait_s",
    type=click.FloatRange(0),
    metavar="S",
    help=f"Longest wait for that.  [default: {BOARD_WAIT_S:g} on a board, 0 here and with --quick]",
)
@click.option(
    "--sustain",
    "sustain_s",
    type=click.FloatRange(0),
    callback=_seconds,
    metavar="MINUTES",
    help="Then load the device for so long: latency, temperature and clock over time.",
)
@energy_options
@loss_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the measurements to a file.")
@click.option("--strict", is_flag=True, help="Exit with status 11 if a measurement is invalid, or ran not as forecast.")
@json_option
def command(
    files: tuple[Path, ...],
    names: tuple[str, ...],
    terms: AdviceCriteria,
    out: Path | None,
    strict: bool,
    as_json: bool,
    **plan: Any,  # noqa: ANN401  (the options, by the plan's own names)
) -> None:
    """Measure latency, kernels and memory of .tflite files.

    Each file is warmed up and then measured in windows, with one thread (or --threads) and with all cores. The result
    says under which conditions, and whether it may be believed: a noisy run is INVALID, with the reasons. A file that
    cannot be measured, or a device that does not answer, does not stop the others; the exit status is then that of the
    first failure. Of several measurements the variant to ship is named for each device.
    """
    devices = find_devices(names)
    asked = _plan(**chosen_energy(chosen_delegates(plan), len(devices), len(files)))
    count = len(files) * len(devices)
    with progress("profiling", total=count * steps(asked)) as advance:
        found = profile_on(
            devices,
            files,
            asked,
            on_step=lambda note: advance(1, note),
            on_wait=lambda note: advance(0, note),
            on_failure=say_failure if count > 1 else None,
        )
    show(found, as_json=as_json, as_list=count > 1, terms=terms)
    if out is not None and found.measurements:
        save_measurements(out, found.measurements, as_list=count > 1)
    end(found, strict=strict)


def _plan(*, is_quick: bool, **chosen: Any) -> Plan:  # noqa: ANN401  (the options, by the plan's own names)
    given = {name: value for name, value in chosen.items() if value is not None}
    return replace(quick(_DEFAULT) if is_quick else _DEFAULT, **given)
