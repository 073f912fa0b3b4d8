"""Lists the INA chips that measure current and voltage, one record each.

A new chip needs a record here, its C source in src/, and its rows in PROTOCOL.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType


class InaChip(IntEnum):
    """The chip that measures, by its number in the protocol."""

    INA226 = 1
    INA219 = 2
    INA260 = 3


@dataclass(frozen=True)
class InaFacts:
    """Facts from a chip's data sheet; limits are those at 25 C.

    Attributes:
        source_file: The C source in src/ that drives it.
        bus_step_v: One step of the bus register.
        shunt_step_v: One step of the shunt register; None where the shunt is inside the chip.
        current_step_a: One step of the current register, where the shunt is inside the chip.
        current_gain: Limit of the relative error of current.
        bus_gain: Limit of the relative error of the bus voltage.
        bus_offset_v: Limit of the bus input's offset.
        shunt_offset_v: Limit of the shunt input's offset.
        current_offset_a: Limit of the current's offset, where the shunt is inside the chip.
        data_sheet: The source of these figures.
    """

    source_file: str
    bus_step_v: float
    shunt_step_v: float | None
    current_gain: float
    bus_gain: float
    bus_offset_v: float
    data_sheet: str
    shunt_offset_v: float = 0.0
    current_step_a: float | None = None
    current_offset_a: float | None = None

    @property
    def has_outer_shunt(self) -> bool:
        """Whether the shunt is outside the chip, so that it can be calibrated."""
        return self.shunt_step_v is not None


INA_FACTS: Mapping[InaChip, InaFacts] = MappingProxyType(
    {
        # Maxima: gain errors 0.1 %, shunt offset 10 uV, bus offset 7.5 mV.
        InaChip.INA226: InaFacts("chip_ina226.c", 1.25e-3, 2.5e-6, 0.001, 0.001, 0.0075, "TI SBOS547B",
                                 shunt_offset_v=10e-6),
        # Electrical characteristics, maxima: current measurement error 0.5 %, bus voltage error 0.5 %, offset 200 uV
        # (grade A, the range of 320 mV that breakouts use). No bus offset is given apart from the error.
        InaChip.INA219: InaFacts("chip_ina219.c", 4e-3, 10e-6, 0.005, 0.005, 0.0, "TI SBOS448G",
                                 shunt_offset_v=200e-6),
        # Current offset 5 mA maximum; the gain error was not available and is assumed.
        InaChip.INA260: InaFacts("chip_ina226.c", 1.25e-3, None, 0.005, 0.005, 0.0,
                                 "offset: TI SBOS656C; gain assumed: 0.5 %", current_step_a=1.25e-3,
                                 current_offset_a=0.005),
    }
)  # fmt: skip
CHIP_NAMES: tuple[str, ...] = tuple(chip.name.lower() for chip in InaChip)


def facts_of(name: str) -> InaFacts | None:
    """Return the facts of a chip by its name, such as ina226; None for an unknown one."""
    return next((facts for chip, facts in INA_FACTS.items() if chip.name.lower() == name), None)
