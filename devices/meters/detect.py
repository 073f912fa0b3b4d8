"""What could be a meter on this machine, and how it would be named. Nothing is opened."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from devices.findings import access_to
from devices.meters import fnirsi, hwmon, rapl
from devices.meters.config import named_meters

HIDRAW = Path("/sys/class/hidraw")
PPK2 = (0x1915, 0xC00A)
# Makers of Arduino boards and of the serial chips on their copies.
_ARDUINO = {0x2341: "Arduino", 0x2A03: "Arduino", 0x1A86: "CH340 serial chip", 0x0403: "FTDI serial chip",
            0x10C4: "CP210x serial chip"}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """Something that could be a meter; `sure` where it is certainly one of that kind."""

    name: str  # for `edge meter read`
    kind: str
    about: str
    sure: bool
    problem: str | None = None  # why this user cannot open it
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


class PortInfo(Protocol):
    """What pyserial's list_ports tells of a port."""

    device: str
    vid: int | None
    pid: int | None
    description: str | None


def candidates() -> list[Candidate]:
    """Return the user's named meters, then whatever is plugged in."""
    found = [Candidate(each.name, each.kind, f"{each.address} (meters.toml)", sure=True)
             for each in named_meters().values()]  # fmt: skip
    return [*found, *on_serial_ports(_ports()), *on_hidraw(), *on_hwmon(), *on_powercap()]


def on_serial_ports(ports: Iterable[PortInfo]) -> Iterator[Candidate]:
    """Yield what serial ports may have behind them, by their USB ids."""
    for port in sorted(ports, key=lambda each: each.device):
        kind, about, sure = _behind(port)
        access = access_to(Path(port.device), shown=port.device)
        ids = f" ({port.vid:04x}:{port.pid:04x})" if port.vid is not None and port.pid is not None else ""
        yield Candidate(f"{kind}:{port.device}", kind, about + ids, sure, access.problem, access.hint)


def on_hidraw(root: Path = HIDRAW, dev: Path = Path("/dev")) -> Iterator[Candidate]:
    """Yield FNIRSI's testers."""
    for folder in sorted(root.glob("hidraw*")):
        path = dev / folder.name
        model = fnirsi.model_of(str(path), root)
        if model is not None:
            access = access_to(path, shown=str(path))
            hint = access.hint or ("a udev rule must give it to a group of yours" if access.problem else None)
            yield Candidate(f"fnirsi:{path}", "fnirsi", f"FNIRSI {model}", sure=True, problem=access.problem, hint=hint)


def on_hwmon(root: Path = hwmon.ROOT) -> Iterator[Candidate]:
    """Yield current sensors that Linux has a driver for."""
    for folder, chip in hwmon.sensors(root):
        yield Candidate(f"hwmon:{folder}", "hwmon", f"{chip} on the hardware monitor", sure=True)


def on_powercap(root: Path = rapl.ROOT) -> Iterator[Candidate]:
    """Yield the processor's own counters, with what keeps this user from reading them."""
    zones = list(rapl.zones(root))
    names = [zone for _, zone in zones]
    for folder, zone in zones:
        file = root / folder / "energy_uj"
        problem = None if os.access(file, os.R_OK) else f"{file} is readable by root only"
        hint = f"sudo chmod a+r {file} (until the next start)" if problem else None
        address = zone if names.count(zone) == 1 else folder
        about = f"RAPL counter {zone} of this machine: an estimate of its processor, never of a board"
        yield Candidate(f"rapl:{address}", "rapl", about, sure=True, problem=problem, hint=hint)


def _behind(port: PortInfo) -> tuple[str, str, bool]:
    if (port.vid, port.pid) == PPK2:
        return "ppk2", "Nordic PPK2", True
    if Path(port.device).name.startswith("rfcomm"):
        return "um25c", "Bluetooth serial port: perhaps a UM24C, UM25C or UM34C", False
    maker = _ARDUINO.get(port.vid or 0)
    if maker is not None:
        return "edge", f"{maker}: perhaps our meter, or a board that prints (csv:)", False
    what = port.description if port.description not in (None, "", "n/a") else "serial port"
    return "csv", f"{what}: perhaps a board that prints, or a TC66C (tc66c:)", False


def _ports() -> list[PortInfo]:
    """Return the serial ports; none where pyserial is missing, as then none could be read."""
    try:
        listing = importlib.import_module("serial.tools.list_ports")
    except ImportError:
        return []
    return list(listing.comports())
