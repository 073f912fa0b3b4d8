"""Reads the calibration that a Nordic Power Profiler Kit II reports, and defines the commands that it takes.

Sources: IRNAS/ppk2-api-python, src/ppk2_api/ppk2_api.py, and NordicSemiconductor/pc-nrfconnect-ppk,
src/device/serialDevice.ts (command codes, keys of the metadata, the formula of the current).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firmware_tools.errors import MetadataError, SettingError

RANGES = 5
SUPPLY_V = (0.8, 5.0)

START = b"\x06"
STOP = b"\x07"
GET_METADATA = b"\x19"
MEASURE_ONLY = b"\x11\x01"
SOURCE = b"\x11\x02"
POWER_ON = b"\x0c\x01"
POWER_OFF = b"\x0c\x00"

# One step of the converter, in volts across the range's resistor; the stream drops the two lowest bits.
_STEP_V = 1.8 / 163840
_STEPS = 1 << 14
_FULL_SCALE_V = 4 * _STEPS * _STEP_V
_NOMINAL_OHM = (1000.0, 100.0, 10.0, 1.0, 0.05)
_MOST_A = 1.0
_KEYS = ("R", "GS", "GI", "O", "S", "I")

Five = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Ppk2Calibration:
    """Constants per range, the names as in the metadata.

    With x = (converter steps - o) * step / r, the current is ug * (x * (gs * x + gi) + s * supply_v + i), in amperes.
    """

    r: Five
    gs: Five
    gi: Five
    o: Five
    s: Five
    i: Five
    ug: Five = (1.0, 1.0, 1.0, 1.0, 1.0)


def supply_command(supply_v: float) -> bytes:
    """Return the command that sets the voltage of the source: millivolts, most significant byte first.

    Raises:
        SettingError: The voltage is not between 0.8 and 5.0 V.
    """
    return b"\x0d" + round(1000 * check_supply(supply_v)).to_bytes(2, "big")


def check_supply(supply_v: float) -> float:
    """Return the voltage if the kit can supply it or measure at it.

    Raises:
        SettingError: It cannot.
    """
    if not SUPPLY_V[0] <= supply_v <= SUPPLY_V[1]:
        raise SettingError(f"a PPK2 works between {SUPPLY_V[0]} and {SUPPLY_V[1]} V, not at {supply_v} V")
    return supply_v


def parse_metadata(answer: bytes) -> Ppk2Calibration:
    """Read the answer to GET_METADATA: lines `KEY: value`, complete with the word END.

    Kits with broken constants exist (Nordic DevZone 92921), and a current computed from them would look plausible, so
    the constants must be within wide bounds: resistors within a factor of 3 of the nominal ones, gains within a factor
    of 2, offsets below a tenth of the range. Only UG, the user's own gain, may be missing: then it is 1.

    Raises:
        MetadataError: Incomplete, not numbers, or not plausible.
    """
    text = answer.decode("ascii", "replace")
    if "END" not in text:
        raise MetadataError("the PPK2's metadata is incomplete: END is missing", hint="ask again and read on")
    lines = (line.partition(":") for line in text.partition("END")[0].splitlines())
    values = {key.strip(): value.strip() for key, _, value in lines}
    r, gs, gi, o, s, i = (_five(values, key) for key in _KEYS)
    calibration = Ppk2Calibration(r, gs, gi, o, s, i, _five(values, "UG", missing="1"))
    _check(calibration)
    return calibration


def _five(values: dict[str, str], key: str, *, missing: str | None = None) -> Five:
    texts = [values.get(f"{key}{index}", missing) for index in range(RANGES)]
    absent = [f"{key}{index}" for index, value in enumerate(texts) if value is None]
    if absent:
        raise MetadataError(f"the PPK2's metadata lacks {', '.join(absent)}", hint="update the kit's firmware")
    try:
        first, second, third, fourth, fifth = (float(value) for value in texts if value is not None)
    except ValueError as error:
        raise MetadataError(f"the PPK2's metadata has {key} = {texts}, which are not numbers") from error
    return first, second, third, fourth, fifth


def _check(calibration: Ppk2Calibration) -> None:
    for index, (r, gs, gi, o, s, i, ug) in enumerate(
        zip(
            calibration.r, calibration.gs, calibration.gi, calibration.o, calibration.s, calibration.i, calibration.ug,
            strict=True,
        )
    ):  # fmt: skip
        nominal = _NOMINAL_OHM[index]
        top_a = _FULL_SCALE_V / nominal
        bounds = {
            "R": (r, nominal / 3, nominal * 3),
            "GS": (gs, -2 / min(top_a, _MOST_A), 2 / min(top_a, _MOST_A)),
            "GI": (gi, 0.5, 2),
            "O": (o, -0.1 * 4 * _STEPS, 0.1 * 4 * _STEPS),
            "S": (s, -0.1 * top_a / SUPPLY_V[1], 0.1 * top_a / SUPPLY_V[1]),
            "I": (i, -0.1 * top_a, 0.1 * top_a),
            "UG": (ug, 0.5, 2),
        }
        for key, (value, least, most) in bounds.items():
            if not least <= value <= most:
                raise MetadataError(
                    f"the PPK2 reports {key}{index} = {value:g}; expected is {least:g} to {most:g}",
                    hint="its calibration is broken: restore it with Nordic's Power Profiler, or use another kit",
                )


@lru_cache(maxsize=8)
def current_table(calibration: Ppk2Calibration, supply_v: float) -> NDArray[np.float64]:
    """Return the current, in amperes, for all 17 bits of range and converter; NaN for ranges that do not exist."""
    table = np.full(8 * _STEPS, math.nan)
    steps = 4.0 * np.arange(_STEPS)
    for index in range(RANGES):
        x = (steps - calibration.o[index]) * (_STEP_V / calibration.r[index])
        table[index * _STEPS : (index + 1) * _STEPS] = calibration.ug[index] * (
            x * (calibration.gs[index] * x + calibration.gi[index])
            + (calibration.s[index] * supply_v + calibration.i[index])
        )
    table.setflags(write=False)
    return table
