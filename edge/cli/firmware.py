"""`edge firmware`: builds, flashes and queries the firmware of the power meter."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from edge.cli.output import json_option, print_json, say
from firmware_tools.power_meter.chips import CHIP_NAMES

BOARDS = ("nano", "nano-old", "uno")


class BusAddress(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """A number, as 0x40 or 64."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Read the number."""
        try:
            return int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)


chip_option = click.option("--chip", type=click.Choice(CHIP_NAMES), default=CHIP_NAMES[0], show_default=True,
                           help="Measuring chip.")  # fmt: skip
address_option = click.option("--address", type=BusAddress(), default="0x40", show_default=True,
                              help="Its I2C address, 0x40 to 0x4f, set by its pins A0 and A1.")  # fmt: skip
port_option = click.option("--port", required=True, metavar="PORT",
                           help="Serial port, such as /dev/ttyUSB0; `edge devices scan` lists them.")  # fmt: skip


@click.group("firmware")
def command() -> None:
    """Build, flash and query the power meter: an Arduino Nano or Uno with an INA226, INA219 or INA260."""


@command.command("build")
@chip_option
@address_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), show_default=True,
              help="Folder for the .elf and .hex.")  # fmt: skip
@json_option
def build_command(chip: str, address: int, out: Path, as_json: bool) -> None:
    """Compile the firmware with avr-gcc."""
    from firmware_tools.power_meter.build import FLASH_BYTES, RAM_BYTES, build

    built = build(chip, out=out, address=address)
    if as_json:
        print_json(built.to_json())
        return
    click.echo(f"{built.hex}")
    click.echo(
        f"  flash {built.flash_bytes:,} of {FLASH_BYTES:,} bytes, RAM {built.ram_bytes:,} of {RAM_BYTES:,} bytes"
    )
    click.echo(f"  {built.compiler}")


@command.command("flash")
@port_option
@chip_option
@address_option
@click.option("--board", type=click.Choice(BOARDS), default=BOARDS[0], show_default=True,
              help="Board type; nano-old is a Nano with the boot loader from before 2018.")  # fmt: skip
@json_option
def flash_command(port: str, chip: str, address: int, board: str, as_json: bool) -> None:
    """Build the firmware, write it with avrdude, and read it back.

    The processor's signature is read first; anything but an ATmega328P is refused before a byte is written.
    """
    from firmware_tools.power_meter.build import build
    from firmware_tools.power_meter.flash import flash

    with TemporaryDirectory() as folder:
        flashed = flash(build(chip, out=Path(folder), address=address), port=port, board=board, on_step=say)
    if as_json:
        print_json(flashed.to_json())
    else:
        click.echo(f"{port}: {flashed.flash_bytes:,} bytes for the {chip} written and verified")


@command.command("info")
@port_option
@json_option
def info_command(port: str, as_json: bool) -> None:
    """Show a meter's identity and run its self-test."""
    from edge.report.terminal.meter_lines import report_lines
    from firmware_tools.power_meter.meter_client import report

    found = report(port)
    if as_json:
        print_json(found.to_json())
        return
    click.echo("\n".join(report_lines(found)))
