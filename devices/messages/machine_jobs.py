"""Defines the jobs that read the machine's versions, facts, clock and conditions. None: not reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.messages.protocol import Request


@dataclass(frozen=True)
class RuntimeVersion:
    """A TFLite runtime and its version."""

    name: str
    version: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.version or '(version unknown)'}"


@dataclass(frozen=True)
class PythonVersion:
    """The Python that runs the agent; `bits` is 32 or 64 and may differ from the kernel's."""

    version: str
    implementation: str
    bits: int
    executable: str | None


@dataclass(frozen=True)
class Throttled:
    """A Raspberry Pi firmware's throttle word in hexadecimal, and its meaning for now and for the time since boot."""

    word: str
    now: tuple[str, ...]
    since_boot: tuple[str, ...]


@dataclass(frozen=True)
class BoardNames:
    """The machine's names in the device tree and in its firmware (DMI)."""

    device_tree_model: str | None
    device_tree_compatible: str | None
    dmi_vendor: str | None
    dmi_product: str | None


@dataclass(frozen=True)
class UsbEdgeTpu:
    """A stick as udev and /sys describe it; `speed` is in Mbit/s, `ids` is vendor:product."""

    name: str
    ids: str
    speed: str | None
    node: str | None
    is_open: bool | None
    mode: str | None
    group: str | None


@dataclass(frozen=True)
class PciEdgeTpu:
    """A chip as its driver describes it; temperatures are in thousandths of a degree Celsius."""

    name: str
    driver: str | None
    temperature: str | None
    trip_points: tuple[str | None, ...]
    node: str | None
    is_open: bool | None
    mode: str | None
    group: str | None


@dataclass(frozen=True)
class EdgeTpuState:
    """Attached Edge TPUs, their packages, library and driver, as edge.runtime.coral_state reads them."""

    usb: tuple[UsbEdgeTpu, ...]
    pci: tuple[PciEdgeTpu, ...]
    nodes: tuple[str, ...]
    packages: Mapping[str, str]
    library: str | None
    modules: tuple[str, ...]
    built_modules: tuple[str, ...]
    dkms_log: str | None
    groups: tuple[str, ...]
    advice: str | None = None


@dataclass(frozen=True)
class MachineFacts:
    """Facts as the system gives them; `cpuinfo` has one block of /proc/cpuinfo for each distinct processor."""

    board: BoardNames
    cpuinfo: tuple[Mapping[str, str], ...]
    machine: str
    cores: int | None
    usable_cores: int | None
    os_release: str | None
    kernel: str | None
    python: PythonVersion
    libc: str | None
    meminfo: str | None
    page_size: int | None
    governor: str | None
    frequencies_khz: tuple[int | None, ...] | None
    least_frequencies_khz: tuple[int | None, ...] | None
    most_frequencies_khz: tuple[int | None, ...] | None
    temperature_c: float | None
    throttled: Throttled | None
    free_disk_bytes: int | None
    runtimes: tuple[RuntimeVersion, ...]
    coral: EdgeTpuState


@dataclass(frozen=True)
class FactsRequest(Request[MachineFacts]):
    """Read the machine's facts."""

    job = "facts"
    answer = MachineFacts


@dataclass(frozen=True)
class HelloResult:
    """Versions of the protocol, of Python and of what is installed."""

    protocol: int
    python: str | None = None
    numpy: str | None = None
    runtimes: tuple[RuntimeVersion, ...] = ()


@dataclass(frozen=True)
class HelloRequest(Request[HelloResult]):
    """Ask for the versions."""

    job = "hello"
    answer = HelloResult


@dataclass(frozen=True)
class ClockResult:
    """The machine's monotonic clock."""

    monotonic_s: float


@dataclass(frozen=True)
class ClockRequest(Request[ClockResult]):
    """Read the clock; the host brackets the answer by its own clock."""

    job = "clock"
    answer = ClockResult


@dataclass(frozen=True)
class EdgeTpuHeat:
    """Temperature and first trip point of an Edge TPU on PCIe, from which on its clock is lowered."""

    temperature_c: float | None
    trip_c: float | None


@dataclass(frozen=True)
class SinceSample:
    """What happened since the sample before.

    The shares are of all processors together, 0 to 1; the kernel counts in ticks of 10 ms, so that short windows are
    coarse. Stolen time counts as other. `busiest_process` is the other process that used the most processor time.
    """

    wall_s: float
    own_cpu_s: float
    other_cpu_share: float | None
    steal_share: float | None
    involuntary_switches: int
    minor_faults: int
    major_faults: int
    busiest_process: str | None = None
    busiest_process_share: float | None = None


@dataclass(frozen=True)
class MachineSample:
    """Clock, heat, load and other processes at one moment; `since` is None in the first sample of a job."""

    time_s: float
    governor: str | None = None
    frequencies_khz: tuple[int | None, ...] | None = None
    firmware_clock_khz: float | None = None
    temperature_c: float | None = None
    temperatures_c: Mapping[str, float] | None = None
    edge_tpus: tuple[EdgeTpuHeat, ...] | None = None
    throttled: Throttled | None = None
    load_1min: float | None = None
    clock_source: str | None = None
    since: SinceSample | None = None


@dataclass(frozen=True)
class ConditionsRequest(Request[MachineSample]):
    """Sample the conditions once."""

    job = "conditions"
    answer = MachineSample
