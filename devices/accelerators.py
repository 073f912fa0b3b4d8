"""Parses and describes the Edge TPUs of a device: sticks, chips, packages, library and driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.messages.machine_jobs import EdgeTpuState, PciEdgeTpu, UsbEdgeTpu

FIRMWARE_LOADED = "18d1:9302"
USB3_MBIT_PER_S = 5000.0
STANDARD, MAXIMUM, DRIVER = "libedgetpu1-std", "libedgetpu1-max", "gasket-dkms"
# The runtime's clock in MHz and the warmest air it may run in, in degrees Celsius (the packages' descriptions).
CLOCKS = {STANDARD: (250, 35), MAXIMUM: (500, 25)}


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
class PciChip:
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
class Coral:
    """The Edge TPUs of one device and all that belongs to them.

    Attributes:
        sticks: On USB. They have no temperature.
        chips: On PCIe.
        packages: Installed Debian packages of the Edge TPU's, with their versions.
        library: The path of libedgetpu.so.1; None where it is at none of the usual places.
        modules: Modules of the driver that are loaded.
        built_modules: Those that exist for the running kernel.
        build_error: The first error of the driver's last failed build.
        groups: The groups of the user who runs the agent.
        advice: What to install on this system.
    """

    sticks: tuple[Stick, ...]
    chips: tuple[PciChip, ...]
    packages: Mapping[str, str]
    library: str | None
    modules: tuple[str, ...]
    built_modules: tuple[str, ...]
    build_error: str | None
    groups: tuple[str, ...]
    advice: str | None

    @classmethod
    def of(cls, state: EdgeTpuState) -> Coral:
        """Parse what the agent read."""
        return cls(
            sticks=tuple(map(_stick, state.usb)),
            chips=tuple(map(_chip, state.pci)),
            packages=state.packages,
            library=state.library,
            modules=state.modules,
            built_modules=state.built_modules,
            build_error=state.dkms_log,
            groups=state.groups,
            advice=state.advice,
        )

    @property
    def is_attached(self) -> bool:
        """Whether there is any Edge TPU."""
        return bool(self.sticks or self.chips)

    @property
    def clock_mhz(self) -> int | None:
        """The clock that the installed package sets; None where none is installed."""
        return next((mhz for name, (mhz, _) in CLOCKS.items() if name in self.packages), None)


def describe_accelerators(coral: Coral) -> list[str]:
    """Return one sentence for each Edge TPU, and one for the packages."""
    lines = [_describe_stick(index, each) for index, each in enumerate(coral.sticks)]
    lines += [_describe_chip(index, each) for index, each in enumerate(coral.chips)]
    packages = ", ".join(f"{name} {version}" for name, version in coral.packages.items())
    clock = "" if coral.clock_mhz is None else f" (clock {coral.clock_mhz} MHz)"
    if packages or coral.library:
        lines.append(f"{packages or coral.library}{clock}")
    return lines


def _describe_stick(index: int, stick: Stick) -> str:
    state = "ready" if stick.has_firmware else "firmware not loaded yet (the first use loads it)"
    speed = "" if stick.link_mbit_s is None else f", {stick.link_mbit_s:g} Mbit/s"
    slow = " (USB 2)" if stick.link_mbit_s is not None and stick.link_mbit_s < USB3_MBIT_PER_S else ""
    return f"usb:{index} at {stick.name}, {state}{speed}{slow}; USB sticks report no temperature"


def _describe_chip(index: int, chip: PciChip) -> str:
    if chip.node is None:
        return f"pci at {chip.name}, without a driver"
    degrees = "temperature unknown" if chip.temperature_c is None else f"{chip.temperature_c:.1f} °C"
    return f"pci:{index} at {chip.name}, {chip.node}, {degrees}"


def _stick(raw: UsbEdgeTpu) -> Stick:
    return Stick(
        name=raw.name,
        has_firmware=raw.ids == FIRMWARE_LOADED,
        link_mbit_s=_number(raw.speed),
        node=raw.node,
        is_open=raw.is_open,
        mode=raw.mode,
        group=raw.group,
    )


def _chip(raw: PciEdgeTpu) -> PciChip:
    points = map(_degrees, raw.trip_points)
    return PciChip(
        name=raw.name,
        driver=raw.driver,
        node=raw.node,
        is_open=raw.is_open,
        mode=raw.mode,
        group=raw.group,
        temperature_c=_degrees(raw.temperature),
        trip_points_c=tuple(each for each in points if each is not None),
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _degrees(text: str | None) -> float | None:
    """Return millidegrees as degrees; a chip that hangs reports less than 0."""
    value = _number(text)
    return value / 1000 if value is not None and value > 0 else None
