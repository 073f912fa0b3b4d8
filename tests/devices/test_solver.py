"""The runtime that fits a board: a table of boards, systems and Pythons."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from converters.targets.runtimes import RUNTIMES
from devices.facts import Clock, Cpu, Facts, OperatingSystem
from devices.messages.machine_jobs import PythonVersion
from devices.solver.errors import NoRuntimeFits
from devices.solver.platforms import BoardPlatform, PythonState
from devices.solver.solve import solve

A53 = A72 = ("asimd",)
A76 = ("asimd", "fphp", "asimdhp", "asimddp")
V7 = ("neon", "vfpv4")
BOOKWORM, TRIXIE, BULLSEYE = ("3.11.2", "2.36"), ("3.13.5", "2.41"), ("3.9.2", "2.31")


def facts(cpu, features, system, *, machine="aarch64", bits=64, libc="glibc"):
    """Return the facts of a board with this processor and this system (Python, libc)."""
    python, version = system
    return Facts(
        name="board", kind="ssh", board=None, soc=None, cpu=Cpu(machine, cpu, features, 4, 4),
        os=OperatingSystem("debian", None, None, "6.6"),
        python=PythonVersion(python, "cpython", bits, "/usr/bin/python3"),
        libc=f"{libc} {version}" if libc else None, memory_bytes=None, available_memory_bytes=None,
        page_size_bytes=4096, clock=Clock(None, None, None, None), temperature_c=None, throttled=None,
        free_disk_bytes=None, runtimes=(),
    )  # fmt: skip


PI3, PI4 = facts("cortex-a53", A53, BOOKWORM), facts("cortex-a72", A72, BOOKWORM)
PI5 = facts("cortex-a76", A76, BOOKWORM)
PI4_32 = facts("cortex-a72", A72, BOOKWORM, bits=32)  # a 64-bit kernel under 32-bit Raspberry Pi OS
PI2 = facts("cortex-a7", V7, BOOKWORM, machine="armv7l", bits=32)
PC = facts("Core i5", ("sse4_1", "sse4_2", "avx", "avx2"), ("3.12.3", "2.39"), machine="x86_64")
OLD_PC = facts("Core 2", (), BOOKWORM, machine="x86_64")

FITS = {
    # board, wanted: runtime, python tag, newest platform tag, sparse kernels
    "pi3 bookworm": (PI3, None, "ai-edge-litert==2.1.6", "cp311", "manylinux_2_36_aarch64", True),
    "pi4 bookworm": (PI4, None, "ai-edge-litert==2.1.6", "cp311", "manylinux_2_36_aarch64", True),
    "pi4 newest": (PI4, "newest", "ai-edge-litert==2.3.0", "cp311", "manylinux_2_36_aarch64", True),
    "pi4 old litert": (PI4, "ai-edge-litert==1.3.0", "ai-edge-litert==1.3.0", "cp311", "manylinux_2_36_aarch64", False),
    "pi4 tflite": (PI4, "tflite-runtime==2.14.0", "tflite-runtime==2.14.0", "cp311", "manylinux_2_36_aarch64", False),
    "pi4 by name": (PI4, "tflite-runtime", "tflite-runtime==2.14.0", "cp311", "manylinux_2_36_aarch64", False),
    "pi5 tflite": (PI5, "tflite-runtime", "tflite-runtime==2.14.0", "cp311", "manylinux_2_36_aarch64", True),
    "pi5 trixie": (
        replace(PI5, python=PythonVersion("3.13.5", "cpython", 64, None), libc="glibc 2.41"), None,
        "ai-edge-litert==2.1.6", "cp313", "manylinux_2_41_aarch64", True,
    ),
    "zero 2 W": (PI3, "ai-edge-litert", "ai-edge-litert==2.1.6", "cp311", "manylinux_2_36_aarch64", True),
    "pi4 32 bit": (PI4_32, None, "tflite-runtime==2.14.0", "cp311", "manylinux_2_36_armv7l", None),
    "pi2": (PI2, None, "tflite-runtime==2.14.0", "cp311", "manylinux_2_36_armv7l", None),
    "pc": (PC, None, "ai-edge-litert==2.1.6", "cp312", "manylinux_2_39_x86_64", False),
    "old pc": (OLD_PC, None, "tflite-runtime==2.14.0", "cp311", "manylinux_2_36_x86_64", None),
    "silent cpu": (facts(None, (), BOOKWORM), None, "ai-edge-litert==2.1.6", "cp311", "manylinux_2_36_aarch64", True),
    "ubuntu 20.04": (facts("x", A72, ("3.10.4", "2.31")), None, "ai-edge-litert==2.1.6", "cp310",
                     "manylinux_2_31_aarch64", True),
    "glibc 2.26": (facts("x", A72, ("3.11.4", "2.26")), None, "ai-edge-litert==1.4.0", "cp311",
                   "manylinux_2_26_aarch64", True),
}  # fmt: skip


@pytest.mark.parametrize("case", FITS)
def test_what_fits(case):
    board, want, requirement, python, platform, sparse = FITS[case]
    found = solve(board, want)
    assert found.requirements[0] == requirement == f"{found.name}=={found.version}"
    assert (found.python_tag, found.platform_tags[0], found.capabilities.sparse_kernels) == (python, platform, sparse)
    assert json.loads(json.dumps(found.to_json()))["name"] == found.name


REFUSED = {
    # board, wanted: in the message, in the hint
    "bullseye": (facts("cortex-a72", A72, BULLSEYE), None, "Python 3.9 is too old", "bookworm"),
    "mendel": (facts("cortex-a53", A53, ("3.7.3", "2.28")), None, "Python 3.7 is too old", "a Python 3.10 to 3.13"),
    "trixie 32 bit": (facts("cortex-a72", A72, TRIXIE, bits=32), None, "ai-edge-litert has no wheels for armv7l",
                      "64-bit Raspberry Pi OS"),
    "trixie 32 bit, python": (facts("cortex-a72", A72, TRIXIE, bits=32), None, "Python 3.13 is too new for tflite",
                              "a Python 3.10 to 3.11 alongside the system's"),
    "bullseye 32 bit": (facts("x", V7, ("3.10.9", "2.31"), machine="armv7l", bits=32), None,
                        "glibc 2.31 is too old for tflite-runtime==2.14.0, which needs 2.34", "bookworm"),
    "litert on 32 bit": (PI4_32, "ai-edge-litert==2.1.6", "a 32-bit system", "64-bit"),
    "tflite on trixie": (facts("cortex-a76", A76, TRIXIE), "tflite-runtime", "too new for tflite-runtime", "bookworm"),
    "python 3.14": (facts("cortex-a76", A76, ("3.14.0", "2.42")), None, "3.14 is too new for the toolkit", "3.13"),
    "pi zero": (facts("arm1176", ("vfp",), BOOKWORM, machine="armv6l", bits=32), None, "ARMv6", "Zero 2 W"),
    "musl": (facts("cortex-a72", A72, ("3.11.2", ""), libc=None), None, "not glibc", "Raspberry Pi OS"),
    "riscv": (facts(None, (), BOOKWORM, machine="riscv64"), None, "no wheels of any TFLite runtime for RISC-V",
              "aarch64"),
    "no vfpv4": (facts("cortex-a9", ("neon",), BOOKWORM, machine="armv7l", bits=32), "tflite-runtime",
                 "needs the vfpv4 instructions that cortex-a9 lacks", "vfpv4"),
    "no sse4": (OLD_PC, "ai-edge-litert", "sse4_1", "sse4_1"),
    "old glibc": (facts("x", A72, ("3.11.2", "2.17")), "ai-edge-litert==2.1.6", "needs 2.27", "Ubuntu 18.04"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_and_what_would(case):
    board, want, why, hint = REFUSED[case]
    with pytest.raises(NoRuntimeFits) as caught:
        solve(board, want)
    assert why in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 8
    assert any(why in reason for reason in caught.value.reasons)


def test_an_old_pc_gets_the_runtime_that_does_without_the_instruction():
    found = solve(OLD_PC)
    assert found.requirements == ("tflite-runtime==2.14.0", "numpy==1.26.4")
    assert any("sse4_1" in reason and "SIGILL" in reason for reason in found.reasons)


def test_numpy_of_a_32_bit_board_comes_from_its_system():
    found = solve(PI4_32)
    assert found.requirements == ("tflite-runtime==2.14.0",)
    assert found.system_packages == ("python3-numpy",)


def test_known_limits_of_tflite_runtime_are_stated():
    found = solve(PI4, "tflite-runtime").capabilities
    assert (found.dynamic_range, found.int8_xnnpack, found.kernel_profile) == (False, False, False)


def test_a_crash_in_an_old_emulator_is_refused_and_newest_avoids_it():
    emulated = replace(BoardPlatform.from_facts(PI4), emulator=(7, 2))
    with pytest.raises(NoRuntimeFits, match=r"2\.3\.0 crashes in QEMU 7\.2") as caught:
        solve(emulated, "ai-edge-litert==2.3.0")
    assert "QEMU 10" in caught.value.hint
    newest = solve(emulated, "newest")
    assert newest.version == "2.1.6"
    assert any("crashes in QEMU 7.2" in reason for reason in newest.reasons)
    assert solve(replace(emulated, emulator=(10, 0)), "newest").version == "2.3.0"


def test_an_unknown_runtime_is_answered_with_the_nearest():
    with pytest.raises(NoRuntimeFits) as caught:
        solve(PI4, "ai-edge-litert==2.1.5")
    assert "did you mean ai-edge-litert==2.1.6?" in caught.value.hint
    with pytest.raises(NoRuntimeFits, match="no runtime 'onnxruntime'"):
        solve(PI4, "onnxruntime")


def test_a_python_on_the_board_gives_the_same_as_its_facts():
    state = PythonState(
        python="3.11.2", executable="/usr/bin/python3", machine="aarch64", bits=64, libc="glibc 2.36", os=None,
        implementation="cpython", cpu_words="fp asimd evtstrm crc32 cpuid",
    )  # fmt: skip
    assert solve(BoardPlatform.from_python(state)) == solve(PI4)
    # QEMU's user mode shows the real processor's words.
    emulated = replace(state, cpu_words="fpu cx8 sse4_1 avx")
    assert BoardPlatform.from_python(emulated).features is None
    old = replace(state, machine="x86_64", cpu_words="fpu cx8 ssse3")
    assert BoardPlatform.from_python(old).features == frozenset()


def platform_tags(architecture, glibc):
    return BoardPlatform(architecture, (3, 11), glibc).platform_tags


def test_tags():
    assert BoardPlatform("x86_64", (3, 10, 1), None).python_tag == "cp310"
    tags = platform_tags("x86_64", (2, 18))
    assert tags[:4] == (
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_16_x86_64",
    )
    assert tags[-2:] == ("manylinux_2_5_x86_64", "manylinux1_x86_64")
    assert platform_tags("aarch64", (2, 28))[-2:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64")
    assert platform_tags("aarch64", (2, 16)) == ()


def test_the_table_has_one_recommendation_and_only_pins():
    assert sum(each.recommended for each in RUNTIMES) == 1
    for each in RUNTIMES:
        assert all(pin.count("==") == 1 for pin in (each.requirement, each.numpy, *each.declared))
