"""Calibrates the shunt of our own meter: its resistance turns the chip's volts into amperes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from devices.meters.edge_meter import LEAST_SHUNT_OHM, MOST_SHUNT_OHM, EdgeMeter
from devices.meters.lookup import find_meter
from devices.meters.recorder import gather
from firmware_tools.errors import ReplyError, SettingError, UnknownMeterError
from firmware_tools.power_meter.chips import INA_FACTS, InaChip
from firmware_tools.trace import Trace

MOST_REFERENCE_A = 100.0
OFFSETS = 200  # the reference is at least this many times the chip's own offset: at most 0.5 % error in the shunt
MOST_CHANGE = 0.25  # resistors and solder are not off by more; a larger change is a mistake in the comparison
STEADY_WITHIN = 0.02  # standard deviation of the current, relative


@dataclass(frozen=True)
class ShuntCalibration:
    """The resistance before and after; the currents are None where no reference was measured."""

    meter: str
    before_ohm: float
    stored_ohm: float
    measured_a: float | None = None
    reference_a: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


def calibrate(
    name: str, *, shunt_ohm: float | None = None, reference_a: float | None = None, seconds: float = 5.0
) -> ShuntCalibration:
    """Store the shunt's resistance in the meter's EEPROM: the given one, or the one that matches a reference current.

    Args:
        name: A meter of kind edge.
        shunt_ohm: Its resistance.
        reference_a: The current that flows through it now, measured with another instrument.
        seconds: For how long the current is measured for the comparison.

    Raises:
        SettingError: Neither or both are given, or the value is not plausible; nothing is stored.
        ReplyError: The current was not steady, or the meter could not store the value.
    """
    if (shunt_ohm is None) == (reference_a is None):
        raise SettingError("a calibration takes either the shunt's resistance or a reference current")
    if shunt_ohm is not None:
        _check_shunt(shunt_ohm)
    if reference_a is not None and not 0 < reference_a <= MOST_REFERENCE_A:
        raise SettingError(
            f"a reference of {reference_a:g} A cannot be used", hint=f"above 0 and at most {MOST_REFERENCE_A:g} A"
        )
    meter = find_meter(name)
    if not isinstance(meter, EdgeMeter):
        raise UnknownMeterError(f"{name} cannot be calibrated", hint="only our own meter can (kind edge)")
    with meter:
        return _calibrate_open(meter, shunt_ohm, reference_a, seconds)


def _calibrate_open(
    meter: EdgeMeter, shunt_ohm: float | None, reference_a: float | None, seconds: float
) -> ShuntCalibration:
    chip, before = meter.identity().chip, meter.identity().shunt_uohm / 1e6
    if not INA_FACTS[chip].has_outer_shunt:
        raise SettingError(f"{meter.name} has an {chip.name}, whose shunt is inside and trimmed by its maker")
    if reference_a is None:
        assert shunt_ohm is not None
        return ShuntCalibration(meter.name, before, meter.calibrate_shunt(shunt_ohm))
    _check_reference(reference_a, least_reference_a(chip, before))
    measured_a = _measure_current(meter, seconds)
    _check_change(measured_a, reference_a)
    wanted = before * measured_a / reference_a
    _check_shunt(wanted)
    return ShuntCalibration(meter.name, before, meter.calibrate_shunt(wanted), measured_a, reference_a)


def least_reference_a(chip: InaChip, shunt_ohm: float) -> float:
    """Return the smallest current that a shunt can be calibrated with."""
    return OFFSETS * INA_FACTS[chip].shunt_offset_v / shunt_ohm


def _check_reference(reference_a: float, least_a: float) -> None:
    if reference_a < 0.99 * least_a:  # the hint rounds
        raise SettingError(
            f"a reference of {reference_a:g} A is too small: the chip's own offset would distort the result",
            hint=f"let at least {least_a:.3g} A flow, or give --shunt-ohm",
        )


def _check_shunt(ohm: float) -> None:
    if not LEAST_SHUNT_OHM <= ohm <= MOST_SHUNT_OHM:
        raise SettingError(
            f"a shunt of {ohm:g} ohm is not plausible",
            hint=f"between {LEAST_SHUNT_OHM:g} and {MOST_SHUNT_OHM:g} ohm; breakout boards have 0.1 (R100) or 0.002",
        )


def _check_change(measured_a: float, reference_a: float) -> None:
    change = measured_a / reference_a - 1
    if not abs(change) <= MOST_CHANGE:
        raise SettingError(
            f"the meter shows {measured_a:.4g} A, the reference is {reference_a:.4g} A: {change:+.0%} is too much",
            hint="does the same current flow through both? If the shunt is a different one, give --shunt-ohm first",
        )


def _measure_current(meter: EdgeMeter, seconds: float) -> float:
    parts: list[Trace] = []
    gather(meter, lambda trace, _: parts.append(trace), seconds=seconds)
    current = Trace.concatenate(parts).current_a
    if len(current) < 2:
        raise ReplyError(f"{meter.name} sent too few samples to compare", hint="measure for longer (--seconds)")
    mean = float(np.mean(current))
    if not float(np.std(current)) <= STEADY_WITHIN * abs(mean):
        raise ReplyError(
            f"the current was not steady: {mean:.4g} A on average, standard deviation {float(np.std(current)):.2g} A",
            hint="calibrate with a resistor as the load, not with a board",
        )
    return mean
