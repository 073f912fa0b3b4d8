"""The TFLite runtimes as data: which wheels exist, what they need, what they can do and where they are known to fail.

Sources: the wheels' own names, metadata and ELF attributes as the package index has them, and runs of each on the
processors named here (aarch64 under QEMU user mode, x86-64 with the features of older processors masked).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from devices.solver.target import Version

# What the agent is tested with on a board; a runtime's own range may be wider.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
# Which processors get XNNPACK's sparse kernels: every ARM, only ARM with fp16 arithmetic (ARMv8.2), or none. No x86
# with AVX gets them from any version.
Sparse = Literal["arm", "arm-fp16", "none"]


@dataclass(frozen=True)
class Wheel:
    """The wheels of one runtime version for one architecture: oldest glibc, Pythons, instructions they cannot do
    without (as Linux names them)."""

    glibc: Version
    pythons: tuple[Version, Version]
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Runtime:
    """One version of a runtime.

    `declared` are the further packages its metadata asks for; only NumPy is needed to run models, the others keep
    `pip check` content. `oldest_emulator` is the first QEMU it does not crash in. `recommended` marks the version that
    was verified the most: what is measured with it can be compared between real and emulated boards.
    """

    name: str
    version: str
    wheels: Mapping[str, Wheel]
    numpy: str
    declared: tuple[str, ...]
    sparse: Sparse
    dynamic_range: bool = True
    int8_xnnpack: bool = True
    kernel_profile: bool = False
    oldest_emulator: Version | None = None
    recommended: bool = False

    @property
    def requirement(self) -> str:
        """Return it as pip names it."""
        return f"{self.name}=={self.version}"


# One pin serves every Python and glibc here: 2.2.6 is NumPy's last with wheels for Python 3.10 and for glibc 2.17,
# 1.26.4 the last before NumPy 2, which tflite-runtime cannot be used with.
NUMPY_2, NUMPY_1 = "numpy==2.2.6", "numpy==1.26.4"
_FLATBUFFERS, _PROTOBUF, _ML_DTYPES = "flatbuffers==25.12.19", "protobuf==6.33.2", "ml_dtypes==0.5.4"
_PURE = ("backports.strenum==1.2.8", "tqdm==4.67.1", "typing-extensions==4.15.0")
# Seen with processors masked: without SSE4 every x86-64 wheel of ai-edge-litert dies with SIGILL.
_SSE4 = frozenset({"sse4_1"})


def _litert(version: str, declared: tuple[str, ...], *, glibc: Version, pythons: tuple[Version, Version],
            sparse: Sparse, **more: object) -> Runtime:  # fmt: skip
    wheels = {"aarch64": Wheel(glibc, pythons, frozenset({"asimd"})), "x86_64": Wheel(glibc, pythons, _SSE4)}
    return Runtime("ai-edge-litert", version, MappingProxyType(wheels), NUMPY_2, declared, sparse, **more)  # type: ignore[arg-type]


_V1, _V2 = (2, 17), (2, 27)
_39_312, _39_313, _310_314 = ((3, 9), (3, 12)), ((3, 9), (3, 13)), ((3, 10), (3, 14))
_TO_1_2 = (_FLATBUFFERS,)
_FROM_1_3 = (_FLATBUFFERS, *_PURE)
_FROM_2_1 = (_FLATBUFFERS, _PROTOBUF, *_PURE)
_FROM_2_2 = (*_FROM_2_1, _ML_DTYPES)

# The newest first.
RUNTIMES: tuple[Runtime, ...] = (
    _litert("2.3.0", _FROM_2_2, glibc=_V2, pythons=_310_314, sparse="arm", oldest_emulator=(10,), kernel_profile=True),
    _litert("2.2.0", _FROM_2_2, glibc=_V2, pythons=_310_314, sparse="arm", oldest_emulator=(10,), kernel_profile=True),
    _litert("2.1.6", _FROM_2_1, glibc=_V2, pythons=_310_314, sparse="arm", recommended=True, kernel_profile=True),
    _litert("2.1.0", _FROM_2_1, glibc=_V2, pythons=_39_313, sparse="arm"),
    _litert("2.0.3", _FROM_1_3, glibc=_V2, pythons=_39_312, sparse="arm"),
    _litert("1.4.0", _FROM_1_3, glibc=_V1, pythons=_39_312, sparse="arm"),
    _litert("1.3.0", _FROM_1_3, glibc=_V1, pythons=_39_312, sparse="none"),
    _litert("1.2.0", _TO_1_2, glibc=_V1, pythons=_39_312, sparse="none"),
    _litert("1.1.2", _TO_1_2, glibc=_V1, pythons=_39_312, sparse="none"),
    Runtime(
        "tflite-runtime",
        "2.14.0",
        MappingProxyType({
            "aarch64": Wheel((2, 34), ((3, 8), (3, 11)), frozenset({"asimd"})),
            # Built with -march=armv7-a -mfpu=neon-vfpv4 (the ELF attributes of the wheel's library).
            "armv7l": Wheel((2, 34), ((3, 8), (3, 11)), frozenset({"neon", "vfpv4"})),
            "x86_64": Wheel((2, 17), ((3, 8), (3, 11))),
        }),
        NUMPY_1,
        (),
        "arm-fp16",
        dynamic_range=False,
        int8_xnnpack=False,
    ),
)  # fmt: skip

# No index that pip trusts has NumPy for 32-bit ARM: it comes from the board's own system.
NUMPY_FROM_SYSTEM = MappingProxyType({"armv7l": "python3-numpy"})
