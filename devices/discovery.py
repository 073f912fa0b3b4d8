"""Scans for boards on the network, serial ports and Coral accelerators, and checks the user's access to them.

Boards announce themselves by mDNS and DNS-SD (RFC 6762 and 6763).
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devices.accelerator_problems import EdgeTpuProblem
from devices.attached import coral_on_pci, coral_on_usb, serial_ports
from devices.errors import DeviceError
from devices.findings import ScanFinding
from devices.local import LocalDevice

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

ROOT = Path("/")
SERVICES = ("_ssh._tcp.local.", "_sftp-ssh._tcp.local.", "_workstation._tcp.local.")
DEFAULT_NAME = "raspberrypi.local."  # a new Raspberry Pi answers to it even where it announces no service
RESOLVE_S = 1.0
SSH_PORT = 22


@dataclass(frozen=True)
class Scan:
    """The findings, the kinds searched for, the searches that failed, and the problems of Edge TPUs."""

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
    return Scan((*boards, *attached), looked_for, problems, _find_problems(attached) if root == ROOT else ())


def _find_problems(attached: tuple[ScanFinding, ...]) -> tuple[EdgeTpuProblem, ...]:
    """Query this machine's agent for the state of the Edge TPUs' driver and library, if any are attached."""
    if not any(each.kind.startswith("coral") for each in attached):
        return ()
    try:
        return LocalDevice().facts().tpu_problems
    except DeviceError as error:
        return (EdgeTpuProblem("the Edge TPUs could not be checked for problems", str(error)),)


def boards_by_mdns(duration_s: float, interface: str | None) -> tuple[tuple[ScanFinding, ...], tuple[str, ...]]:
    """Listen for boards; return them by host name, and the problem if listening failed.

    Args:
        duration_s: How long to listen; resolving the names takes one second more.
        interface: An IP address of this machine: listen there only. None listens everywhere.
    """
    try:
        from zeroconf import InterfaceChoice, Zeroconf
    except ModuleNotFoundError as error:
        if error.name != "zeroconf":
            raise
        return (), ("the network was not searched: the package zeroconf is missing (edge-convert[host] has it)",)
    try:
        if interface:
            with socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((interface, 0))  # an address of another machine fails here, with nothing begun
        with Zeroconf([interface] if interface else InterfaceChoice.All) as network:
            return _boards(_resolve(network, _listen(network, duration_s))), ()
    except OSError as error:
        return (), (f"the network was not searched: {error.strerror or error}",)


def _listen(network: Zeroconf, duration_s: float) -> list[tuple[str, str]]:
    from zeroconf import DNSQuestionType, ServiceBrowser, ServiceStateChange

    # Answers by multicast: one to this machine alone would reach Avahi instead of us where it runs, too.
    names: dict[tuple[str, str], None] = {}

    def note(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is not ServiceStateChange.Removed:
            names[service_type, name] = None

    browser = ServiceBrowser(network, list(SERVICES), handlers=[note], question_type=DNSQuestionType.QM)
    time.sleep(duration_s)
    browser.cancel()
    return list(names)


def _resolve(network: Zeroconf, announced: Iterable[tuple[str, str]]) -> list[ServiceInfo]:
    """Ask each for its host name and addresses; a second for all together."""
    from zeroconf import AddressResolver, DNSQuestionType, ServiceInfo  # type: ignore[attr-defined]  # public, though not in its __all__

    until = time.monotonic() + RESOLVE_S
    found: list[ServiceInfo] = []
    for info in (*(ServiceInfo(*each) for each in announced), AddressResolver(DEFAULT_NAME)):
        left_ms = max(1, int((until - time.monotonic()) * 1000))
        if info.request(network, left_ms, DNSQuestionType.QM) and info.parsed_scoped_addresses():
            found.append(info)
    return found


def _boards(infos: Sequence[ServiceInfo]) -> tuple[ScanFinding, ...]:
    """Return one finding per host: a board announces several services."""
    hosts: dict[str, list[ServiceInfo]] = {}
    for info in infos:
        hosts.setdefault((info.server or info.name).rstrip("."), []).append(info)
    return tuple(_describe_board(host, hosts[host]) for host in sorted(hosts))


def _describe_board(host: str, infos: Sequence[ServiceInfo]) -> ScanFinding:
    addresses = {address for info in infos for address in info.parsed_scoped_addresses()}
    ordered = sorted(addresses, key=lambda each: (ipaddress.ip_address(each.split("%")[0]).version, each))
    services = sorted({info.type.removesuffix(".local.") for info in infos if info.type in SERVICES})
    ports = {info.port for info in infos if info.type in SERVICES[:2] and info.port}
    return ScanFinding(
        "board",
        host,
        f"announces {', '.join(services)}" if services else "has the default host name of a Raspberry Pi",
        tuple(ordered),
        min(ports, default=SSH_PORT),
    )
