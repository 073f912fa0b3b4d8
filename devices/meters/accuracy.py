"""How far a meter's power may be off, as standard uncertainties (k = 1), and who says so.

Limits of data sheets are taken as the ends of a uniform distribution: standard uncertainty = limit / sqrt(3) (GUM, JCGM
100:2008, 4.3.7). Independent parts add in squares. Where a vendor's figures could not be found, a limit is assumed, and
the source says so; a setting of the meter, `accuracy`, replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NOMINAL_SUPPLY_V = 5.0  # of a Raspberry Pi or Coral board, where the supply has not been measured
_LEAST_SUPPLY_V = 1.0  # below, nothing is supplied, and an offset of the voltage would be all there is
DEFAULT_SHUNT_OHM = 0.01  # Linux' driver ina2xx, where nobody states another
# Of the resistor on the usual breakout boards; comparing it with a hand-held multimeter proves no better one.
SHUNT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Accuracy:
    """The three fields of a MeterInfo that say how far power may be off."""

    gain_uncertainty: float
    offset_uncertainty_w: float
    accuracy_source: str


@dataclass(frozen=True)
class Chip:
    """The limits of a current sensor at 25 C: relative gain errors, offsets of the shunt's input and of the bus input.

    A sensor with its shunt inside has the offset as a current, and no shunt of a tolerance of its own.
    """

    current_gain: float
    bus_gain: float
    bus_offset_v: float
    source: str
    shunt_offset_v: float = 0.0
    current_offset_a: float | None = None


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        # Electrical characteristics, maxima: current measurement error 0.5 %, bus voltage error 0.5 %, offset 200 uV
        # (grade A, the range of 320 mV that breakouts use). No bus offset is given apart from the error.
        "ina219": Chip(0.005, 0.005, 0.0, "TI SBOS448G", shunt_offset_v=200e-6),
        # Maxima: gain errors 0.1 %, shunt offset 10 uV, bus offset 7.5 mV.
        "ina226": Chip(0.001, 0.001, 0.0075, "TI SBOS547B", shunt_offset_v=10e-6),
        # Current offset 5 mA maximum; the gain error was not at hand and is assumed.
        "ina260": Chip(0.005, 0.005, 0.0, "offset: TI SBOS656C; gain assumed: 0.5 %", current_offset_a=0.005),
    }
)

# Limits of power, relative and absolute. None of these vendors' figures could be found in a citable text.
ASSUMED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "ppk2": (0.10, 0.001),
        "um25c": (0.01, 0.005),
        "tc66c": (0.01, 0.005),
        "fnirsi": (0.01, 0.005),
        "csv": (0.05, 0.010),
        "hwmon": (0.02, 0.010),
        "pmic": (0.15, 0.300),  # the correction that circulates multiplies by 1.15 and adds 0.6 W: an error that large
        "rapl": (0.10, 0.100),
    }
)


def of_chip(
    chip: str, *, shunt_ohm: float | None, shunt_tolerance: float = SHUNT_TOLERANCE, is_calibrated: bool = True,
    supply_v: float | None = None,
) -> Accuracy:  # fmt: skip
    """Return the accuracy of a current sensor of Texas Instruments with its shunt.

    Args:
        chip: As Linux names it, such as ina226; for one that is not in CHIPS the figures are assumed.
        shunt_ohm: Resistance of the shunt; None where the sensor has it inside, or where nobody states it.
        shunt_tolerance: Limit of its relative error.
        is_calibrated: Somebody has stated that resistance; otherwise the source says that it is assumed.
        supply_v: Measured supply, at which an offset of the current becomes power.
    """
    known = CHIPS.get(chip)
    if known is None:
        return assumed("hwmon")
    tolerance = 0.0 if known.current_offset_a is not None else shunt_tolerance
    at_v = max(supply_v, _LEAST_SUPPLY_V) if supply_v else NOMINAL_SUPPLY_V
    gains = (known.current_gain, known.bus_gain, tolerance, known.bus_offset_v / at_v)
    offset_a, shunt = known.current_offset_a, ""
    if offset_a is None:
        ohm = shunt_ohm or DEFAULT_SHUNT_OHM
        offset_a = known.shunt_offset_v / ohm
        is_stated = is_calibrated and shunt_ohm is not None
        shunt = f", shunt {'' if is_stated else f'NOT calibrated, assumed {1000 * ohm:g} mOhm '}within {tolerance:.2%}"
    source = f"{chip.upper()} limits at 25 C ({known.source}){shunt}, offset at {at_v:.3g} V"
    return Accuracy(math.hypot(*gains) / math.sqrt(3), offset_a * at_v / math.sqrt(3), source)


def assumed(kind: str, *, accuracy: float | None = None) -> Accuracy:
    """Return the accuracy of a kind of meter; `accuracy` is the user's limit of the relative error, if given."""
    gain, offset_w = ASSUMED[kind]
    if accuracy is not None:
        return Accuracy(accuracy / math.sqrt(3), offset_w / math.sqrt(3), f"limit {accuracy:.2%} given by the user")
    source = f"not stated by the vendor: assumed limits {gain:.0%} and {1000 * offset_w:g} mW"
    return Accuracy(gain / math.sqrt(3), offset_w / math.sqrt(3), source)
