"""Finds problems that prevent the use of a device's Edge TPUs, with the known fixes.

Sources: udev rules and package names of google-coral/edgetpu and google/gasket-driver; kernels on which its driver no
longer builds: google/gasket-driver issues 12 (6.4), 36 (6.12) and 51 (6.14), KyleGospo/gasket-dkms issue 9 (6.8),
raspberrypi/linux issue 6799; pages of 16 KiB: google-coral/edgetpu issue 817.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devices.accelerators import CLOCKS, DRIVER, STANDARD, Coral, PciChip, Stick

PAGE_16K = 16 * 1024
# From which kernel on an older source of the driver does not build, newest first, and what was taken away there.
_BREAKS = (
    ((6, 12), "no_llseek was removed"),
    ((6, 8), "eventfd_signal takes one argument"),
    ((6, 4), "class_create takes one argument"),
)
# Google's own build of the library crashes with runtimes from here on: google-coral/edgetpu issue 812.
_STOCK_BEFORE = (2, 12)
_NO_MODULE = "build the driver from the newest source of google/gasket-driver (debuild, then install gasket-dkms)"


@dataclass(frozen=True)
class EdgeTpuProblem:
    """Something that keeps an Edge TPU from being used, and the fix."""

    what: str
    fix: str


def find_problems(
    coral: Coral, *, kernel: str | None, page_size_bytes: int | None, runtimes: Mapping[str, str | None] | None = None
) -> tuple[EdgeTpuProblem, ...]:
    """Return the problems that prevent the use of the Edge TPUs, with the known fixes; empty if none is attached.

    Args:
        coral: What is attached and installed.
        kernel: The running kernel's release.
        page_size_bytes: Of that kernel.
        runtimes: Versions of the installed TFLite runtimes by name.
    """
    return tuple((
        *_check_driver(coral, kernel, page_size_bytes),
        *_check_access(coral),
        *_check_library(coral),
        *_check_pairing(coral, runtimes or {}),
        *_check_heat(coral),
    ))  # fmt: skip


def driver_fix(kernel: str | None) -> str:
    """Return how to get the PCIe driver for a kernel."""
    version = _version(kernel)
    broken = next((what for first, what in _BREAKS if version is not None and version >= first), None)
    if broken is None:
        return "install gasket-dkms and the headers of the running kernel, then reboot"
    return f"gasket-dkms 1.0-18 and older do not build on this kernel ({broken}): {_NO_MODULE}"


def _check_driver(coral: Coral, kernel: str | None, page_size_bytes: int | None) -> Iterator[EdgeTpuProblem]:
    if coral.chips and page_size_bytes == PAGE_16K:
        yield EdgeTpuProblem(
            "this kernel has pages of 16 KiB: the driver cannot partition the chip's page table",
            "kernel=kernel8.img in /boot/firmware/config.txt, reboot, then install gasket-dkms for that kernel",
        )
    bare = [each.name for each in coral.chips if each.node is None]
    if not bare:
        return
    where = f"there is no driver for the chip at {', '.join(bare)}"
    if "apex" in coral.modules:
        yield EdgeTpuProblem(
            f"{where}, though the module apex is loaded",
            "dmesg | grep -i apex shows why; on a Raspberry Pi 5: dtparam=pciex1 in config.txt, and the device tree's "
            "msi-parent of that bus",
        )
    elif coral.built_modules:
        yield EdgeTpuProblem(f"{where}: the modules exist but are not loaded", "sudo modprobe apex, or reboot")
    elif DRIVER in coral.packages or coral.build_error is not None:
        reason = f": {coral.build_error}" if coral.build_error else ""
        installed = f"gasket-dkms {coral.packages.get(DRIVER, '(removed)')}"
        yield EdgeTpuProblem(f"{where}: {installed} has no module for kernel {kernel}{reason}", driver_fix(kernel))
    else:
        yield EdgeTpuProblem(f"{where}: it is not installed", driver_fix(kernel))


def _check_access(coral: Coral) -> Iterator[EdgeTpuProblem]:
    attached: tuple[Stick | PciChip, ...] = (*coral.sticks, *coral.chips)
    for each in attached:
        if each.node is None or each.is_open:
            continue
        if each.is_open is None:
            yield EdgeTpuProblem(f"{each.node} of {each.name} does not exist", "plug it in again, or restart udev")
        elif each.group in (None, "root") or (each.mode or "")[1:2] not in ("6", "7"):
            wanted = "plugdev" if isinstance(each, Stick) else "apex"
            package = "libedgetpu1-std" if isinstance(each, Stick) else DRIVER
            yield EdgeTpuProblem(
                f"{each.node} is not open to users (mode {each.mode}, group {each.group})",
                f"install {package}, whose udev rule gives it to the group {wanted}; then plug it in again or reboot",
            )
        else:
            again = " (done already: log in again)" if each.group in coral.groups else ""
            yield EdgeTpuProblem(
                f"{each.node} is open to the group {each.group} only",
                f"sudo usermod -aG {each.group} $USER, then log in again{again}",
            )


def _check_library(coral: Coral) -> Iterator[EdgeTpuProblem]:
    if coral.is_attached and coral.library is None:
        yield EdgeTpuProblem("libedgetpu.so.1 is not installed", coral.advice or f"install {STANDARD}")


def _check_pairing(coral: Coral, runtimes: Mapping[str, str | None]) -> Iterator[EdgeTpuProblem]:
    """Compare the library's build with the runtime's: they share structures that change between versions."""
    runtime = _version(runtimes.get("tflite-runtime"))
    name = next((each for each in CLOCKS if each in coral.packages), None)
    if not coral.is_attached or name is None or runtime is None:
        return
    built = re.search(r"tf(\d+)\.(\d+)", coral.packages[name])
    build = f"{name} {coral.packages[name]}"
    wanted = f"install {name} of feranick/libedgetpu, the build for TensorFlow {runtime[0]}.{runtime[1]}"
    if built is None and runtime >= _STOCK_BEFORE:
        yield EdgeTpuProblem(
            f"{build}, Google's own build, crashes with tflite-runtime {runtime[0]}.{runtime[1]}", wanted
        )
    elif built is not None and (int(built[1]), int(built[2])) != runtime:
        yield EdgeTpuProblem(
            f"{build} is built for TensorFlow {built[1]}.{built[2]}, tflite-runtime is {runtime[0]}.{runtime[1]}: they "
            "may crash together", wanted,
        )  # fmt: skip


def _check_heat(coral: Coral) -> Iterator[EdgeTpuProblem]:
    for each in coral.chips:
        if each.temperature_c is not None and each.trip_points_c and each.temperature_c >= each.trip_points_c[0]:
            yield EdgeTpuProblem(
                f"{each.node} is at {each.temperature_c:.1f} °C; at {each.trip_points_c[0]:.0f} °C its clock falls",
                "cool it before measuring",
            )


def _version(kernel: str | None) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", kernel or "")
    return (int(match[1]), int(match[2])) if match else None
