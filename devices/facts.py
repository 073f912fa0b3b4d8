"""Parses the facts that a device's agent reads."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devices.accelerator_problems import EdgeTpuProblem, find_problems
from devices.accelerators import Coral
from devices.messages.machine_jobs import BoardNames, MachineFacts, PythonVersion, RuntimeVersion, Throttled

# Implementer 0x41 (ARM): name of a `CPU part`. Source: Linux, arch/arm64/include/asm/cputype.h
ARM_PARTS = {
    "0xb76": "arm1176",
    "0xc07": "cortex-a7",
    "0xd03": "cortex-a53",
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd41": "cortex-a78",
    "0xd49": "neoverse-n2",
}
# Instructions that decide which kernels a TFLite runtime can use, as Linux names them.
ARM_FEATURES = ("neon", "asimd", "vfpv4", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme")
X86_FEATURES = (
    "sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "amx_int8",
)  # fmt: skip


@dataclass(frozen=True)
class Cpu:
    """The processor: `features` are those that matter to inference; `usable_cores` what this user's programs get."""

    architecture: str
    model: str | None
    features: tuple[str, ...]
    cores: int | None
    usable_cores: int | None


@dataclass(frozen=True)
class OperatingSystem:
    """The operating system: /etc/os-release's ID and VERSION_ID, its full name, and the kernel's release."""

    id: str | None
    version: str | None
    name: str | None
    kernel: str | None


@dataclass(frozen=True)
class Clock:
    """Frequencies in kHz, one per processor; None where the kernel does not control the clock."""

    governor: str | None
    now_khz: tuple[int | None, ...] | None
    least_khz: int | None
    most_khz: int | None


@dataclass(frozen=True)
class Facts:
    """All known facts of a device; None where it does not report one."""

    name: str
    kind: str
    board: str | None
    soc: str | None
    cpu: Cpu
    os: OperatingSystem
    python: PythonVersion
    libc: str | None
    memory_bytes: int | None
    available_memory_bytes: int | None
    page_size_bytes: int | None
    clock: Clock
    temperature_c: float | None
    throttled: Throttled | None
    free_disk_bytes: int | None
    runtimes: tuple[RuntimeVersion, ...]
    coral: Coral | None = None

    @classmethod
    def of(cls, name: str, kind: str, raw: MachineFacts) -> Facts:
        """Parse the result of the agent's job `facts`."""
        memory = _meminfo(raw.meminfo)
        return cls(
            name=name,
            kind=kind,
            board=_board(raw.board, raw.cpuinfo),
            soc=_soc(raw.board.device_tree_compatible),
            cpu=_cpu(raw),
            os=_system(raw.os_release, raw.kernel),
            python=raw.python,
            libc=raw.libc,
            memory_bytes=memory.get("MemTotal"),
            available_memory_bytes=memory.get("MemAvailable"),
            page_size_bytes=raw.page_size,
            clock=_clock(raw),
            temperature_c=raw.temperature_c,
            throttled=raw.throttled,
            free_disk_bytes=raw.free_disk_bytes,
            runtimes=raw.runtimes,
            coral=Coral.of(raw.coral),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as `json.dumps` takes them."""
        return dataclasses.asdict(self)

    @property
    def tpu_problems(self) -> tuple[EdgeTpuProblem, ...]:
        """The problems that prevent the use of its Edge TPUs, with the known fixes; empty if none is attached."""
        if self.coral is None:
            return ()
        runtimes = {each.name: each.version for each in self.runtimes}
        return find_problems(self.coral, kernel=self.os.kernel, page_size_bytes=self.page_size_bytes, runtimes=runtimes)


def _board(board: BoardNames, cpuinfo: Sequence[Mapping[str, str]]) -> str | None:
    if board.device_tree_model:
        return board.device_tree_model
    named = " ".join(each for each in (board.dmi_vendor, board.dmi_product) if each)
    boards = [block["model"] for block in cpuinfo if "Pi" in block.get("model", "")]
    return named or (boards[0] if boards else None)


def _soc(compatible: str | None) -> str | None:
    """Return the last, most general name of the device tree: "raspberrypi,4-model-b\\0brcm,bcm2711" is a bcm2711."""
    return compatible.split("\0")[-1].partition(",")[2] or None if compatible else None


def _cpu(raw: MachineFacts) -> Cpu:
    known = X86_FEATURES if raw.machine in ("x86_64", "i686", "AMD64") else ARM_FEATURES
    blocks = [block for block in raw.cpuinfo if "features" in block or "flags" in block]
    # On a board of two clusters a program may run on either: only what both have counts.
    sets = [set((block.get("features") or block.get("flags") or "").split()) for block in blocks]
    common = set.intersection(*sets) if sets else set()
    models = dict.fromkeys(filter(None, map(_cpu_model, blocks)))
    return Cpu(
        architecture=raw.machine,
        model=" + ".join(models) or None,
        features=tuple(each for each in known if each in common),
        cores=raw.cores,
        usable_cores=raw.usable_cores,
    )


def _cpu_model(block: Mapping[str, str]) -> str | None:
    part = ARM_PARTS.get(block.get("cpu part", "").lower()) if block.get("cpu implementer") == "0x41" else None
    if part or "model name" in block:
        return part or block["model name"]
    return f"part {block['cpu part']} of {block.get('cpu implementer')}" if "cpu part" in block else None


def _system(os_release: str | None, kernel: str | None) -> OperatingSystem:
    fields: dict[str, str] = {}
    for line in (os_release or "").splitlines():
        key, _, value = line.partition("=")
        fields[key.strip()] = " ".join(shlex.split(value, comments=False)) if value.count('"') % 2 == 0 else value
    return OperatingSystem(fields.get("ID"), fields.get("VERSION_ID"), fields.get("PRETTY_NAME"), kernel)


def _meminfo(text: str | None) -> dict[str, int]:
    return {key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text or "", re.MULTILINE)}


def _clock(raw: MachineFacts) -> Clock:
    return Clock(
        governor=raw.governor,
        now_khz=raw.frequencies_khz or None,
        least_khz=min((each for each in raw.least_frequencies_khz or () if each), default=None),
        most_khz=max((each for each in raw.most_frequencies_khz or () if each), default=None),
    )
