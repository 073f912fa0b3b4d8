"""Finds USB serial ports and Coral accelerators in /sys of Linux, without opening any device."""

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
APEX = ("0x1ac1", "0x089a")  # vendor and device. Source: google/gasket-driver, src/apex_driver.c
DRIVER = "install the driver, gasket-dkms, and libedgetpu1-std; `edge devices info local` says what it lacks here"


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
        return Access(device.name, allowed=False, problem="the kernel does not report its place on the bus")
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


def coral_on_pci(root: Path) -> Iterator[ScanFinding]:
    """Find Coral chips on PCIe, with and without their driver."""
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if (read_text(device / "vendor"), read_text(device / "device")) == APEX:
            yield _describe_chip(root, device)


def _describe_chip(root: Path, device: Path) -> ScanFinding:
    about = "Coral PCIe or M.2 accelerator (1ac1:089a)"
    nodes = sorted((device / "apex").glob("apex_*"))
    if not nodes:
        access = Access(device.name, allowed=False, problem="it has no driver: there is no /dev/apex_*", hint=DRIVER)
        return ScanFinding("coral-pci", f"pci:{device.name}", about, access=access)
    name = nodes[0].name
    celsius = _celsius(read_text(nodes[0] / "temp"))
    return ScanFinding(
        "coral-pci",
        f"/dev/{name}",
        f"{about}, --tpu pci:{name.removeprefix('apex_')}",
        access=access_to(root / "dev" / name, shown=f"/dev/{name}"),
        note=None if celsius is None else f"{celsius:.1f} °C",
    )


def _celsius(millidegrees: str | None) -> float | None:
    """Return the chip's temperature; a chip that hangs reports less than 0."""
    try:
        value = int(millidegrees or "") / 1000
    except ValueError:
        return None
    return value if value > 0 else None
