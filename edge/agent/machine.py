"""Reads versions and facts of the machine: the jobs `hello` and `facts`. None: the system does not report it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

from converters.decode import decode
from devices.messages.machine_jobs import (
    BoardNames,
    EdgeTpuState,
    FactsRequest,
    HelloRequest,
    HelloResult,
    MachineFacts,
    PythonVersion,
    RuntimeVersion,
)
from devices.messages.protocol import PROTOCOL, Progress
from edge.agent import sysfs
from edge.runtime.coral import advice, here
from edge.runtime.coral_state import coral_state
from edge.runtime.interpreters import find_installed

TREE = Path("/proc/device-tree")
DMI = Path("/sys/devices/virtual/dmi/id")
# Of /proc/cpuinfo only what tells processors apart; the rest would repeat for each of them.
CPUINFO_KEYS = ("processor", "model name", "cpu part", "cpu implementer", "features", "flags", "model")


def greet(request: HelloRequest, progress: Progress) -> HelloResult:
    """Return the protocol's version and the versions of what is installed."""
    return HelloResult(PROTOCOL, platform.python_version(), _version("numpy"), _list_runtimes())


def read_facts(request: FactsRequest, progress: Progress) -> MachineFacts:
    """Return the raw facts."""
    zones = sysfs.temperatures_c()
    return MachineFacts(
        board=_board_names(),
        cpuinfo=tuple(_cpuinfo()),
        machine=platform.machine(),
        cores=os.cpu_count(),
        usable_cores=len(os.sched_getaffinity(0)),
        os_release=sysfs.read_text("/etc/os-release"),
        kernel=platform.release(),
        python=_python(),
        libc=" ".join(platform.libc_ver()).strip() or None,
        meminfo=sysfs.read_text("/proc/meminfo"),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        governor=sysfs.governor(),
        frequencies_khz=sysfs.frequencies_khz(),
        least_frequencies_khz=sysfs.frequencies_khz("cpuinfo_min_freq"),
        most_frequencies_khz=sysfs.frequencies_khz("cpuinfo_max_freq"),
        temperature_c=sysfs.soc_temperature_c(zones),
        throttled=sysfs.decode_throttled(sysfs.throttle_word()),
        free_disk_bytes=_free_disk_bytes(),
        runtimes=_list_runtimes(),
        coral=decode(EdgeTpuState, {**coral_state(sysfs.SYS.parent), "advice": advice(here())}, "Edge TPUs"),
    )


def _board_names() -> BoardNames:
    return BoardNames(
        device_tree_model=sysfs.read_text(TREE / "model"),
        device_tree_compatible=sysfs.read_text(TREE / "compatible"),
        dmi_vendor=sysfs.read_text(DMI / "sys_vendor"),
        dmi_product=sysfs.read_text(DMI / "product_name"),
    )


def _python() -> PythonVersion:
    return PythonVersion(
        version=platform.python_version(),
        implementation=sys.implementation.name,
        bits=sys.maxsize.bit_length() + 1,
        executable=sys.executable,
    )


def _list_runtimes() -> tuple[RuntimeVersion, ...]:
    """Return the installed TFLite runtimes in order of preference, without importing any."""
    return tuple(RuntimeVersion(each.name, each.version) for each in find_installed())


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpuinfo() -> list[dict[str, str]]:
    """Return the distinct processors (a big and a little cluster differ); the last block of a Pi names the board."""
    blocks: list[dict[str, str]] = []
    for text in (sysfs.read_text("/proc/cpuinfo") or "").split("\n\n"):
        pairs = (line.partition(":") for line in text.splitlines())
        block = {key.strip().lower(): value.strip() for key, _, value in pairs}
        kept = {key: block[key] for key in CPUINFO_KEYS if key in block and key != "processor"}
        if kept and kept not in blocks:
            blocks.append(kept)
    return blocks


def _free_disk_bytes() -> int | None:
    try:
        return shutil.disk_usage(Path.home()).free
    except (OSError, RuntimeError):
        return None
