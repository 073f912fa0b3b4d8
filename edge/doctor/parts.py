"""The parts the toolkit can use: packages and programs, what each is for and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A Python package. `names` are its distributions, the usual one first; `needed_by` the jobs that fail without."""

    names: tuple[str, ...]
    module: str
    why: str
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A program on the path under one of several names, the Debian package it is in, and where that is not Debian's."""

    names: tuple[str, ...]
    apt: str
    why: str
    source: str = ""


PACKAGES = (
    Package(("numpy",), "numpy", "arrays", ("convert", "run", "profile", "report")),
    Package(("click",), "click", "the command line", ("convert", "run", "profile", "report")),
    Package(("ai-edge-litert",), "ai_edge_litert", "runs models; names kernels; carries the schema edge inspect reads"),
    Package(("tflite-runtime",), "tflite_runtime", "runs models on 32-bit ARM and old systems (Python up to 3.11)"),
    Package(("tensorflow", "tensorflow-cpu", "tf-nightly"), "tensorflow", "trains and converts models", ("convert",)),
    Package(("keras",), "keras", "trains and converts models", ("convert",)),
    Package(("flatbuffers",), "flatbuffers", "reads .tflite files: edge inspect, edge convert", ("convert",)),
    Package(("h5py",), "h5py", "reads .weights.h5 and .h5 models", ("convert",)),
    Package(("pillow",), "PIL", "reads pictures: edge run, calibration", ("convert", "run")),
    Package(("jinja2",), "jinja2", "writes the HTML report", ("report",)),
    Package(("vl-convert-python",), "vl_convert", "draws the report's charts", ("report",)),
    Package(("rich",), "rich", "progress bars"),
    Package(("platformdirs",), "platformdirs", "finds where devices.toml lies"),
    Package(("scikit-learn",), "sklearn", "the offline data source `digits`"),
    Package(("asyncssh",), "asyncssh", "deploys to boards over SSH"),
    Package(("zeroconf",), "zeroconf", "finds boards on the network"),
    Package(("pyserial",), "serial", "power meters and consoles over serial"),
)
# What may be missing: these packages' modules, and those that come with them.
MODULES = frozenset({each.module for each in PACKAGES} | {"markupsafe", "cryptography", "tomlkit", "threadpoolctl"})
PROGRAMS = (
    Program(("chromium", "chromium-browser", "google-chrome"), "chromium", "tests: opens the HTML report"),
    Program(("qemu-aarch64", "qemu-aarch64-static"), "qemu-user", "emulated boards: runs ARM programs"),
    Program(("mmdebstrap",), "mmdebstrap", "emulated boards: makes their file systems"),
    Program(("gcc",), "gcc libc6-dev", "emulated boards: builds what counts instructions in QEMU"),
    Program(("sshd",), "openssh-server", "tests: deployment over a real SSH server"),
    Program(("avr-gcc",), "gcc-avr avr-libc", "builds the power meter's firmware"),
    Program(("simavr",), "simavr", "tests: runs the power meter's firmware emulated"),
    Program(("avrdude",), "avrdude", "writes the firmware to a power meter"),
    Program(
        ("edgetpu_compiler",),
        "edgetpu-compiler",
        "Coral: edge convert --to edgetpu-compiled; the forecast of edge inspect --target coral needs none",
        "on x86-64, from Google's own apt source (the vendor's page 'Edge TPU Compiler'); or in a container: "
        "edge convert --compiler docker:IMAGE",
    ),
)
