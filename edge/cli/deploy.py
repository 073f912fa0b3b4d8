"""`edge deploy`: switches devices to a .tflite file, or leaves them as they are."""

from __future__ import annotations

from pathlib import Path

import click

from devices.contract import Device
from devices.releases.board import OnStep
from devices.releases.errors import DamagedError
from devices.releases.package import KEEP
from devices.releases.release_status import ReleaseStatus
from edge.cli.options import Names, delegate_options, take_delegates
from edge.cli.output import json_option, print_lines
from edge.cli.releases import on_devices, root_option, show_released
from edge.report.terminal.release_lines import status_lines


@click.command("deploy")
@click.argument("model", required=False, type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.option("--to", "names", type=Names(), required=True, metavar="NAME[,NAME...]",
              help="Devices or groups of devices, see `edge devices`.")  # fmt: skip
@root_option
@click.option("--keep", type=click.IntRange(1), default=KEEP, show_default=True,
              help="Number of releases to keep there, including the current one.")  # fmt: skip
@click.option("--golden", metavar="SRC|none",
              help="Image, array file or folder to check the model with there.  [default: random inputs]")  # fmt: skip
@click.option("--reference", type=click.Path(path_type=Path), metavar="FILE.tflite",
              help="For a model compiled for the Edge TPU: the model it was compiled from, for the check.")  # fmt: skip
@delegate_options
@click.option("--unit", "program", metavar="PROGRAM",
              help="Program on the device that runs the model, as a systemd user unit; it is restarted after each "
              "switch and gets the model's path in EDGE_MODEL.")  # fmt: skip
@click.option("--status", "is_status", is_flag=True,
              help="Only show the releases there and verify every file; exit status 10 if one is damaged.")  # fmt: skip
@json_option
def command(
    model: Path | None,
    names: tuple[str, ...],
    root: str | None,
    keep: int,
    golden: str | None,
    program: str | None,
    is_status: bool,
    as_json: bool,
    reference: Path | None,
    **delegates: object,
) -> None:
    """Send a .tflite file to devices, check it there, and switch to it.

    Only missing files are sent. Before the switch the device compares SHA-256 sums and runs golden vectors: inputs
    whose outputs were computed here. The switch is atomic; earlier releases stay, see `edge rollback`. Programs on the
    device read DIR/current/model.tflite. If anything fails, the earlier release stays current.
    """
    if is_status:
        _status(names, root, as_json=as_json)
        return
    if model is None:
        raise click.UsageError("Missing argument 'FILE.tflite'; only --status needs none.")
    from edge.workflows.deployment import Deployment, DeployRequest

    request = DeployRequest(
        model=model, root=root, keep=keep, golden=golden, program=program, delegates=take_delegates(delegates),
        reference=reference,
    )  # fmt: skip
    deployment = Deployment(request)
    on_devices(names, lambda device, step: deployment.to(device, on_step=step), show_released, as_json=as_json)


def _status(names: tuple[str, ...], root: str | None, *, as_json: bool) -> None:
    from edge.workflows.deployment import release_status

    damaged: list[str] = []

    def read_status(device: Device, step: OnStep) -> ReleaseStatus:
        status = release_status(device, root=root)
        damaged.extend(f"{status.device}: {what}" for what in status.damaged)
        return status

    on_devices(names, read_status, lambda status: print_lines(status_lines(status)), as_json=as_json)
    if damaged:
        raise DamagedError(
            f"changed since it was deployed: {'; '.join(damaged)}", hint="deploy the model again, or `edge rollback`"
        )
