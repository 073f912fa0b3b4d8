"""Reads what Linux and a Raspberry Pi's firmware report about the machine; None: not reported."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from devices.messages.machine_jobs import EdgeTpuHeat, Throttled

# Where the kernel's files on the machine lie; another folder where they are mounted elsewhere.
SYS = Path(os.environ.get("EDGE_SYSFS", "/sys"))
CPUS = SYS / "devices/system/cpu"
THERMAL = SYS / "class/thermal"
CLOCK_SOURCE = SYS / "devices/system/clocksource/clocksource0/current_clocksource"
# The zone that is the processor, where there are several: names on Raspberry Pi, Intel, AMD and other ARM boards.
SOC_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "x86_pkg_temp", "k10temp", "acpitz")
# Bits of `vcgencmd get_throttled`; 16 higher: the same since boot. Source: raspberrypi/utils, vcgencmd/vcgencmd.1
THROTTLE_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16
VCGENCMD_DEADLINE_S = 2.0


def read_text(path: str | Path) -> str | None:
    """Return the file's text without outer blanks and NULs; None where it cannot be read or is empty."""
    try:
        text = Path(path).read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    return text.strip("\0 \t\n") or None


def read_number(path: str | Path) -> int | None:
    """Return the whole number a file holds; None where there is none."""
    try:
        return int(read_text(path) or "")
    except ValueError:
        return None


def cpu_folders() -> list[Path]:
    """Return the folders of the processors in the order of their numbers."""
    return sorted(CPUS.glob("cpu[0-9]*"), key=lambda folder: int(folder.name[3:]))


def governor() -> str | None:
    """Return the frequency governor; several different ones joined by commas."""
    found = [read_text(folder / "cpufreq" / "scaling_governor") for folder in cpu_folders()]
    return ",".join(sorted({each for each in found if each})) or None


def frequencies_khz(name: str = "scaling_cur_freq") -> tuple[int | None, ...] | None:
    """Return one frequency per processor, in kHz; None where the kernel does not control the clock."""
    found = tuple(read_number(folder / "cpufreq" / name) for folder in cpu_folders())
    return found if any(each is not None for each in found) else None


def temperatures_c() -> dict[str, float] | None:
    """Return the temperature of each thermal zone by its type, in degrees Celsius."""
    found: dict[str, float] = {}
    for zone in sorted(THERMAL.glob("thermal_zone*")):
        millidegrees = read_number(zone / "temp")
        if millidegrees is not None:
            found.setdefault(read_text(zone / "type") or zone.name, millidegrees / 1000)
    return found or None


def soc_temperature_c(zones: dict[str, float] | None) -> float | None:
    """Return the processor's own temperature out of the zones; the only zone is taken for it."""
    if not zones:
        return None
    named = [zones[name] for name in SOC_ZONES if name in zones]
    if named:
        return named[0]
    return next(iter(zones.values())) if len(zones) == 1 else None


def edge_tpu_heat() -> tuple[EdgeTpuHeat, ...] | None:
    """Return temperature and first trip point of each Edge TPU on PCIe; None where there is none.

    From the first trip point on the chip's clock is lowered. Source: google/gasket-driver, src/apex_driver.c.
    """
    folders = sorted(SYS.glob("bus/pci/devices/*/apex/apex_*"))
    heat = (EdgeTpuHeat(_degrees(each / "temp"), _degrees(each / "trip_point0_temp")) for each in folders)
    return tuple(heat) or None


def _degrees(path: Path) -> float | None:
    millidegrees = read_number(path)
    return None if millidegrees is None else millidegrees / 1000


def throttle_word() -> int | None:
    """Return the Raspberry Pi firmware's throttle word; None on other machines or where it may not be asked."""
    answer = _vcgencmd("get_throttled", "throttled=")
    try:
        return None if answer is None else int(answer, 16)
    except ValueError:
        return None


def decode_throttled(word: int | None) -> Throttled | None:
    """Return the firmware's throttle word with its bits by name."""
    if word is None:
        return None
    return Throttled(
        word=hex(word),
        now=tuple(name for bit, name in THROTTLE_BITS.items() if word >> bit & 1),
        since_boot=tuple(name for bit, name in THROTTLE_BITS.items() if word >> bit >> SINCE_BOOT & 1),
    )


def firmware_clock_khz() -> float | None:
    """Return the ARM clock as a Raspberry Pi's firmware sets it: it throttles without the kernel's knowledge."""
    answer = _vcgencmd("measure_clock arm", "=")
    return int(answer) / 1000 if answer is not None and answer.isdecimal() else None


def _vcgencmd(question: str, before: str) -> str | None:
    """Ask the firmware of a Raspberry Pi; return what follows `before` in its answer."""
    try:
        done = subprocess.run(
            ["vcgencmd", *question.split()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VCGENCMD_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    _, found, answer = done.stdout.decode("ascii", "replace").strip().partition(before)
    return answer if found and done.returncode == 0 else None


def load_1min() -> float | None:
    """Return the load average over the last minute."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def peak_rss_bytes() -> int | None:
    """Return the most memory this process ever had resident (VmHWM)."""
    for line in (read_text("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
