"""Lists the packages and programs that the toolkit can use, with their purpose and origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "problem"]


@dataclass(frozen=True)
class HostCheck:
    """The result of one check.

    `needed_by` names the jobs that cannot run unless it is ok; empty for optional parts. `how` says how to
    install or fix it; None where there is nothing to do.
    """

    section: str
    name: str
    state: State
    detail: str
    why: str
    how: str | None = None
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackagePart:
    """A Python package. `names` are its distributions, the usual one first; `needed_by` the jobs that fail without."""

    names: tuple[str, ...]
    module: str
    why: str
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgramPart:
    """A program on the path under one of several names, the Debian package it is in, and where that is not Debian's."""

    names: tuple[str, ...]
    apt: str
    why: str
    source: str = ""


PACKAGES = (
    PackagePart(("numpy",), "numpy", "arrays", ("convert", "run", "profile", "report")),
    PackagePart(("click",), "click", "the command line", ("convert", "run", "profile", "report")),
    PackagePart(("ai-edge-litert",), "ai_edge_litert", "runs models; names kernels"),
    PackagePart(("tflite-runtime",), "tflite_runtime", "runs models on 32-bit ARM and old systems (Python up to 3.11)"),
    PackagePart(
        ("tensorflow", "tensorflow-cpu", "tf-nightly"), "tensorflow", "trains and converts models", ("convert",)
    ),
    PackagePart(("keras",), "keras", "trains and converts models", ("convert",)),
    PackagePart(("flatbuffers",), "flatbuffers", "reads .tflite files: edge inspect, edge convert", ("convert",)),
    PackagePart(("h5py",), "h5py", "reads .weights.h5 and .h5 models", ("convert",)),
    PackagePart(("pillow",), "PIL", "reads pictures: edge run, calibration", ("convert", "run")),
    PackagePart(("jinja2",), "jinja2", "writes the HTML report", ("report",)),
    PackagePart(("vl-convert-python",), "vl_convert", "draws the report's charts", ("report",)),
    PackagePart(("rich",), "rich", "progress bars"),
    PackagePart(("platformdirs",), "platformdirs", "finds where devices.toml lies"),
    PackagePart(("scikit-learn",), "sklearn", "the offline data source `digits`"),
    PackagePart(("asyncssh",), "asyncssh", "deploys to boards over SSH"),
    PackagePart(("zeroconf",), "zeroconf", "finds boards on the network"),
    PackagePart(("pyserial",), "serial", "power meters and consoles over serial"),
)
# The modules that may be missing: those of these packages, and those that come with them.
MODULES = frozenset({each.module for each in PACKAGES} | {"markupsafe", "cryptography", "tomlkit", "threadpoolctl"})
PROGRAMS = (
    ProgramPart(("chromium", "chromium-browser", "google-chrome"), "chromium", "tests: opens the HTML report"),
    ProgramPart(("qemu-aarch64", "qemu-aarch64-static"), "qemu-user", "emulated boards: runs ARM programs"),
    ProgramPart(("mmdebstrap",), "mmdebstrap", "emulated boards: makes their file systems"),
    ProgramPart(("gcc",), "gcc libc6-dev", "emulated boards: builds the plugin that counts instructions in QEMU"),
    ProgramPart(("sshd",), "openssh-server", "tests: deployment over a real SSH server"),
    ProgramPart(("avr-gcc",), "gcc-avr avr-libc", "builds the power meter's firmware"),
    ProgramPart(("simavr",), "simavr", "tests: runs the power meter's firmware emulated"),
    ProgramPart(("avrdude",), "avrdude", "writes the firmware to a power meter"),
    ProgramPart(
        ("edgetpu_compiler",),
        "edgetpu-compiler",
        "Coral: edge convert --to edgetpu-compiled; the prediction of edge inspect --target coral needs none",
        "on x86-64, from Google's own apt source (the vendor's page 'Edge TPU Compiler'); or in a container: "
        "edge convert --compiler docker:IMAGE",
    ),
)
