"""The boards that are emulated: what each is, and which processor QEMU is to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_ARMV8 = ("asimd",)
_ARMV8_2 = ("fphp", "asimd", "asimdhp", "asimddp")


@dataclass(frozen=True)
class Board:
    """A board: its model and system on a chip, QEMU's name of its processor and the instructions that matter.

    `features` are those that Linux names on the board and QEMU's model of the processor has.
    """

    model: str
    soc: str
    cpu: str
    features: tuple[str, ...]


BOARDS: Mapping[str, Board] = MappingProxyType(
    {
        "emulated-pi3": Board("Raspberry Pi 3 Model B", "bcm2837", "cortex-a53", _ARMV8),
        "emulated-pi4": Board("Raspberry Pi 4 Model B", "bcm2711", "cortex-a72", _ARMV8),
        "emulated-pi5": Board("Raspberry Pi 5 Model B", "bcm2712", "cortex-a76", _ARMV8_2),
        "emulated-zero2w": Board("Raspberry Pi Zero 2 W", "bcm2710", "cortex-a53", _ARMV8),
    }
)
