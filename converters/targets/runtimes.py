"""The TFLite runtimes as data: their wheels, what those need and can do, and which use XNNPACK's sparse kernels.

A new version is one record in `RUNTIMES`; what its sparse kernels were measured to do is one in `SPARSE_RULES`.

Sources: the wheels' names, metadata and ELF attributes in the package index, and runs of each on the processors named
here (aarch64 under QEMU user mode, x86-64 with the features of older processors masked). Kernels were seen by name:
LiteRT's profiler, or the symbols of executed instructions under QEMU. What was not measured is unknown, never guessed;
a version between two measured ones that behave alike is taken to behave like them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from converters.targets.boards import ASIMD, AVX, Target, has_fp16_arithmetic

Version = tuple[int, ...]
# What the agent is tested with on a board; a runtime's own range may be wider.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
# Processors that get sparse kernels: every 64-bit ARM, only those with fp16 arithmetic (ARMv8.2), or none.
Where = Literal["arm", "arm-fp16", "none"]
LITERT, TFLITE_RUNTIME = "ai-edge-litert", "tflite-runtime"


@dataclass(frozen=True)
class WheelSupport:
    """The wheels of one runtime version for one architecture.

    Attributes:
        glibc: the oldest they run with.
        pythons: the oldest and the newest they are built for.
        needs: instructions they cannot do without, as Linux names them.
    """

    glibc: Version
    pythons: tuple[Version, Version]
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Runtime:
    """One version of a runtime.

    Attributes:
        wheels: by architecture.
        numpy: the version to run models with, pinned.
        declared: the further packages its metadata asks for; not needed to run models, but `pip check` asks for them.
        oldest_emulator: the first QEMU it does not crash in.
        recommended: marks the version verified the most: what is measured with it can be compared between real and
            emulated boards.
    """

    name: str
    version: str
    wheels: Mapping[str, WheelSupport]
    numpy: str
    declared: tuple[str, ...]
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
_NUMPY_2, _NUMPY_1 = "numpy==2.2.6", "numpy==1.26.4"
_FLATBUFFERS, _PROTOBUF, _ML_DTYPES = "flatbuffers==25.12.19", "protobuf==6.33.2", "ml_dtypes==0.5.4"
_PURE = ("backports.strenum==1.2.8", "tqdm==4.67.1", "typing-extensions==4.15.0")
_TO_1_2 = (_FLATBUFFERS,)
_FROM_1_3 = (_FLATBUFFERS, *_PURE)
_FROM_2_1 = (_FLATBUFFERS, _PROTOBUF, *_PURE)
_FROM_2_2 = (*_FROM_2_1, _ML_DTYPES)


def _litert_wheels(glibc: Version, oldest: Version, newest: Version) -> Mapping[str, WheelSupport]:
    # Seen with processors masked: without SSE4 every x86-64 wheel of ai-edge-litert dies with SIGILL.
    needs = {"aarch64": frozenset({ASIMD}), "x86_64": frozenset({"sse4_1"})}
    return MappingProxyType({machine: WheelSupport(glibc, (oldest, newest), each) for machine, each in needs.items()})


_SINCE_1_1, _SINCE_2_0 = _litert_wheels((2, 17), (3, 9), (3, 12)), _litert_wheels((2, 27), (3, 9), (3, 12))
_SINCE_2_1_0, _SINCE_2_1_6 = _litert_wheels((2, 27), (3, 9), (3, 13)), _litert_wheels((2, 27), (3, 10), (3, 14))
_TFLITE_WHEELS = MappingProxyType({
    "aarch64": WheelSupport((2, 34), ((3, 8), (3, 11)), frozenset({ASIMD})),
    # Built with -march=armv7-a -mfpu=neon-vfpv4 (the ELF attributes of the wheel's library).
    "armv7l": WheelSupport((2, 34), ((3, 8), (3, 11)), frozenset({"neon", "vfpv4"})),
    "x86_64": WheelSupport((2, 17), ((3, 8), (3, 11))),
})  # fmt: skip

# The newest first.
RUNTIMES: tuple[Runtime, ...] = (
    Runtime(LITERT, "2.3.0", _SINCE_2_1_6, _NUMPY_2, _FROM_2_2, oldest_emulator=(10,), kernel_profile=True),
    Runtime(LITERT, "2.2.0", _SINCE_2_1_6, _NUMPY_2, _FROM_2_2, oldest_emulator=(10,), kernel_profile=True),
    Runtime(LITERT, "2.1.6", _SINCE_2_1_6, _NUMPY_2, _FROM_2_1, recommended=True, kernel_profile=True),
    Runtime(LITERT, "2.1.0", _SINCE_2_1_0, _NUMPY_2, _FROM_2_1),
    Runtime(LITERT, "2.0.3", _SINCE_2_0, _NUMPY_2, _FROM_1_3),
    Runtime(LITERT, "1.4.0", _SINCE_1_1, _NUMPY_2, _FROM_1_3),
    Runtime(LITERT, "1.3.0", _SINCE_1_1, _NUMPY_2, _FROM_1_3),
    Runtime(LITERT, "1.2.0", _SINCE_1_1, _NUMPY_2, _TO_1_2),
    Runtime(LITERT, "1.1.2", _SINCE_1_1, _NUMPY_2, _TO_1_2),
    Runtime(TFLITE_RUNTIME, "2.14.0", _TFLITE_WHEELS, _NUMPY_1, (), dynamic_range=False, int8_xnnpack=False),
)
# The runtime of whatever names none: emulated boards, gates and analyses.
RECOMMENDED = next(each.requirement for each in RUNTIMES if each.recommended)
# No index that pip trusts has NumPy for 32-bit ARM: it comes from the board's own system.
NUMPY_FROM_SYSTEM = MappingProxyType({"armv7l": "python3-numpy"})


def newest_python(name: str) -> Version:
    """Return the newest Python that any wheel of a runtime is built for."""
    return max(wheel.pythons[1] for each in RUNTIMES if each.name == name for wheel in each.wheels.values())


def oldest_profiled() -> str:
    """Return the oldest version of LiteRT in the table that names the kernels it ran."""
    return next(each.version for each in reversed(RUNTIMES) if each.kernel_profile)


def find_crashing(emulator: Version | None) -> tuple[Runtime, ...]:
    """Return the runtimes that crash in a version of QEMU; none where it is unknown."""
    return tuple(each for each in RUNTIMES if emulator and each.oldest_emulator and emulator < each.oldest_emulator)


def version_text(version: Version) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))


# Unary operators that every version lets into a sparse cluster.
UNARY = frozenset({
    "ABS", "CEIL", "ELU", "FLOOR", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1",
    "ROUND", "SQUARE",
})  # fmt: skip


@dataclass(frozen=True)
class SparseRules:
    """Versions of a runtime, `first` and `last` included, and what is known of their sparse kernels.

    Attributes:
        where: the processors that get them.
        more_unary: further unary operators that may stand in a cluster.
        outside_unary: operators that its XNNPACK runs, but lets into no cluster.
        without_unary: operators that its XNNPACK does not run.
        takes_dynamic: whether its XNNPACK runs a graph that has a tensor of computed size; else other kernels run all
            of it. None where not measured.
        reduces_any_axes: whether a mean or sum over any axes of a feature map ends a cluster, not only the mean over
            height and width. None where not measured, as below.
        takes_dense_maps: whether fully connected layers on feature maps stand in clusters, and their weights count.
        takes_clamps: whether MINIMUM and MAXIMUM with one number may stand in a cluster.
        takes_twice: operators that may read one value twice inside a cluster; XNNPACK makes a square of MUL in time.
        refuses_packed_integers: whether it loads no file with int8 weights that are stored sparse and multiplied with
            floats.
    """

    name: str
    first: Version
    last: Version
    where: Where
    more_unary: frozenset[str] = frozenset()
    outside_unary: frozenset[str] = frozenset()
    without_unary: frozenset[str] = frozenset()
    takes_dynamic: bool | None = None
    reduces_any_axes: bool | None = None
    takes_dense_maps: bool | None = None
    takes_clamps: bool | None = None
    takes_twice: frozenset[str] | None = None
    refuses_packed_integers: bool = False

    def run_on(self, machine: str, features: Collection[str] | None) -> bool | None:
        """Return whether a processor gets sparse kernels.

        Args:
            machine: its architecture, as Linux names it.
            features: its instructions; None where they are unknown.

        Returns:
            None where that is unknown: 32-bit ARM and x86 without AVX were not measured.
        """
        if self.where == "none" or (machine == "x86_64" and features is not None and AVX in features):
            return False
        if machine != "aarch64":
            return None
        if self.where == "arm":
            return True
        return None if features is None else has_fp16_arithmetic(features)

    def why_never(self, target: Target) -> str | None:
        """Return why no file gets sparse kernels on that processor; None where files may."""
        if not target.is_arm:
            return f"XNNPACK switches its sparse kernels off on x86 processors with {AVX.upper()}, whatever the runtime"
        if self.run_on(target.machine, target.features) is not False:
            return None
        if self.where == "none":
            return f"{self.versions} never uses sparse kernels"
        return (
            f"{self.versions} asks for fp16 arithmetic (ARMv8.2) before it uses sparse kernels, which "
            f"{target.board}'s {target.cpu} does not have"
        )

    @property
    def versions(self) -> str:
        """Return the range as text."""
        ends = dict.fromkeys(map(version_text, (self.first, self.last)))
        return f"{self.name} {' to '.join(ends)}"


_NEWER_UNARY = frozenset({"COS", "EXP", "GELU", "RSQRT", "SIN", "SQRT", "TANH"})
_LEFT_OUT = frozenset({"RELU_0_TO_1", "SIGN"})
_SINCE_1_4 = SparseRules(
    LITERT, (1, 4, 0), (2, 0, 2), "arm",
    more_unary=_NEWER_UNARY, without_unary=_LEFT_OUT | {"LOG"}, takes_dynamic=True, reduces_any_axes=True,
    takes_dense_maps=True, takes_clamps=False, refuses_packed_integers=True,
)  # fmt: skip
SPARSE_RULES: tuple[SparseRules, ...] = (
    SparseRules(LITERT, (2, 1, 7), (2, 3, 0), "arm", refuses_packed_integers=True),
    replace(
        _SINCE_1_4, first=(2, 1, 0), last=(2, 1, 6),
        more_unary=_NEWER_UNARY | {"LOG"}, without_unary=_LEFT_OUT, takes_clamps=True, takes_twice=frozenset({"MUL"}),
    ),
    replace(_SINCE_1_4, first=(2, 0, 3), last=(2, 0, 3), takes_twice=frozenset()),
    _SINCE_1_4,
    SparseRules(LITERT, (1, 1, 2), (1, 3, 0), "none", refuses_packed_integers=True),
    SparseRules(
        TFLITE_RUNTIME, (2, 14, 0), (2, 14, 0), "arm-fp16",
        outside_unary=frozenset({"TANH"}), without_unary=frozenset({"GELU"}), takes_dynamic=False,
        reduces_any_axes=False, takes_dense_maps=False, takes_clamps=False, takes_twice=frozenset({"ADD", "MUL"}),
    ),
)  # fmt: skip


def find_sparse_rules(spec: str) -> SparseRules | None:
    """Return what is known of the sparse kernels of a runtime, "name==version"; None where nothing was measured."""
    name, _, version = re.sub(r"\s+", "", spec).lower().replace("_", "-").partition("==")
    if not re.fullmatch(r"\d+(\.\d+){1,3}", version):
        return None
    numbers = tuple(map(int, version.split(".")))
    return next((each for each in SPARSE_RULES if each.name == name and each.first <= numbers <= each.last), None)
