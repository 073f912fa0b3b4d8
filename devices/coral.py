"""Edge TPUs that a device has, as its agent stated them: sticks, chips, packages, driver; and what keeps them from use.

Sources: udev rules and package names of google-coral/edgetpu and google/gasket-driver; kernels on which its driver
stopped to build: google/gasket-driver issues 12 (6.4), 36 (6.12) and 51 (6.14), KyleGospo/gasket-dkms issue 9 (6.8),
raspberrypi/linux issue 6799; pages of 16 KiB: google-coral/edgetpu issue 817.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FIRMWARE_LOADED = "18d1:9302"
USB3_MBIT_PER_S = 5000.0
PAGE_16K = 16 * 1024
STANDARD, MAXIMUM, DRIVER = "libedgetpu1-std", "libedgetpu1-max", "gasket-dkms"
# The runtime's clock in MHz and the warmest air it may run in, in degrees Celsius (the packages' descriptions).
CLOCKS = {STANDARD: (250, 35), MAXIMUM: (500, 25)}
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
class Stick:
    """A USB accelerator; `has_firmware` is False until its first use after power-up. Unknown is None."""

    name: str
    has_firmware: bool
    link_mbit_s: float | None
    node: str | None
    is_open: bool | None
    mode: str | None
    group: str | None


@dataclass(frozen=True)
class Chip:
    """A chip on PCIe or M.2; without a driver it has no node. The clock falls at each trip point."""

    name: str
    driver: str | None
    node: str | None
    is_open: bool | None
    mode: str | None
    group: str | None
    temperature_c: float | None
    trip_points_c: tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """What keeps an Edge TPU from being used, and what mends it."""

    what: str
    cure: str


@dataclass(frozen=True)
class Coral:
    """Everything about Edge TPUs on one device.

    Attributes:
        sticks: On USB. They have no temperature.
        chips: On PCIe.
        packages: Installed Debian packages of the Edge TPU's, with their versions.
        library: The path of libedgetpu.so.1; None where it is at none of the usual places.
        modules: Modules of the driver that are loaded.
        built_modules: Those that exist for the running kernel.
        build_error: The first error of the driver's last failed build.
        groups: The groups of the user who asked.
        advice: What to install on this system, in words.
    """

    sticks: tuple[Stick, ...]
    chips: tuple[Chip, ...]
    packages: Mapping[str, str]
    library: str | None
    modules: tuple[str, ...]
    built_modules: tuple[str, ...]
    build_error: str | None
    groups: tuple[str, ...]
    advice: str | None

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> Coral | None:
        """Make sense of what the agent stated; None where an older agent stated nothing."""
        if raw is None:
            return None
        return cls(
            sticks=tuple(map(_stick, raw["usb"])),
            chips=tuple(map(_chip, raw["pci"])),
            packages=dict(raw["packages"]),
            library=raw["library"],
            modules=tuple(raw["modules"]),
            built_modules=tuple(raw["built_modules"]),
            build_error=raw["dkms_log"],
            groups=tuple(raw["groups"]),
            advice=raw.get("advice"),
        )

    @property
    def is_attached(self) -> bool:
        """Whether there is any Edge TPU."""
        return bool(self.sticks or self.chips)

    @property
    def clock_mhz(self) -> int | None:
        """The clock that the installed package sets; None where no package says."""
        return next((mhz for name, (mhz, _) in CLOCKS.items() if name in self.packages), None)


def problems(
    coral: Coral, *, kernel: str | None, page_size_bytes: int | None, runtimes: Mapping[str, str | None] | None = None
) -> tuple[Problem, ...]:
    """Return what keeps the Edge TPUs from use, and what is known to mend it; nothing where none is attached.

    Args:
        coral: What is attached and installed.
        kernel: The running kernel's release.
        page_size_bytes: Of that kernel.
        runtimes: Versions of the installed TFLite runtimes by name.
    """
    return tuple((
        *_driver(coral, kernel, page_size_bytes),
        *_access(coral),
        *_library(coral),
        *_pairing(coral, runtimes or {}),
        *_heat(coral),
    ))  # fmt: skip


def in_words(coral: Coral) -> list[str]:
    """Return one sentence for each Edge TPU, and one for the packages."""
    said = [_stick_in_words(index, each) for index, each in enumerate(coral.sticks)]
    said += [_chip_in_words(index, each) for index, each in enumerate(coral.chips)]
    packages = ", ".join(f"{name} {version}" for name, version in coral.packages.items())
    clock = "" if coral.clock_mhz is None else f" (clock {coral.clock_mhz} MHz)"
    if packages or coral.library:
        said.append(f"{packages or coral.library}{clock}")
    return said


def driver_cure(kernel: str | None) -> str:
    """Return how to get the PCIe driver for a kernel."""
    version = _version(kernel)
    broken = next((what for first, what in _BREAKS if version is not None and version >= first), None)
    if broken is None:
        return "install gasket-dkms and the headers of the running kernel, then reboot"
    return f"gasket-dkms 1.0-18 and older do not build on this kernel ({broken}): {_NO_MODULE}"


def _driver(coral: Coral, kernel: str | None, page_size_bytes: int | None) -> Iterator[Problem]:
    if coral.chips and page_size_bytes == PAGE_16K:
        yield Problem(
            "this kernel has pages of 16 KiB: the driver cannot partition the chip's page table",
            "kernel=kernel8.img in /boot/firmware/config.txt, reboot, then install gasket-dkms for that kernel",
        )
    bare = [each.name for each in coral.chips if each.node is None]
    if not bare:
        return
    where = f"no driver serves the chip at {', '.join(bare)}"
    if "apex" in coral.modules:
        yield Problem(
            f"{where}, though the module apex is loaded",
            "dmesg | grep -i apex says why; on a Raspberry Pi 5: dtparam=pciex1 in config.txt, and the device tree's "
            "msi-parent of that bus",
        )
    elif coral.built_modules:
        yield Problem(f"{where}: the modules exist but are not loaded", "sudo modprobe apex, or reboot")
    elif DRIVER in coral.packages or coral.build_error is not None:
        reason = f": {coral.build_error}" if coral.build_error else ""
        installed = f"gasket-dkms {coral.packages.get(DRIVER, '(removed)')}"
        yield Problem(f"{where}: {installed} has no module for kernel {kernel}{reason}", driver_cure(kernel))
    else:
        yield Problem(f"{where}: it is not installed", driver_cure(kernel))


def _access(coral: Coral) -> Iterator[Problem]:
    attached: tuple[Stick | Chip, ...] = (*coral.sticks, *coral.chips)
    for each in attached:
        if each.node is None or each.is_open:
            continue
        if each.is_open is None:
            yield Problem(f"{each.node} of {each.name} is not there", "plug it in again, or restart udev")
        elif each.group in (None, "root") or (each.mode or "")[1:2] not in ("6", "7"):
            wanted = "plugdev" if isinstance(each, Stick) else "apex"
            package = "libedgetpu1-std" if isinstance(each, Stick) else DRIVER
            yield Problem(
                f"{each.node} is not open to users (mode {each.mode}, group {each.group})",
                f"install {package}, whose udev rule gives it to the group {wanted}; then plug it in again or reboot",
            )
        else:
            again = " (done already: log in again)" if each.group in coral.groups else ""
            yield Problem(
                f"{each.node} is open to the group {each.group} only",
                f"sudo usermod -aG {each.group} $USER, then log in again{again}",
            )


def _library(coral: Coral) -> Iterator[Problem]:
    if coral.is_attached and coral.library is None:
        yield Problem("libedgetpu.so.1 is not installed", coral.advice or f"install {STANDARD}")


def _pairing(coral: Coral, runtimes: Mapping[str, str | None]) -> Iterator[Problem]:
    """Compare the library's build with the runtime's: they share structures that change between versions."""
    runtime = _version(runtimes.get("tflite-runtime"))
    name = next((each for each in CLOCKS if each in coral.packages), None)
    if not coral.is_attached or name is None or runtime is None:
        return
    built = re.search(r"tf(\d+)\.(\d+)", coral.packages[name])
    said = f"{name} {coral.packages[name]}"
    wanted = f"install {name} of feranick/libedgetpu, the build for TensorFlow {runtime[0]}.{runtime[1]}"
    if built is None and runtime >= _STOCK_BEFORE:
        yield Problem(f"{said}, Google's own build, crashes with tflite-runtime {runtime[0]}.{runtime[1]}", wanted)
    elif built is not None and (int(built[1]), int(built[2])) != runtime:
        yield Problem(
            f"{said} is built for TensorFlow {built[1]}.{built[2]}, tflite-runtime is {runtime[0]}.{runtime[1]}: they "
            "may crash together", wanted,
        )  # fmt: skip


def _heat(coral: Coral) -> Iterator[Problem]:
    for each in coral.chips:
        if each.temperature_c is not None and each.trip_points_c and each.temperature_c >= each.trip_points_c[0]:
            yield Problem(
                f"{each.node} is at {each.temperature_c:.1f} °C; at {each.trip_points_c[0]:.0f} °C its clock falls",
                "cool it before it is measured",
            )


def _stick_in_words(index: int, stick: Stick) -> str:
    state = "ready" if stick.has_firmware else "firmware not loaded yet (the first use loads it)"
    speed = "" if stick.link_mbit_s is None else f", {stick.link_mbit_s:g} Mbit/s"
    slow = " (USB 2)" if stick.link_mbit_s is not None and stick.link_mbit_s < USB3_MBIT_PER_S else ""
    return f"usb:{index} at {stick.name}, {state}{speed}{slow}; USB sticks state no temperature"


def _chip_in_words(index: int, chip: Chip) -> str:
    if chip.node is None:
        return f"pci at {chip.name}, without a driver"
    degrees = "temperature unknown" if chip.temperature_c is None else f"{chip.temperature_c:.1f} °C"
    return f"pci:{index} at {chip.name}, {chip.node}, {degrees}"


def _stick(raw: Mapping[str, Any]) -> Stick:
    return Stick(
        name=raw["name"],
        has_firmware=raw["ids"] == FIRMWARE_LOADED,
        link_mbit_s=_number(raw["speed"]),
        **{key: raw[key] for key in _NODE},
    )


def _chip(raw: Mapping[str, Any]) -> Chip:
    points = map(_degrees, raw["trip_points"])
    return Chip(
        name=raw["name"],
        driver=raw["driver"],
        temperature_c=_degrees(raw["temperature"]),
        trip_points_c=tuple(each for each in points if each is not None),
        **{key: raw[key] for key in _NODE},
    )


_NODE = ("node", "is_open", "mode", "group")


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _degrees(text: str | None) -> float | None:
    """Return millidegrees as degrees; a chip that hangs says less than 0, which is no temperature of a running one."""
    value = _number(text)
    return value / 1000 if value is not None and value > 0 else None


def _version(kernel: str | None) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", kernel or "")
    return (int(match[1]), int(match[2])) if match else None
