"""Serial ports and Coral accelerators on USB, read from Linux' /sys: nothing is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devices.findings import Access, ScanFinding, access_to, read_text

# Before its firmware is loaded the stick is a Global Unichip device; after the first use it returns as Google's.
# Source: google-coral, libedgetpu's udev rules.
CORAL = {
    ("1a6e", "089a"): "Coral USB Accelerator, firmware not loaded yet (the first use loads it)",
    ("18d1", "9302"): "Coral USB Accelerator, ready",
}
CORAL_RULES = "install libedgetpu1-std, or a udev rule for 1a6e:089a and 18d1:9302 with GROUP=plugdev"
USB3_MBIT_PER_S = 5000


def serial_ports(root: Path) -> Iterator[ScanFinding]:
    """Find serial ports that are on USB."""
    for port in sorted((root / "sys/class/tty").glob("tty[UA]*")):
        if not port.name.startswith(("ttyUSB", "ttyACM")):
            continue
        usb = _usb_parent(port / "device")
        words = [read_text(usb / name) for name in ("manufacturer", "product")] if usb else []
        ids = f"{read_text(usb / 'idVendor')}:{read_text(usb / 'idProduct')}" if usb else "no USB ids"
        number = read_text(usb / "serial") if usb else None
        about = " ".join(filter(None, words)) or "serial port"
        yield ScanFinding(
            "serial",
            f"/dev/{port.name}",
            f"{about} ({ids}{f', serial number {number}' if number else ''})",
            access=access_to(root / "dev" / port.name, shown=f"/dev/{port.name}"),
        )


def coral_on_usb(root: Path) -> Iterator[ScanFinding]:
    """Find Coral sticks, with and without firmware."""
    count = 0
    for device in sorted((root / "sys/bus/usb/devices").glob("*")):
        ids = read_text(device / "idVendor"), read_text(device / "idProduct")
        about = CORAL.get((ids[0] or "", ids[1] or ""))
        if about is None:
            continue
        count += 1
        speed = read_text(device / "speed")
        slow = speed is not None and speed.replace(".", "").isdecimal() and float(speed) < USB3_MBIT_PER_S
        yield ScanFinding(
            "coral-usb",
            f"usb:{device.name}",
            f"{about} ({ids[0]}:{ids[1]}), --tpu usb:{count - 1}",
            access=_bus_access(root, device),
            note=f"on USB 2 ({speed} Mbit/s): transfers take longer than on USB 3" if slow else None,
        )


def _bus_access(root: Path, device: Path) -> Access:
    bus, number = read_text(device / "busnum"), read_text(device / "devnum")
    if not (bus and number and bus.isdecimal() and number.isdecimal()):
        return Access(device.name, allowed=False, problem="the kernel does not say where it is on the bus")
    shown = f"/dev/bus/usb/{int(bus):03d}/{int(number):03d}"
    access = access_to(root / shown[1:], shown=shown)
    rules = not access.allowed and "udev" in (access.hint or "")
    return Access(access.path, access.allowed, access.problem, CORAL_RULES) if rules else access


def _usb_parent(device: Path) -> Path | None:
    """Return the folder of the USB device that a port belongs to."""
    place = device.resolve()
    for folder in (place, *place.parents):
        if (folder / "idVendor").is_file():
            return folder
    return None
