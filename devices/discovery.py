"""What is there: boards on the network, serial ports, Coral accelerators; and whether this user may open them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices.accelerator_problems import EdgeTpuProblem
from devices.discovery_mdns import boards_by_mdns
from devices.discovery_pci import coral_on_pci
from devices.discovery_usb import coral_on_usb, serial_ports
from devices.errors import DeviceError
from devices.findings import ScanFinding
from devices.local import LocalDevice

ROOT = Path("/")


@dataclass(frozen=True)
class Scan:
    """What was found, what was looked for, what could not be looked for, and what keeps Edge TPUs from use."""

    findings: tuple[ScanFinding, ...]
    looked_for: tuple[str, ...]
    problems: tuple[str, ...]
    cures: tuple[EdgeTpuProblem, ...] = ()


def scan(*, duration_s: float = 3.0, interface: str | None = None, root: Path = ROOT) -> Scan:
    """Look for boards and accelerators.

    Args:
        duration_s: How long to listen on the network; everything else is read at once.
        interface: An IP address of this machine: listen there only. None listens everywhere.
        root: Where /dev and /sys are.
    """
    attached = (*serial_ports(root), *coral_on_usb(root), *coral_on_pci(root))
    boards, problems = boards_by_mdns(duration_s, interface)
    looked_for = (
        f"boards that announce SSH by mDNS (_ssh._tcp, _sftp-ssh._tcp, _workstation._tcp; listened {duration_s:g} s)",
        "USB serial ports (/dev/ttyUSB*, /dev/ttyACM*)",
        "Coral USB accelerators (USB ids 1a6e:089a, 18d1:9302)",
        "Coral PCIe and M.2 accelerators (PCI id 1ac1:089a, /dev/apex_*)",
    )
    return Scan((*boards, *attached), looked_for, problems, _cures(attached) if root == ROOT else ())


def _cures(attached: tuple[ScanFinding, ...]) -> tuple[EdgeTpuProblem, ...]:
    """Ask this machine's agent what it knows of the Edge TPUs' driver and library, where there are any."""
    if not any(each.kind.startswith("coral") for each in attached):
        return ()
    try:
        return LocalDevice().facts().tpu_problems
    except DeviceError as error:
        return (EdgeTpuProblem("what keeps the Edge TPUs from use is not known", str(error)),)
