"""Facts of boards, parsed from what their agents state, and described for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converters.decode import decode
from devices.errors import UnknownDeviceError
from devices.facts import Facts
from devices.local import LocalDevice
from devices.messages.machine_jobs import MachineFacts, Throttled
from devices.registry import find_device
from edge.report.terminal.device_lines import fact_lines, notes

PI4 = {
    "board": {
        "device_tree_model": "Raspberry Pi 4 Model B Rev 1.4",
        "device_tree_compatible": "raspberrypi,4-model-b\0brcm,bcm2711",
        "dmi_vendor": None,
        "dmi_product": None,
    },
    "cpuinfo": [
        {"features": "fp asimd evtstrm crc32 cpuid", "cpu implementer": "0x41", "cpu part": "0xd08"},
        {"model": "Raspberry Pi 4 Model B Rev 1.4"},
    ],
    "machine": "aarch64",
    "cores": 4,
    "usable_cores": 3,
    "os_release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n# no more',
    "kernel": "6.6.31+rpt-rpi-v8",
    "python": {"version": "3.11.2", "implementation": "cpython", "bits": 64, "executable": "/usr/bin/python3"},
    "libc": "glibc 2.36",
    "meminfo": "MemTotal:        3886344 kB\nMemAvailable:    3379600 kB\nHugePages_Total:       0",
    "page_size": 4096,
    "governor": "ondemand",
    "frequencies_khz": [1800000, 600000, None, 600000],
    "least_frequencies_khz": [600000, 600000, None, 600000],
    "most_frequencies_khz": [1800000, 1800000, None, 1800000],
    "temperature_c": 51.121,
    "throttled": {"word": "0x50005", "now": ["under-voltage", "throttled"], "since_boot": ["under-voltage"]},
    "free_disk_bytes": 23_456_789_012,
    "runtimes": [{"name": "ai-edge-litert", "version": "2.1.6"}],
    "coral": {
        "usb": [], "pci": [], "nodes": [], "packages": {}, "library": None, "modules": [], "built_modules": [],
        "dkms_log": None, "groups": [],
    },
}  # fmt: skip


def parse(raw, name: str = "pi4") -> Facts:
    return Facts.of(name, "ssh", decode(MachineFacts, raw, "facts"))


def test_a_raspberry_pi():
    facts = parse(PI4)
    assert (facts.board, facts.soc) == ("Raspberry Pi 4 Model B Rev 1.4", "bcm2711")
    assert (facts.cpu.model, facts.cpu.features) == ("cortex-a72", ("asimd",))
    assert (facts.os.id, facts.os.version) == ("debian", "12")
    assert facts.memory_bytes == 3886344 * 1024
    assert (facts.clock.least_khz, facts.clock.most_khz) == (600000, 1800000)
    assert facts.throttled == Throttled("0x50005", ("under-voltage", "throttled"), ("under-voltage",))


def test_two_clusters_have_only_what_both_have():
    blocks = [
        {"features": "asimd asimddp fphp", "cpu implementer": "0x41", "cpu part": "0xd0b"},
        {"features": "asimd", "cpu implementer": "0x41", "cpu part": "0xd03"},
    ]
    cpu = parse({**PI4, "cpuinfo": blocks}).cpu
    assert (cpu.model, cpu.features) == ("cortex-a76 + cortex-a53", ("asimd",))


def test_an_unknown_part_is_named_by_its_numbers():
    blocks = [{"features": "asimd", "cpu implementer": "0x51", "cpu part": "0x001"}]
    assert parse({**PI4, "cpuinfo": blocks}).cpu.model == "part 0x001 of 0x51"


def test_what_is_not_stated_is_none_and_reads_unknown():
    silent = dict.fromkeys(PI4)
    silent |= {"board": dict.fromkeys(PI4["board"]), "cpuinfo": [], "runtimes": []}
    silent |= {each: PI4[each] for each in ("python", "coral")}
    facts = parse({**silent, "machine": "riscv64"}, "dark")
    assert (facts.board, facts.soc, facts.memory_bytes, facts.throttled, facts.clock.now_khz) == (None,) * 5
    text = "\n".join(fact_lines(facts))
    assert "runtimes      none" in text
    assert text.count("unknown") >= 12
    assert "None" not in text


@pytest.mark.parametrize("facts", [parse(PI4), LocalDevice().facts()], ids=["pi4", "this machine"])
def test_description_fits_in_80_columns(facts):
    text = fact_lines(replace(facts, name="a-rather-long-name-of-a-board", kind="ssh"))
    assert max(map(len, text)) <= 80
    assert text[0] == "device        a-rather-long-name-of-a-board (ssh)"


def test_description_of_a_raspberry_pi():
    text = "\n".join(fact_lines(parse(PI4)))
    assert "CPU           cortex-a72, 4 cores (3 usable), aarch64" in text
    assert "frequency     1800, 600, unknown MHz (600 to 1800)" in text
    assert "throttling    now: under-voltage, throttled; since boot: under-voltage" in text
    assert "memory        3.7 GiB, 3.2 GiB available" in text


def test_unknown_device_is_answered_with_the_nearest():
    with pytest.raises(UnknownDeviceError, match="no device 'locla'") as caught:
        find_device("locla")
    assert caught.value.hint.startswith("did you mean local? devices are: local, emulated-pi3, ")
    assert find_device("local").name == "local"


def test_notes_name_what_needs_attention():
    assert notes(parse(PI4))[0].startswith("under-voltage")
    fine = {**PI4, "throttled": {"word": "0x0", "now": [], "since_boot": []}}
    assert notes(parse(fine)) == []
    hot = {**PI4, "throttled": {"word": "0x80000", "now": [], "since_boot": ["soft temperature limit"]}}
    assert notes(parse(hot)) == ["the board has been too hot: cool it before measuring"]
    old = {**fine, "python": {**PI4["python"], "bits": 32}, "runtimes": [], "page_size": 16384}
    text = "\n".join(notes(parse(old)))
    for each in ("edge devices setup pi4", "32-bit Python on an aarch64 kernel", "kernel=kernel8.img"):
        assert each in text
