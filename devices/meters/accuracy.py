"""States the uncertainty of a meter's power, as standard uncertainties (k = 1), and its source.

Limits in data sheets are taken as the ends of a uniform distribution: standard uncertainty = limit / sqrt(3) (GUM, JCGM
100:2008, 4.3.7). Independent parts add in quadrature. Where no figures of the vendor could be found, a limit is
assumed, and the source states that; the meter's setting `accuracy` replaces it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from devices.meters.kinds import KINDS
from firmware_tools.power_meter.chips import facts_of

NOMINAL_SUPPLY_V = 5.0  # of a Raspberry Pi or Coral board, where the supply has not been measured
_LEAST_SUPPLY_V = 1.0  # below this nothing is supplied, and the offset of the voltage would dominate
DEFAULT_SHUNT_OHM = 0.01  # the default of Linux' driver ina2xx
# Of the resistor on the usual breakout boards; a comparison with a hand-held multimeter cannot prove a better one.
SHUNT_TOLERANCE = 0.01


@dataclass(frozen=True)
class MeterAccuracy:
    """The three fields of a MeterInfo that state the uncertainty of power."""

    gain_uncertainty: float
    offset_uncertainty_w: float
    accuracy_source: str


def chip_accuracy(
    chip: str, *, shunt_ohm: float | None, shunt_tolerance: float = SHUNT_TOLERANCE, is_calibrated: bool = True,
    supply_v: float | None = None,
) -> MeterAccuracy:  # fmt: skip
    """Return the accuracy of a current sensor of Texas Instruments with its shunt.

    Args:
        chip: Its name in Linux, such as ina226; for an unknown one the figures are assumed.
        shunt_ohm: Resistance of the shunt; None where it is inside the sensor, or not known.
        shunt_tolerance: Limit of its relative error.
        is_calibrated: The resistance was stated; otherwise the source states that it is assumed.
        supply_v: Measured supply, at which an offset of the current becomes power.
    """
    facts = facts_of(chip)
    if facts is None:
        return assume_accuracy("hwmon")
    tolerance = 0.0 if facts.current_offset_a is not None else shunt_tolerance
    at_v = max(supply_v, _LEAST_SUPPLY_V) if supply_v else NOMINAL_SUPPLY_V
    gains = (facts.current_gain, facts.bus_gain, tolerance, facts.bus_offset_v / at_v)
    offset_a, shunt = facts.current_offset_a, ""
    if offset_a is None:
        ohm = shunt_ohm or DEFAULT_SHUNT_OHM
        offset_a = facts.shunt_offset_v / ohm
        is_stated = is_calibrated and shunt_ohm is not None
        shunt = f", shunt {'' if is_stated else f'NOT calibrated, assumed {1000 * ohm:g} mOhm '}within {tolerance:.2%}"
    source = f"{chip.upper()} limits at 25 C ({facts.data_sheet}){shunt}, offset at {at_v:.3g} V"
    return MeterAccuracy(math.hypot(*gains) / math.sqrt(3), offset_a * at_v / math.sqrt(3), source)


def assume_accuracy(kind: str, *, accuracy: float | None = None) -> MeterAccuracy:
    """Return the assumed accuracy of a kind of meter.

    Args:
        kind: One whose record in kinds.py has `error_limits`.
        accuracy: The user's own limit of the relative error.
    """
    limits = KINDS[kind].error_limits
    assert limits is not None, kind
    gain, offset_w = limits
    if accuracy is not None:
        gain, source = accuracy, f"limit {accuracy:.2%} given by the user"
    else:
        source = f"not stated by the vendor: assumed limits {gain:.0%} and {1000 * offset_w:g} mW"
    return MeterAccuracy(gain / math.sqrt(3), offset_w / math.sqrt(3), source)
