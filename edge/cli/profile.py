"""`edge profile`: latency, kernels and memory of .tflite files on a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from devices.registry import find_device
from edge.cli.delegate_options import chosen_delegates, delegate_options
from edge.cli.output import json_option, print_json, progress, say
from edge.errors import MeasurementInvalid
from edge.measure.measurement import as_document, save_measurements
from edge.measure.plan import BOARD_WAIT_S, Plan, quick
from edge.measure.profile import steps
from edge.measure.profile_files import Failure, Profiled, profile_files
from edge.measure.summary import summary

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
@click.option("--on", "device", default="local", show_default=True, help="Name of the device, see `edge devices`.")
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
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the measurements to a file.")
@click.option("--strict", is_flag=True, help="Exit with status 11 if a measurement is invalid.")
@json_option
def command(
    files: tuple[Path, ...],
    device: str,
    out: Path | None,
    strict: bool,
    as_json: bool,
    **plan: Any,  # noqa: ANN401  (the options, by the plan's own names)
) -> None:
    """Measure latency, kernels and memory of .tflite files.

    Each file is warmed up and then measured in windows, with one thread (or --threads) and with all cores. The result
    says under which conditions, and whether it may be believed: a noisy run is INVALID, with the reasons. A file that
    cannot be measured does not stop the others; the exit status is then that of the first failure.
    """
    asked = _plan(**chosen_delegates(plan))
    with progress("profiling", total=len(files) * steps(asked)) as advance:
        found = profile_files(
            files,
            find_device(device),
            asked,
            on_step=lambda note: advance(1, note),
            on_wait=lambda note: advance(0, note),
            on_failure=_say if len(files) > 1 else None,
        )
    _show(found, as_json=as_json, as_list=len(files) > 1)
    if out is not None and found.measurements:
        save_measurements(out, found.measurements, as_list=len(files) > 1)
    _end(found, strict=strict)


def _plan(*, is_quick: bool, **chosen: Any) -> Plan:  # noqa: ANN401  (the options, by the plan's own names)
    given = {name: value for name, value in chosen.items() if value is not None}
    return replace(quick(_DEFAULT) if is_quick else _DEFAULT, **given)


def _say(failure: Failure) -> None:
    say(f"error: {failure.path}: {failure.error}")
    if hint := getattr(failure.error, "hint", None):
        say(f"hint: {hint}")


def _show(found: Profiled, *, as_json: bool, as_list: bool) -> None:
    if as_json:
        if as_list or found.measurements:
            print_json(as_document(found.measurements, as_list=as_list))
    else:
        click.echo("\n\n".join(map(summary, found.measurements)), nl=bool(found.measurements))


def _end(found: Profiled, *, strict: bool) -> None:
    found.check()
    invalid = [each.artifact.name for each in found.measurements if not each.validity.valid]
    if strict and invalid:
        raise MeasurementInvalid(
            f"{len(invalid)} of {len(found.measurements)} measurements are invalid: {', '.join(invalid)}",
            hint="quieten the machine, pin its clock, or measure longer (--window-seconds); the reasons are above",
        )
