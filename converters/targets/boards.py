"""The boards as data: one record each, asked by everything that has to know a processor.

A new board is one record in `_TABLE`: it is then a target, and an emulated device where it is an `EmulatedBoard`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from converters.errors import SourceError

AVX, ASIMD = "avx", "asimd"
# What Linux calls scalar and vector half-precision arithmetic (ARMv8.2). XNNPACK asks cpuinfo for "fp16 arithmetic",
# which is both (cpuinfo, src/arm/linux/aarch64-isa.c, fp16arith_mask).
_FP16_ARITHMETIC = frozenset({"fphp", "asimdhp"})
EDGE_TPU = "coral"
EMULATED_PREFIX = "emulated-"
DEFAULT_TARGET = "pi4"


@dataclass(frozen=True)
class Target:
    """A kind of board that files are analysed for.

    Attributes:
        name: what `--target` calls it.
        board: the product.
        cpu: its processor.
        machine: the processor's architecture, as Linux names it.
        features: the instructions that matter to inference, as Linux names them on the board.
    """

    name: str
    board: str
    cpu: str
    machine: str
    features: tuple[str, ...]

    @property
    def is_arm(self) -> bool:
        """Whether the processor is a 64-bit ARM."""
        return self.machine == "aarch64"


@dataclass(frozen=True)
class EmulatedBoard(Target):
    """A board that is also a device, `emulated-NAME`.

    Attributes:
        model: the emulated model of the board, as its device tree names it.
        soc: its system on a chip.
        qemu_cpu: what QEMU calls its processor; QEMU's model of it has all `features`.
    """

    model: str
    soc: str
    qemu_cpu: str

    @property
    def device_name(self) -> str:
        """The name of the emulated device."""
        return EMULATED_PREFIX + self.name


_ARMV8 = (ASIMD,)
_ARMV8_2 = ("fphp", ASIMD, "asimdhp", "asimddp")
_TABLE: tuple[Target, ...] = (
    EmulatedBoard("pi3", "Raspberry Pi 3", "Cortex-A53", "aarch64", _ARMV8,
                  model="Raspberry Pi 3 Model B", soc="bcm2837", qemu_cpu="cortex-a53"),
    EmulatedBoard("pi4", "Raspberry Pi 4", "Cortex-A72", "aarch64", _ARMV8,
                  model="Raspberry Pi 4 Model B", soc="bcm2711", qemu_cpu="cortex-a72"),
    EmulatedBoard("pi5", "Raspberry Pi 5", "Cortex-A76", "aarch64", _ARMV8_2,
                  model="Raspberry Pi 5 Model B", soc="bcm2712", qemu_cpu="cortex-a76"),
    EmulatedBoard("zero2w", "Raspberry Pi Zero 2 W", "Cortex-A53", "aarch64", _ARMV8,
                  model="Raspberry Pi Zero 2 W", soc="bcm2710", qemu_cpu="cortex-a53"),
    Target("x86", "PC", "x86-64 with AVX", "x86_64", (AVX,)),
)  # fmt: skip
TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in _TABLE})
EMULATED_BOARDS: Mapping[str, EmulatedBoard] = MappingProxyType(
    {board.device_name: board for board in _TABLE if isinstance(board, EmulatedBoard)}
)


def has_fp16_arithmetic(features: Collection[str]) -> bool:
    """Whether a processor with these features computes in half precision, as XNNPACK's fp16 kernels require."""
    return {*features} >= _FP16_ARITHMETIC


def target_named(name: str) -> Target:
    """Return the target of a name; an emulated board's name stands for its target.

    Raises:
        SourceError: there is none of that name; the nearest ones are named.
    """
    if name == EDGE_TPU:
        raise SourceError(
            f"'{name}' is the Edge TPU, which runs none of XNNPACK's sparse kernels",
            hint="convert with --to edgetpu; edge inspect FILE --target coral predicts what is mapped",
        )
    target = TARGETS.get(name.removeprefix(EMULATED_PREFIX))
    if target is None:
        near = get_close_matches(name, (*TARGETS, EDGE_TPU), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "name the board the file is for"
        raise SourceError(f"no target is named '{name}'; there are {', '.join((*TARGETS, EDGE_TPU))}", hint=hint)
    return target
