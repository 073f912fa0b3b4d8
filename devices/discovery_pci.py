"""Coral accelerators on PCIe and M.2, read from Linux' /sys: nothing is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devices.findings import Access, ScanFinding, access_to, read_text

APEX = ("0x1ac1", "0x089a")  # vendor and device. Source: google/gasket-driver, src/apex_driver.c
DRIVER = "install the driver, gasket-dkms, and libedgetpu1-std; `edge devices info local` says what it lacks here"


def coral_on_pci(root: Path) -> Iterator[ScanFinding]:
    """Find Coral chips on PCIe, with and without their driver."""
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if (read_text(device / "vendor"), read_text(device / "device")) == APEX:
            yield _finding(root, device)


def _finding(root: Path, device: Path) -> ScanFinding:
    about = "Coral PCIe or M.2 accelerator (1ac1:089a)"
    nodes = sorted((device / "apex").glob("apex_*"))
    if not nodes:
        access = Access(device.name, allowed=False, problem="no driver serves it: there is no /dev/apex_*", hint=DRIVER)
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
    """Return the chip's temperature; a chip that hangs says less than 0, which is no temperature of a running one."""
    try:
        value = int(millidegrees or "") / 1000
    except ValueError:
        return None
    return value if value > 0 else None
