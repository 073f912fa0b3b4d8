"""Several files on several devices: a damaged file or a device that fails does not lose the other measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.contract import Device
from devices.emulated.device import EmulatedDevice
from edge.errors import EdgeError
from edge.measure.energy.run import opened
from edge.measure.measurement import Measurement
from edge.measure.plan import Plan
from edge.measure.profile import EnergyNotMeasured, OnStep, profile

OnFailure = Callable[["MeasuringFailure"], None]


@dataclass(frozen=True)
class MeasuringFailure:
    """A file that could not be measured on a device, and why: an error of any room, with its exit code."""

    path: Path
    device: str
    error: Exception
    exit_code: int


class SomeFilesFailed(EdgeError):  # noqa: N818  (what happened, not a kind of error)
    """Some of several files could not be measured; the exit code is that of the first failure."""

    def __init__(self, found: Profiled) -> None:
        failed, total = found.failures, found.total
        devices = {each.device for each in failed} | {each.device.name for each in found.measurements}
        if len(devices) == 1:
            said = f"files could not be measured: {', '.join(str(each.path) for each in failed)}"
        else:
            named = (f"{each.path} on {each.device}" for each in failed)
            said = f"measurements could not be made: {', '.join(named)}"
        super().__init__(f"{len(failed)} of {total} {said}")
        self.exit_code = failed[0].exit_code


@dataclass(frozen=True)
class Profiled:
    """All measurements that succeeded, device by device in the order of the files, and all failures.

    One that lacks but the energy it was asked for is in both.
    """

    measurements: tuple[Measurement, ...]
    failures: tuple[MeasuringFailure, ...]

    @property
    def total(self) -> int:
        """How many were to be made."""
        lost = [each for each in self.failures if not isinstance(each.error, EnergyNotMeasured)]
        return len(self.measurements) + len(lost)

    def check(self) -> None:
        """Raise if one failed: its own error where it was the only one, else one with the first one's exit code."""
        if not self.failures:
            return
        if len(self.failures) == self.total == 1:
            raise self.failures[0].error
        raise SomeFilesFailed(self)


def profile_files(
    paths: Sequence[Path],
    device: Device,
    plan: Plan,
    *,
    on_step: OnStep | None = None,
    on_wait: OnStep | None = None,
    on_failure: OnFailure | None = None,
) -> Profiled:
    """Measure each file; errors that carry an exit code become failures, any other is a fault and rises.

    `on_failure` is called as soon as one fails, since the rest may take minutes. A power meter stays open from the
    first file to the last: one that supplies the board would switch it off between two.

    Raises:
        InstrumentError: The plan's meter cannot be had.
    """
    measurements, failures = [], []
    with opened(None if isinstance(device, EmulatedDevice) else plan.energy) as meter:
        for path in paths:
            try:
                measurements.append(profile(path, device, plan, meter=meter, on_step=on_step, on_wait=on_wait))
            except Exception as error:
                code = getattr(error, "exit_code", None)
                if not isinstance(code, int):
                    raise
                if isinstance(error, EnergyNotMeasured):
                    measurements.append(error.measurement)
                failures.append(MeasuringFailure(path, device.name, error, code))
                if on_failure is not None:
                    on_failure(failures[-1])
    return Profiled(tuple(measurements), tuple(failures))


def profile_on(
    devices: Sequence[Device],
    paths: Sequence[Path],
    plan: Plan,
    *,
    on_step: OnStep | None = None,
    on_wait: OnStep | None = None,
    on_failure: OnFailure | None = None,
) -> Profiled:
    """Measure each file on each device, one after the other: an emulated board and this machine share processors."""
    every = [
        profile_files(paths, device, plan, on_step=on_step, on_wait=on_wait, on_failure=on_failure)
        for device in devices
    ]
    return Profiled(
        tuple(each for found in every for each in found.measurements),
        tuple(each for found in every for each in found.failures),
    )
