"""Checks what is installed on this machine and what is missing, why it matters and how to install it.

Every result is read from the system: package metadata, the kernel's files, programs on the path. TensorFlow is not
imported and no native code is loaded into this process.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.targets import runtimes
from converters.targets.boards import AVX, has_fp16_arithmetic
from converters.targets.runtimes import LITERT, NEWEST_PYTHON, OLDEST_PYTHON, RECOMMENDED, version_text
from edge.doctor import host as machine
from edge.doctor.packages import check_conflicts, check_packages, check_runtimes
from edge.doctor.parts import PROGRAMS, HostCheck, ProgramPart

JOBS = ("convert", "run", "profile", "report")
_MIN_FREE_BYTES = 1 << 30
_EMULATOR = "qemu-aarch64"


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks, and the jobs that can run."""

    findings: tuple[HostCheck, ...]

    def blockers(self, *jobs: str) -> tuple[HostCheck, ...]:
        """Return the checks that keep any of some jobs from running."""
        return tuple(item for item in self.findings if item.state != "ok" and set(item.needed_by) & set(jobs))

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values, schema `edge-doctor/1`."""
        jobs = {job: [item.name for item in self.blockers(job)] for job in JOBS}
        return {
            "schema": "edge-doctor/1",
            "jobs": {job: {"ready": not blockers, "blocked_by": blockers} for job, blockers in jobs.items()},
            "findings": [asdict(item) for item in self.findings],
        }


def diagnose(folder: Path | None = None) -> Diagnosis:
    """Check everything that decides what can run here; takes about a second.

    Args:
        folder: where results would be written; the current folder if None.
    """
    return Diagnosis((
        _check_python(),
        *check_packages(),
        check_runtimes(),
        *check_conflicts(),
        *_check_machine(folder or Path.cwd()),
        _check_profiler(),
        *machine.check_edge_tpus(),
        *map(_check_program, PROGRAMS),
    ))  # fmt: skip


def _check_python() -> HostCheck:
    version = platform.python_version()
    good = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    supported = f"{version_text(OLDEST_PYTHON)} to {version_text(NEWEST_PYTHON)}"
    return HostCheck(
        section="python",
        name="python",
        state="ok" if good else "problem",
        detail=f"{version} ({sys.executable})",
        why=f"TensorFlow and the TFLite runtimes have wheels for {supported}",
        how=None if good else f"make a virtual environment with Python {supported}",
        needed_by=JOBS,
    )


def _check_machine(folder: Path) -> Iterator[HostCheck]:
    cpu = machine.processor()
    yield _check_processor(cpu)
    memory = machine.memory_bytes()
    if memory is not None:
        yield HostCheck(
            "machine", "memory", "ok", f"{memory / 2**30:.1f} GiB", "conversion holds several copies of a model"
        )
    for name, where in (("disk", folder), ("temporary folder", Path(tempfile.gettempdir()))):
        yield _check_disk(name, where)


def _check_processor(cpu: machine.Processor) -> HostCheck:
    # TensorFlow's x86 wheels are built for AVX and end with SIGILL without it.
    unusable = cpu.is_x86 and cpu.has(AVX) is False
    return HostCheck(
        section="machine",
        name="processor",
        state="problem" if unusable else "ok",
        detail=_processor_detail(cpu),
        why="TensorFlow's wheels need AVX" if unusable else _processor_why(cpu),
        how="convert on another machine; run and profile work here" if unusable else None,
        needed_by=("convert",),
    )


def _processor_detail(cpu: machine.Processor) -> str:
    names = ("avx", "avx2", "fma", "avx512f", "avx_vnni") if cpu.is_x86 else ("asimd", "asimdhp", "asimddp", "i8mm")
    present = [name for name in names if cpu.has(name)]
    told = "features unknown" if cpu.features is None else " ".join(present) or "none of " + " ".join(names)
    return f"{cpu.architecture}, {cpu.model or 'model unknown'}, {cpu.cpus} usable CPUs, {told}"


def _processor_why(cpu: machine.Processor) -> str:
    if cpu.is_x86:
        if cpu.has(AVX):
            return "with AVX, XNNPACK never runs sparse kernels: measure sparse models on an ARM board"
        return "latency here says little about an ARM board"
    if not cpu.is_arm:
        return "no TFLite runtime has wheels for this architecture"
    half = "has" if has_fp16_arithmetic(cpu.features or ()) else "lacks"
    dot = "has" if cpu.has("asimddp") else "lacks"
    return (
        f"{half} fp16 arithmetic (tflite-runtime 2.14 needs it for sparse kernels), {dot} int8 dot products (fast int8)"
    )


def _check_disk(name: str, folder: Path) -> HostCheck:
    free = machine.free_bytes(folder)
    good = free is not None and free >= _MIN_FREE_BYTES
    return HostCheck(
        section="machine",
        name=name,
        state="ok" if good else "problem",
        detail="unknown" if free is None else f"{free / 2**30:.1f} GiB free at {folder}",
        why="conversion and training write models, checkpoints and saved graphs",
        how=None if good else "free at least 1 GiB",
    )


def _check_profiler() -> HostCheck:
    profiler = machine.kernel_profiler()
    return HostCheck(
        section="machine",
        name="kernel profiler",
        state="ok" if profiler.available else "missing" if profiler.library is None else "problem",
        detail=profiler.library if profiler.available and profiler.library else profiler.reason or "",
        why="names the kernels that ran; without it a profile has latency only",
        how=None if profiler.available else f"pip install '{LITERT}>={runtimes.oldest_profiled()}'",
    )


def _check_program(sought: ProgramPart) -> HostCheck:
    path = machine.program(*sought.names)
    if path is None:
        how = ", ".join(filter(None, (f"apt install {sought.apt}", sought.source)))
        return HostCheck("programs", sought.names[0], "missing", "not found", sought.why, how)
    if sought.names[0] != _EMULATOR:
        return HostCheck("programs", sought.names[0], "ok", path, sought.why)
    return _check_emulator(path, sought.why)


def _check_emulator(path: str, why: str) -> HostCheck:
    version = machine.program_version(path)
    told = "version unknown" if version is None else ".".join(map(str, version))
    crashing = runtimes.find_crashing(version)
    if not crashing:
        return HostCheck("programs", _EMULATOR, "ok", f"{path}, {told}", why)
    needed = version_text(max(oldest for each in crashing if (oldest := each.oldest_emulator)))
    return HostCheck(
        section="programs",
        name=_EMULATOR,
        state="problem",
        detail=f"{path}, {told}: {', '.join(each.requirement for each in crashing)} crash in it; {RECOMMENDED} runs",
        why=why,
        how=f"install QEMU {needed}, on Debian 12 from backports: apt install -t bookworm-backports qemu-user",
    )
