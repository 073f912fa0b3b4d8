"""The targets a file can be judged for: what of their processor decides how a model runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from converters.errors import SourceError

FP16_ARITHMETIC = "fphp"
AVX = "avx"
EDGE_TPU = "coral"


@dataclass(frozen=True)
class Target:
    """A kind of board: its processor and the instructions that matter, as Linux names them."""

    name: str
    board: str
    cpu: str
    machine: str
    features: frozenset[str]

    @property
    def is_arm(self) -> bool:
        """Whether the processor is a 64-bit ARM."""
        return self.machine == "aarch64"


_ARMV8 = frozenset({"asimd"})
_ARMV8_2 = frozenset({"asimd", FP16_ARITHMETIC, "asimdhp", "asimddp"})
_TABLE = (
    Target("pi4", "Raspberry Pi 4", "Cortex-A72", "aarch64", _ARMV8),
    Target("pi5", "Raspberry Pi 5", "Cortex-A76", "aarch64", _ARMV8_2),
    Target("pi3", "Raspberry Pi 3", "Cortex-A53", "aarch64", _ARMV8),
    Target("zero2w", "Raspberry Pi Zero 2 W", "Cortex-A53", "aarch64", _ARMV8),
    Target("x86", "PC", "x86-64 with AVX", "x86_64", frozenset({AVX})),
)
TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in _TABLE})


def target_named(name: str) -> Target:
    """Return a target; "emulated-pi4" is judged as "pi4".

    Raises:
        SourceError: there is none of that name; the nearest ones are named.
    """
    if name == EDGE_TPU:
        raise SourceError(
            f"'{name}' is the Edge TPU, which runs none of XNNPACK's sparse kernels",
            hint="convert with --to edgetpu; edge inspect FILE --target coral forecasts what is mapped",
        )
    target = TARGETS.get(name.removeprefix("emulated-"))
    if target is None:
        near = get_close_matches(name, (*TARGETS, EDGE_TPU), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "name the board the file is for"
        raise SourceError(f"no target is named '{name}'; there are {', '.join((*TARGETS, EDGE_TPU))}", hint=hint)
    return target
