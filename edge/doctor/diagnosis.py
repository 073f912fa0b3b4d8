"""What is installed here, what is missing, why it matters and how to get it.

Every finding is read from the system: package metadata, the kernel's files, programs on the path. TensorFlow is not
imported and no native code is loaded into this process.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from converters.targets import runtimes
from converters.targets.boards import AVX, has_fp16_arithmetic
from converters.targets.runtimes import LITERT, NEWEST_PYTHON, OLDEST_PYTHON, RECOMMENDED, TFLITE_RUNTIME, version_text
from edge.doctor import host as machine
from edge.doctor.distributions import DISTRIBUTION, is_importable, normalized, release, version_of, wanted, within
from edge.doctor.edge_tpu import remarks as edge_tpu_remarks
from edge.doctor.parts import PACKAGES, PROGRAMS, Package, Program

State = Literal["ok", "missing", "problem"]
JOBS = ("convert", "run", "profile", "report")
_MIN_FREE_BYTES = 1 << 30
_EMULATOR = "qemu-aarch64"
_RUNTIMES = (LITERT, TFLITE_RUNTIME, "tensorflow")


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    `needed_by` names the jobs that cannot run unless it is ok; empty for what is only useful. `how` is how to get it
    or mend it, None where there is nothing to do.
    """

    section: str
    name: str
    state: State
    detail: str
    why: str
    how: str | None = None
    needed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and which jobs can run."""

    findings: tuple[Finding, ...]

    def blockers(self, *jobs: str) -> tuple[Finding, ...]:
        """Return the findings that keep any of some jobs from running."""
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
    """Look at everything that decides what can run here; takes about a second.

    Args:
        folder: where results would be written; the current folder if None.
    """
    return Diagnosis((
        _python(),
        *_packages(),
        _runtime(),
        *_conflicts(),
        *_machine(folder or Path.cwd()),
        _profiler(),
        *_edge_tpus(),
        *map(_program, PROGRAMS),
    ))  # fmt: skip


def _python() -> Finding:
    version = platform.python_version()
    good = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    supported = f"{version_text(OLDEST_PYTHON)} to {version_text(NEWEST_PYTHON)}"
    return Finding(
        section="python",
        name="python",
        state="ok" if good else "problem",
        detail=f"{version} ({sys.executable})",
        why=f"TensorFlow and the TFLite runtimes have wheels for {supported}",
        how=None if good else f"make a virtual environment with Python {supported}",
        needed_by=JOBS,
    )


def _packages() -> Iterator[Finding]:
    ranges = wanted()
    for package in PACKAGES:
        yield _package(package, {name: item.version_range for name, item in ranges.items()}, _how(package, ranges))


def _how(package: Package, ranges: dict[str, Any]) -> str:
    item = ranges.get(normalized(package.names[0]))
    if item is None:
        return f"pip install {package.names[0]}"
    return f"pip install '{DISTRIBUTION}[{item.extra}]'" if item.extra else f"pip install {DISTRIBUTION}"


def _package(package: Package, ranges: dict[str, str], how: str) -> Finding:
    state, detail = _state_of(package, ranges)
    return Finding(
        section="packages",
        name=package.names[0],
        state=state,
        detail=detail,
        why=package.why,
        how=None if state == "ok" or _excuse(package.names[0]) else how,
        needed_by=package.needed_by,
    )


def _state_of(package: Package, ranges: dict[str, str]) -> tuple[State, str]:
    found = version_of(*package.names)
    if found is None:
        return "missing", "not installed" + _excuse(package.names[0])
    name, version = found
    if not is_importable(package.module):
        return "problem", f"{name} {version} is recorded, but its module {package.module} is not there"
    asked = ranges.get(normalized(package.names[0]), "")
    if within(version, asked) is False:
        return "problem", f"{name} {version} is outside {asked}, the range this version was tested with"
    return "ok", version if name == package.names[0] else f"{name} {version}"


def _excuse(name: str) -> str:
    """Say why a runtime that is not installed need not, or cannot, be."""
    if name == LITERT and _is_arm32():
        return f": it has no wheel for {platform.machine()}"
    if name == TFLITE_RUNTIME and sys.version_info[:2] > runtimes.newest_python(TFLITE_RUNTIME):
        return f": it has no wheel for Python {platform.python_version()}"
    if name == TFLITE_RUNTIME and version_of(LITERT):
        return f", nor needed beside {LITERT}"
    return ""


def _is_arm32() -> bool:
    return platform.machine().startswith("armv")


def _runtime() -> Finding:
    found = [" ".join(item) for item in map(version_of, _RUNTIMES) if item is not None]
    how = f"pip install {LITERT}"
    if _is_arm32():
        newest = version_text(runtimes.newest_python(TFLITE_RUNTIME))
        how = f"pip install '{DISTRIBUTION}[{TFLITE_RUNTIME}]' with Python {newest} or older: {LITERT} is 64-bit only"
    return Finding(
        section="packages",
        name="a TFLite runtime",
        state="ok" if found else "missing",
        detail=", ".join(found) or f"none of {', '.join(_RUNTIMES)}",
        why="runs and profiles models on this machine",
        how=None if found else how,
        needed_by=("run", "profile"),
    )


def _conflicts() -> Iterator[Finding]:
    tflite, numpy = version_of("tflite-runtime"), version_of("numpy")
    if tflite and numpy and release(numpy[1]) >= (2,):
        yield Finding(
            section="conflicts",
            name="tflite-runtime and numpy",
            state="problem",
            detail=f"tflite-runtime {tflite[1]} with numpy {numpy[1]}",
            why="tflite-runtime is built for NumPy 1 and cannot be imported with NumPy 2",
            how="pip install 'numpy<2', in an environment without tensorflow",
            needed_by=() if version_of("ai-edge-litert", "tensorflow") else ("run", "profile"),
        )
    for variable, wrong, why in (
        ("TF_USE_LEGACY_KERAS", ("1", "true"), "tf.keras becomes Keras 2, whose models this cannot convert"),
        ("KERAS_BACKEND", ("jax", "torch", "numpy", "openvino"), "conversion needs Keras on TensorFlow"),
    ):
        value = os.environ.get(variable, "")
        if value.lower() in wrong:
            yield Finding("conflicts", variable, "problem", f"set to {value}", why, f"unset {variable}", ("convert",))


def _machine(folder: Path) -> Iterator[Finding]:
    cpu = machine.processor()
    yield _processor(cpu)
    memory = machine.memory_bytes()
    if memory is not None:
        yield Finding(
            "machine", "memory", "ok", f"{memory / 2**30:.1f} GiB", "conversion holds several copies of a model"
        )
    for name, where in (("disk", folder), ("temporary folder", Path(tempfile.gettempdir()))):
        yield _disk(name, where)


def _processor(cpu: machine.Processor) -> Finding:
    # TensorFlow's x86 wheels are built for AVX and end with SIGILL without it.
    unusable = cpu.is_x86 and cpu.has(AVX) is False
    return Finding(
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


def _disk(name: str, folder: Path) -> Finding:
    free = machine.free_bytes(folder)
    good = free is not None and free >= _MIN_FREE_BYTES
    return Finding(
        section="machine",
        name=name,
        state="ok" if good else "problem",
        detail="cannot be asked" if free is None else f"{free / 2**30:.1f} GiB free at {folder}",
        why="conversion and training write models, checkpoints and saved graphs",
        how=None if good else "free at least 1 GiB",
    )


def _profiler() -> Finding:
    profiler = machine.kernel_profiler()
    return Finding(
        section="machine",
        name="kernel profiler",
        state="ok" if profiler.available else "missing" if profiler.library is None else "problem",
        detail=profiler.library if profiler.available and profiler.library else profiler.reason or "",
        why="names the kernels that ran; without it a profile has latency only",
        how=None if profiler.available else f"pip install '{LITERT}>={runtimes.oldest_profiled()}'",
    )


def _edge_tpus() -> Iterator[Finding]:
    for each in edge_tpu_remarks():
        yield Finding("coral", each.name, each.state, each.detail, each.why, each.how)


def _program(sought: Program) -> Finding:
    path = machine.program(*sought.names)
    if path is None:
        how = ", ".join(filter(None, (f"apt install {sought.apt}", sought.source)))
        return Finding("programs", sought.names[0], "missing", "not found", sought.why, how)
    if sought.names[0] != _EMULATOR:
        return Finding("programs", sought.names[0], "ok", path, sought.why)
    return _emulator(path, sought.why)


def _emulator(path: str, why: str) -> Finding:
    version = machine.program_version(path)
    told = "version unknown" if version is None else ".".join(map(str, version))
    crashing = runtimes.find_crashing(version)
    if not crashing:
        return Finding("programs", _EMULATOR, "ok", f"{path}, {told}", why)
    needed = version_text(max(oldest for each in crashing if (oldest := each.oldest_emulator)))
    return Finding(
        section="programs",
        name=_EMULATOR,
        state="problem",
        detail=f"{path}, {told}: {', '.join(each.requirement for each in crashing)} crash in it; {RECOMMENDED} runs",
        why=why,
        how=f"install QEMU {needed}, on Debian 12 from backports: apt install -t bookworm-backports qemu-user",
    )
