"""Measures .tflite files on devices; the failure of one file or device does not affect the others."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from devices.contract import Device
from devices.registry import KINDS
from edge.errors import EdgeError
from edge.measure.assembly import Observation, assemble
from edge.measure.energy.value import NotMeasured
from edge.measure.measured_model import MeasuredModel, describe_model
from edge.measure.measurement import Measurement
from edge.measure.plan import Plan

OnStep = Callable[[str], None]
OnFailure = Callable[["MeasuringFailure"], None]
# The way of measuring, by what a device's kind measures (devices.registry.KINDS): "module:class" of a `Measurer`.
MEASURERS: Mapping[str, str] = MappingProxyType(
    {
        "time": "edge.measure.time_measurer:TimeMeasurer",
        "instructions": "edge.measure.instruction_measurer:InstructionMeasurer",
    }
)


class Measurer(AbstractContextManager["Measurer"], Protocol):
    """A way of measuring models on one device; it keeps resources open from the first model to the last.

    Created with the device, the plan and two functions: one is called after each step, the other while waiting.
    """

    def observe(self, model: MeasuredModel) -> Observation:
        """Measure one model."""


class EnergyNotMeasured(EdgeError):  # noqa: N818  (what happened, not a kind of error)
    """The energy could not be measured; everything else was, and is in `measurement`."""

    def __init__(self, cause: Exception, measurement: Measurement) -> None:
        hint = cause.hint if isinstance(cause, EdgeError) else None
        super().__init__(
            f"the energy was not measured: {cause}", hint=hint or "the rest was measured; run it again for the energy"
        )
        self.exit_code = cause.exit_code if isinstance(cause, EdgeError) else EdgeError.exit_code
        self.measurement = measurement


@dataclass(frozen=True)
class MeasuringFailure:
    """A file that could not be measured on a device, and the error with its exit code."""

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

    A measurement that lacks only the energy is in both.
    """

    measurements: tuple[Measurement, ...]
    failures: tuple[MeasuringFailure, ...]

    @property
    def total(self) -> int:
        """The number of measurements that were to be made."""
        lost = [each for each in self.failures if not isinstance(each.error, EnergyNotMeasured)]
        return len(self.measurements) + len(lost)

    def check(self) -> None:
        """Raise if any failed: the error itself if it was the only one, else one with the first exit code."""
        if not self.failures:
            return
        if len(self.failures) == self.total == 1:
            raise self.failures[0].error
        raise SomeFilesFailed(self)


def measurer_for(
    device: Device, plan: Plan, *, on_step: OnStep | None = None, on_wait: OnStep | None = None
) -> Measurer:
    """Return the measurer for a device's kind; it opens its resources when it is entered."""
    module, _, name = MEASURERS[KINDS[device.kind].measures].partition(":")
    measurer: Measurer = getattr(importlib.import_module(module), name)(
        device, plan, on_step or _ignore, on_wait or _ignore
    )
    return measurer


def profile(
    path: Path, device: Device, plan: Plan, *, on_step: OnStep | None = None, on_wait: OnStep | None = None
) -> Measurement:
    """Measure one .tflite file on a device.

    Args:
        path: The file; an artifact JSON alongside adds recipe, counts and accuracy if its sha256 fits.
        device: Where to run it.
        plan: For how long, with how many threads.
        on_step: Called after each of at most `plan.steps` steps with what was done.
        on_wait: Called while waiting for the board to cool.

    Raises:
        InputError: The file cannot be read, or the device cannot show what the plan requires.
        RuntimeFault: The runtime is missing, refuses the model or died.
        DeviceError: The device does not answer.
        EnergyNotMeasured: The power meter or the board failed in the energy run; it holds the rest of the measurement.
    """
    with measurer_for(device, plan, on_step=on_step, on_wait=on_wait) as measurer:
        return _measure(path, plan, measurer)


def profile_files(
    paths: Sequence[Path],
    device: Device,
    plan: Plan,
    *,
    on_step: OnStep | None = None,
    on_wait: OnStep | None = None,
    on_failure: OnFailure | None = None,
) -> Profiled:
    """Measure each file; an EdgeError becomes a failure, any other exception propagates.

    `on_failure` is called as soon as one fails, since the rest may take minutes.

    Raises:
        InstrumentError: The plan's power meter cannot be opened.
    """
    measurements, failures = [], []
    with measurer_for(device, plan, on_step=on_step, on_wait=on_wait) as measurer:
        for path in paths:
            try:
                measurements.append(_measure(path, plan, measurer))
            except EdgeError as error:
                if isinstance(error, EnergyNotMeasured):
                    measurements.append(error.measurement)
                failures.append(MeasuringFailure(path, device.name, error, error.exit_code))
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
    profiled = [
        profile_files(paths, device, plan, on_step=on_step, on_wait=on_wait, on_failure=on_failure)
        for device in devices
    ]
    return Profiled(
        tuple(each for one in profiled for each in one.measurements),
        tuple(each for one in profiled for each in one.failures),
    )


def _measure(path: Path, plan: Plan, measurer: Measurer) -> Measurement:
    model = describe_model(path)
    observed = measurer.observe(model)
    measurement = assemble(model, plan, observed)
    if isinstance(observed.energy, NotMeasured) and observed.energy.cause is not None:
        raise EnergyNotMeasured(observed.energy.cause, measurement) from observed.energy.cause
    return measurement


def _ignore(note: str) -> None:
    """Report nothing."""
