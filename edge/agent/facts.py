"""The job `facts`: what the machine says about itself; the host makes sense of it.

Every value is as the system gave it (the throttle word decoded), None where it gave nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from edge.agent import sysfs
from edge.agent.conditions import decode_throttled
from edge.agent.hello import installed_runtimes
from edge.runtime.coral import advice, here
from edge.runtime.coral_state import coral_state

TREE = Path("/proc/device-tree")
DMI = Path("/sys/devices/virtual/dmi/id")
# Of /proc/cpuinfo only what tells processors apart; the rest would repeat for each of them.
CPUINFO_KEYS = ("processor", "model name", "cpu part", "cpu implementer", "features", "flags", "model")


def run(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Answer with the raw facts."""
    zones = sysfs.temperatures_c()
    return {
        "board": {
            "device_tree_model": sysfs.read_text(TREE / "model"),
            "device_tree_compatible": sysfs.read_text(TREE / "compatible"),
            "dmi_vendor": sysfs.read_text(DMI / "sys_vendor"),
            "dmi_product": sysfs.read_text(DMI / "product_name"),
        },
        "cpuinfo": _cpuinfo(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "os_release": sysfs.read_text("/etc/os-release"),
        "kernel": platform.release(),
        "python": _python(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "meminfo": sysfs.read_text("/proc/meminfo"),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "governor": sysfs.governor(),
        "frequencies_khz": sysfs.frequencies_khz(),
        "least_frequencies_khz": sysfs.frequencies_khz("cpuinfo_min_freq"),
        "most_frequencies_khz": sysfs.frequencies_khz("cpuinfo_max_freq"),
        "temperature_c": sysfs.soc_temperature_c(zones),
        "throttled": decode_throttled(sysfs.throttled_word()),
        "free_disk_bytes": _free_disk_bytes(),
        "runtimes": installed_runtimes(),
        "coral": {**coral_state(sysfs.SYS.parent), "advice": advice(here())},
    }


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "bits": sys.maxsize.bit_length() + 1,
        "executable": sys.executable,
    }


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
