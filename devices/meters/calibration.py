"""Calibrating the shunt of our own meter: its resistance is what turns the chip's volts into amperes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from devices.meters.accuracy import CHIPS
from devices.meters.edge_meter import LEAST_SHUNT_OHM, MOST_SHUNT_OHM, EdgeMeter
from devices.meters.errors import MeterAnswerError, MeterSettingError, UnknownMeterError
from devices.meters.recorder import gather
from devices.meters.registry import find_meter
from firmware_tools.codecs.edge_commands import Chip
from firmware_tools.trace import Trace

MOST_REFERENCE_A = 100.0
OFFSETS = 200  # a reference is so many times what the chip's own offset may look like: 0.5 % in the shunt at most
MOST_CHANGE = 0.25  # resistors and solder are not off by more; a larger one is a mistake in what was compared
STEADY_WITHIN = 0.02  # standard deviation of the current, relative


@dataclass(frozen=True)
class Calibration:
    """What was changed; the current is None where no reference was measured against."""

    meter: str
    before_ohm: float
    stored_ohm: float
    measured_a: float | None = None
    reference_a: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


def calibrate(
    name: str, *, shunt_ohm: float | None = None, reference_a: float | None = None, seconds: float = 5.0
) -> Calibration:
    """Store the shunt's resistance in the meter's EEPROM: as given, or so that it shows what another instrument does.

    Args:
        name: A meter of kind edge.
        shunt_ohm: Its resistance.
        reference_a: The current that flows through it now, measured with another instrument.
        seconds: How long the current is measured for the comparison.

    Raises:
        MeterSettingError: Neither or both are given, or what is given is absurd; nothing is stored.
        MeterAnswerError: The current was not steady, or the meter could not store the value.
    """
    if (shunt_ohm is None) == (reference_a is None):
        raise MeterSettingError("a calibration takes the shunt's resistance, or a reference current")
    if shunt_ohm is not None:
        _check_shunt(shunt_ohm)
    if reference_a is not None and not 0 < reference_a <= MOST_REFERENCE_A:
        raise MeterSettingError(f"a reference of {reference_a:g} A is no use", hint=f"at most {MOST_REFERENCE_A:g} A")
    meter = find_meter(name)
    if not isinstance(meter, EdgeMeter):
        raise UnknownMeterError(f"{name} cannot be calibrated", hint="only our own meter can (kind edge)")
    with meter:
        if meter.identity().chip == Chip.INA260:
            raise MeterSettingError(f"{name} has an INA260, whose shunt is inside and trimmed by its maker")
        before = meter.identity().shunt_uohm / 1e6
        if reference_a is None:
            assert shunt_ohm is not None
            return Calibration(name, before, meter.calibrate_shunt(shunt_ohm))
        _check_reference(reference_a, least_reference_a(meter.identity().chip, before))
        measured_a = _current(meter, seconds)
        _check_change(measured_a, reference_a)
        wanted = before * measured_a / reference_a
        _check_shunt(wanted)
        return Calibration(name, before, meter.calibrate_shunt(wanted), measured_a, reference_a)


def least_reference_a(chip: Chip, shunt_ohm: float) -> float:
    """Return the least current that a shunt can be calibrated with."""
    return OFFSETS * CHIPS[chip.name.lower()].shunt_offset_v / shunt_ohm


def _check_reference(reference_a: float, least_a: float) -> None:
    if reference_a < 0.99 * least_a:  # the hint rounds
        raise MeterSettingError(
            f"a reference of {reference_a:g} A is no use: the chip's own offset would spoil it",
            hint=f"let at least {least_a:.3g} A flow, or give --shunt-ohm",
        )


def _check_shunt(ohm: float) -> None:
    if not LEAST_SHUNT_OHM <= ohm <= MOST_SHUNT_OHM:
        raise MeterSettingError(
            f"a shunt of {ohm:g} ohm is absurd",
            hint=f"between {LEAST_SHUNT_OHM:g} and {MOST_SHUNT_OHM:g} ohm; breakout boards have 0.1 (R100) or 0.002",
        )


def _check_change(measured_a: float, reference_a: float) -> None:
    change = measured_a / reference_a - 1
    if not abs(change) <= MOST_CHANGE:
        raise MeterSettingError(
            f"the meter shows {measured_a:.4g} A, the reference is {reference_a:.4g} A: {change:+.0%} is too much",
            hint="does the same current flow through both? If the shunt is another, give --shunt-ohm first",
        )


def _current(meter: EdgeMeter, seconds: float) -> float:
    parts: list[Trace] = []
    gather(meter, lambda trace, _: parts.append(trace), seconds=seconds)
    current = Trace.joined(parts).current_a
    if len(current) < 2:
        raise MeterAnswerError(f"{meter.name} sent too few samples to compare", hint="measure for longer (--seconds)")
    mean = float(np.mean(current))
    if not float(np.std(current)) <= STEADY_WITHIN * abs(mean):
        raise MeterAnswerError(
            f"the current was not steady: {mean:.4g} A on average, {float(np.std(current)):.2g} A up and down",
            hint="calibrate with a resistor as the load, not with a board",
        )
    return mean
