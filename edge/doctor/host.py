"""Reads the facts of this machine that decide what can run: processor, memory, disk, programs, profiler, Edge TPUs."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from converters.decode import decode
from devices.accelerator_problems import find_problems
from devices.accelerators import CLOCKS, MAXIMUM, Coral, describe_accelerators
from devices.messages.machine_jobs import EdgeTpuState
from edge.doctor.parts import HostCheck
from edge.runtime.coral import advice, here
from edge.runtime.coral_state import coral_state
from edge.runtime.interpreters import find_installed

_CORAL = "coral"
_PROBE_DEADLINE_S = 30
_ASK_DEADLINE_S = 5
_PROFILER_SYMBOLS = (
    "LiteRtCreateEnvironment", "LiteRtCreateModelFromFile", "LiteRtCreateOptions",
    "LiteRtSetOptionsHardwareAccelerators", "LiteRtCreateOpaqueOptions", "LiteRtAddOpaqueOptions",
    "LiteRtCreateCompiledModel", "LiteRtCreateTensorBufferFromHostMemory", "LiteRtCompiledModelGetProfiler",
    "LiteRtRunCompiledModel", "LiteRtStartProfiler", "LiteRtGetNumProfilerEvents", "LiteRtGetProfilerEvents",
)  # fmt: skip
# Loads the library in a process of its own: a library that crashes ends that process, not this one.
_PROBE = """
import ctypes, json, sys
try:
    library = ctypes.CDLL(sys.argv[1])
except OSError as error:
    print(json.dumps({"refused": str(error)}))
else:
    print(json.dumps({"absent": [name for name in sys.argv[2:] if not hasattr(library, name)]}))
"""
# Administrators' folders are often not on a user's PATH.
_MORE_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Processor:
    """The processor; `features` are the kernel's names (avx2, asimddp), None where the kernel reports none."""

    architecture: str
    model: str | None
    cpus: int
    features: frozenset[str] | None

    @property
    def is_x86(self) -> bool:
        """Whether it is an Intel or AMD processor."""
        return self.architecture in {"x86_64", "AMD64", "i686", "i386"}

    @property
    def is_arm(self) -> bool:
        """Whether it is an ARM processor."""
        return self.architecture.startswith(("aarch64", "arm"))

    def has(self, feature: str) -> bool | None:
        """Whether the kernel names a feature; None where it names none at all."""
        return None if self.features is None else feature in self.features


@dataclass(frozen=True)
class Profiler:
    """Whether the runtime's kernel profiler can be used; `reason` says why not."""

    library: str | None
    available: bool
    reason: str | None


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Read the processor's model and features."""
    facts: dict[str, str] = {}
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    listed = facts.get("flags", facts.get("Features"))
    return Processor(
        architecture=platform.machine(),
        model=facts.get("model name", facts.get("Model")),
        cpus=_usable_cpus(),
        features=None if listed is None else frozenset(listed.split()),
    )


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the machine's memory; None where the kernel does not report it."""
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def free_bytes(folder: Path) -> int | None:
    """Return the free space on a folder's disk; None where it cannot be read."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def program(*names: str) -> str | None:
    """Return the path of the first of several programs that is there, also in administrators' folders."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_FOLDERS])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def program_version(path: str) -> tuple[int, ...] | None:
    """Return the version numbers that a program prints for --version; None if it prints none in time."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_ASK_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+(?:\.\d+)+", done.stdout)
    return tuple(map(int, match[0].split("."))) if match else None


def kernel_profiler() -> Profiler:
    """Look for the C profiler of ai-edge-litert, loading its library in a child process only."""
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        return Profiler(None, False, "ai-edge-litert is not installed")
    library = Path(folders[0], "libLiteRt.so")
    if not library.is_file():
        return Profiler(None, False, "this ai-edge-litert has no libLiteRt.so; versions from 2.1 on have it")
    reason = _probe(library)
    return Profiler(str(library), reason is None, reason)


def _probe(library: Path) -> str | None:
    """Return why the profiler cannot be used; None if every function it takes is there."""
    command = [sys.executable, "-I", "-c", _PROBE, str(library), *_PROFILER_SYMBOLS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"libLiteRt.so could not be tried: {error}"
    if done.returncode < 0:
        return f"loading libLiteRt.so ended with {signal.Signals(-done.returncode).name}"
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return f"libLiteRt.so could not be tried: {done.stderr.strip()[-200:]}"
    if "refused" in answer:
        return f"libLiteRt.so cannot be loaded: {answer['refused']}"
    absent = answer["absent"]
    return f"libLiteRt.so lacks {', '.join(absent)}" if absent else None


def check_edge_tpus(
    root: Path = Path("/"), *, kernel: str | None = None, page_size_bytes: int | None = None
) -> list[HostCheck]:
    """Look for Edge TPUs, and for problems that prevent their use.

    Args:
        root: Where /sys, /dev, /lib and /var are.
        kernel: The running kernel's release; None asks for it.
        page_size_bytes: Of the running kernel; None asks for it.
    """
    coral = Coral.of(decode(EdgeTpuState, {**coral_state(root, kernel=kernel), "advice": advice(here())}, "Edge TPUs"))
    assert coral is not None
    return list(_check_edge_tpus(coral, kernel or platform.release(), page_size_bytes or os.sysconf("SC_PAGE_SIZE")))


def _check_edge_tpus(coral: Coral, kernel: str, page_size_bytes: int) -> Iterator[HostCheck]:
    why = "runs models compiled for Coral"
    if not coral.is_attached:
        ids = "none attached: USB has neither 1a6e:089a nor 18d1:9302, PCIe no 1ac1:089a"
        yield HostCheck(_CORAL, "Edge TPU", "missing", ids, why)
        if not coral.library:
            return
    else:
        yield HostCheck(_CORAL, "Edge TPU", "ok", "; ".join(describe_accelerators(coral)), why)
    runtimes = {each.name: each.version for each in find_installed()}
    for each in find_problems(coral, kernel=kernel, page_size_bytes=page_size_bytes, runtimes=runtimes):
        yield HostCheck(
            _CORAL, "Edge TPU", "problem", each.what, "prevents the use of the Edge TPU, or slows it", each.fix
        )
    if coral.library:
        yield _library(coral)


def _library(coral: Coral) -> HostCheck:
    name = next((each for each in CLOCKS if each in coral.packages), None)
    if name is None:
        return HostCheck(_CORAL, "libedgetpu", "ok", f"{coral.library}, not from a package", "its clock is unknown")
    mhz, warmest = CLOCKS[name]
    hot = ", and the stick gets hot to the touch" if name == MAXIMUM else ""
    return HostCheck(
        _CORAL, name, "ok", f"{coral.packages[name]}, {coral.library}", f"{mhz} MHz, for air up to {warmest} °C{hot}"
    )
