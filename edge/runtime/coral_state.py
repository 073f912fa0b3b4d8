"""Reads the state of attached Edge TPUs and their driver from /sys, /proc, /dev and dpkg; opens no device.

Sources of ids, names of files and modules: google/gasket-driver (src/apex_driver.c, debian/gasket-dkms.udev),
feranick/libedgetpu (debian/edgetpu-accelerator.rules). Values that the system does not state are None.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USB_IDS = ("1a6e:089a", "18d1:9302")  # before and after the firmware is loaded
PCI_IDS = ("0x1ac1", "0x089a")
PACKAGES = ("libedgetpu1-std", "libedgetpu1-max", "gasket-dkms")
LIBRARY_PLACES = ("usr/lib/*/libedgetpu.so.1*", "usr/lib/libedgetpu.so.1*", "usr/local/lib/libedgetpu.so.1*")
_MODULES = ("gasket", "apex")


def coral_state(root: Path = Path("/"), *, kernel: str | None = None) -> dict[str, Any]:
    """Return the state as JSON.

    Args:
        root: Where /sys, /dev, /lib and /var are.
        kernel: The running kernel's release; None for the current one.
    """
    release = kernel or platform.release()
    return {
        "usb": list(_usb(root)),
        "pci": list(_pci(root)),
        "nodes": [f"/dev/{each.name}" for each in sorted((root / "dev").glob("apex_*"))],
        "packages": _packages(root),
        "library": _library(root),
        "modules": [name for name in _MODULES if (root / "sys/module" / name).is_dir()],
        "built_modules": sorted({path.name.partition(".")[0] for path in _find_built_modules(root, release)}),
        "dkms_log": _dkms_log(root),
        "groups": _own_groups(),
    }


def _usb(root: Path) -> Iterator[dict[str, Any]]:
    for device in sorted((root / "sys/bus/usb/devices").glob("*")):
        ids = f"{_text(device / 'idVendor')}:{_text(device / 'idProduct')}"
        if ids in USB_IDS:
            bus, number = _text(device / "busnum") or "", _text(device / "devnum") or ""
            known = bus.isdecimal() and number.isdecimal()
            node = f"/dev/bus/usb/{int(bus):03d}/{int(number):03d}" if known else None
            yield {"name": device.name, "ids": ids, "speed": _text(device / "speed"), **_access(root, node)}


def _pci(root: Path) -> Iterator[dict[str, Any]]:
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if (_text(device / "vendor"), _text(device / "device")) == PCI_IDS:
            nodes = sorted((device / "apex").glob("apex_*"))
            node = f"/dev/{nodes[0].name}" if nodes else None
            yield {
                "name": device.name,
                "driver": (device / "driver").resolve().name if (device / "driver").exists() else None,
                "temperature": _text(nodes[0] / "temp") if nodes else None,
                "trip_points": [_text(nodes[0] / f"trip_point{index}_temp") for index in range(3)] if nodes else [],
                **_access(root, node),
            }


def _access(root: Path, node: str | None) -> dict[str, Any]:
    """Return a device file with its mode, group, and whether this user may read and write it."""
    path = None if node is None else root / node.lstrip("/")
    try:
        state = None if path is None else path.stat()
    except OSError:
        state = None
    if state is None or path is None:
        return {"node": node, "is_open": None, "mode": None, "group": None}
    return {
        "node": node,
        "is_open": os.access(path, os.R_OK | os.W_OK),
        "mode": f"{state.st_mode & 0o777:03o}",
        "group": _group(state.st_gid),
    }


def _packages(root: Path) -> dict[str, str]:
    """Return the version of each installed Debian package for the Edge TPU."""
    folder = root / "var/lib/dpkg"
    # Most systems have none of them; the package manager's database is long, and these names are short.
    if not any(next((folder / "info").glob(f"{name}*.list"), None) for name in PACKAGES):
        return {}
    found = {}
    for block in (_text(folder / "status") or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Package") in PACKAGES and fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return found


def _library(root: Path) -> str | None:
    found = [path for place in LIBRARY_PLACES for path in sorted(root.glob(place))]
    return f"/{found[0].relative_to(root)}" if found else None


def _find_built_modules(root: Path, release: str) -> Iterator[Path]:
    for name in _MODULES:
        yield from (root / "lib/modules" / release).glob(f"updates/**/{name}.ko*")
        yield from (root / "lib/modules" / release).glob(f"kernel/drivers/staging/gasket/{name}.ko*")


def _dkms_log(root: Path) -> str | None:
    """Return the first error of the driver's last failed build; DKMS keeps the log only then."""
    for log in sorted((root / "var/lib/dkms/gasket").glob("*/build/make.log")):
        errors = [line.strip() for line in (_text(log) or "").splitlines() if " error: " in line]
        if errors:
            return errors[0][:200]
    return None


def _own_groups() -> list[str]:
    if not hasattr(os, "getgroups"):  # of POSIX systems only
        return []
    return sorted({_group(number) for number in {*os.getgroups(), os.getegid()}})


def _group(number: int) -> str:
    import grp  # of POSIX systems only, and this module is imported on others

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip() or None
    except OSError:
        return None
