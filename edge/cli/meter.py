"""`edge meter`: finds, watches and records power meters, and calibrates our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import click

from edge.cli.devices import Nearest
from edge.cli.options import F, parse_pairs
from edge.cli.output import json_option, print_json, print_lines, print_table, progress, say

_FILE = click.Path(path_type=Path, dir_okay=False)


def _finite(context: click.Context, option: click.Parameter, given: float | None) -> float:
    if given is None:
        return math.inf
    if not math.isfinite(given):
        raise click.BadParameter(f"{given} is not a duration")
    return given


_seconds_option: Callable[[F], F] = click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), metavar="S", callback=_finite,
    help="Duration in seconds.  [default: until Ctrl-C]",
)  # fmt: skip
_set_option: Callable[[F], F] = click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", callback=parse_pairs,
    help="Setting of the meter, see `edge meter kinds` (repeatable).",
)  # fmt: skip
_csv_option: Callable[[F], F] = click.option("--csv", "csv_file", type=_FILE, help="Also write the samples as CSV.")
_npz_option: Callable[[F], F] = click.option(
    "--npz", "npz_file", type=_FILE, help="Also write everything as .npz for NumPy."
)


@click.group(cls=Nearest)
def command() -> None:
    """Find power meters, watch and record them, calibrate our own.

    METER is KIND:ADDRESS, such as edge:/dev/ttyUSB0, or a name from meters.toml (next to devices.toml). Every result
    states how many readings per second were really new, and how many were lost.
    """


@command.command("list")
@json_option
def list_meters(as_json: bool) -> None:
    """List the meters that are attached, by the name to use."""
    from converters.printable import one_line
    from devices.meters.detect import candidates

    found = candidates()
    if as_json:
        print_json([each.to_json() for each in found])
        return
    if not found:
        say("no meter found; `edge meter kinds` lists the kinds and how they are named")
        return
    print_table(("NAME", "WHAT"), [(one_line(each.name), one_line(each.about)) for each in found])
    for each in found:
        if each.problem:
            say(one_line(f"{each.name}: {each.problem}" + (f"; {each.hint}" if each.hint else "")))


@command.command()
@json_option
def kinds(as_json: bool) -> None:
    """List the kinds of meters, their names and settings."""
    from devices.meters.kinds import KINDS
    from edge.report.terminal.meter_lines import kind_lines

    if as_json:
        print_json([each.to_json() for each in KINDS.values()])
        return
    print_lines(kind_lines(KINDS.values()))


@command.command()
@click.argument("meter", metavar="METER")
@_seconds_option
@_set_option
@json_option
def read(meter: str, seconds: float, settings: dict[str, str], as_json: bool) -> None:
    """Show the power live.

    Draws a plot on a terminal; otherwise prints one line per second. Ctrl-C ends it and shows the result.
    """
    from devices.meters.lookup import find_meter
    from edge.cli.meter_live import watch

    with find_meter(meter, settings) as opened:
        watch(opened, seconds=seconds, as_json=as_json)


@command.command()
@click.argument("meter", metavar="METER")
@click.option("--out", type=_FILE, required=True, help="The recording to write, an .edgetrace file.")
@_seconds_option
@_csv_option
@_npz_option
@click.option("--force", is_flag=True, help="Replace an existing recording.")
@_set_option
@json_option
def record(
    meter: str,
    out: Path,
    seconds: float,
    csv_file: Path | None,
    npz_file: Path | None,
    force: bool,
    settings: dict[str, str],
    as_json: bool,
) -> None:
    """Record all samples to a file.

    Ends after --seconds or at Ctrl-C. The file is written continuously and can be read whatever happens.
    """
    from devices.meters.lookup import find_meter
    from devices.meters.record_file import RecordingHooks, check_outputs, record_to
    from devices.meters.record_file import export_recording as write_exports
    from devices.meters.replay import ReplayMeter
    from edge.cli.meter_live import until_interrupted
    from edge.report.formatting import watts
    from edge.report.terminal.meter_lines import counts, summary_lines

    found = find_meter(meter, settings)
    check_outputs(found.path if isinstance(found, ReplayMeter) else None, out, csv_file, npz_file)
    total = None if math.isinf(seconds) else math.ceil(seconds)
    with progress("recording", total) as advance, until_interrupted() as interrupted:
        hooks = RecordingHooks(
            stopped=interrupted,
            on_second=lambda powers, rates: advance(1, f"{watts(powers.mean_w)}, {counts(rates)}"),
            on_failure=lambda samples: say(f"the {samples} samples before the failure are in {out}"),
        )
        result = record_to(out, found, hooks, seconds=seconds, replace=force)
    write_exports(out, csv_file, npz_file)
    if as_json:
        print_json(result.to_json())
        return
    print_lines(summary_lines(result, csv_file, npz_file))


@command.command("export")
@click.argument("recording", type=_FILE)
@_csv_option
@_npz_option
@json_option
def export_recording(recording: Path, csv_file: Path | None, npz_file: Path | None, as_json: bool) -> None:
    """Summarize a recording, and export it for other programs."""
    from devices.meters.record_file import export_recording as write_exports
    from devices.meters.record_file import summarize_recording
    from edge.report.terminal.meter_lines import summary_lines

    write_exports(recording, csv_file, npz_file)
    result = summarize_recording(recording)
    if as_json:
        print_json(result.to_json())
        return
    print_lines(summary_lines(result, csv_file, npz_file))


@command.command()
@click.argument("meter", metavar="METER")
@click.option("--shunt-ohm", type=float, help="Resistance of its shunt.")
@click.option("--reference-amps", type=float, help="Current that flows now, measured with another instrument.")
@click.option("--seconds", type=click.FloatRange(1, 60), default=5.0, show_default=True, callback=_finite,
              help="How long to compare the current.")  # fmt: skip
@json_option
def calibrate(meter: str, shunt_ohm: float | None, reference_amps: float | None, seconds: float, as_json: bool) -> None:
    """Store the shunt's resistance in our own meter's EEPROM.

    The resistance is either given (--shunt-ohm) or computed from a steady current that another instrument measures at
    the same time (--reference-amps). Impossible values are refused, and nothing is stored.
    """
    from devices.meters.shunt_calibration import calibrate as calibrate_meter

    if (shunt_ohm is None) == (reference_amps is None):
        raise click.UsageError("Give --shunt-ohm or --reference-amps.")
    done = calibrate_meter(meter, shunt_ohm=shunt_ohm, reference_a=reference_amps, seconds=seconds)
    if as_json:
        print_json(done.to_json())
        return
    if done.measured_a is not None:
        click.echo(f"the meter showed {done.measured_a:.5g} A, the reference {done.reference_a:.5g} A")
    click.echo(f"shunt: {done.before_ohm:.6g} ohm before, {done.stored_ohm:.6g} ohm stored in {done.meter}")
    say("results still assume a tolerance of 1 %; if you know better, set shunt_tolerance = 0.002 in meters.toml")
