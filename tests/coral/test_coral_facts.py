"""What a system says of Edge TPUs, in trees like Linux' /sys, and what is made of it; on this machine, nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converters.decode import decode
from devices.accelerator_problems import driver_fix, find_problems
from devices.accelerators import Coral, describe_accelerators
from devices.local import LocalDevice
from devices.messages.machine_jobs import EdgeTpuState
from edge.doctor.host import check_edge_tpus
from edge.runtime.coral_state import coral_state

STATUS = """Package: bash
Status: install ok installed
Version: 5.2

Package: {name}
Status: install ok installed
Maintainer: somebody
Version: {version}
Description: support library
 more of it: here

Package: libedgetpu1-max
Status: deinstall ok config-files
Version: 15.0
"""


def write(folder: Path, **files: str) -> Path:
    """Make a folder of one-line files, as the kernel does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    return folder


def stick(root: Path, place: str = "2-1", *, ready: bool = True, speed: str = "5000", number: str = "7") -> Path:
    """Attach a stick; its node belongs to nobody else."""
    vendor, product = ("18d1", "9302") if ready else ("1a6e", "089a")
    ids = {"idVendor": vendor, "idProduct": product}
    write(root / "sys/bus/usb/devices" / place, **ids, busnum="2", devnum=number, speed=speed)
    write(root / "dev/bus/usb/002", **{f"{int(number):03d}": ""})
    return root / f"dev/bus/usb/002/{int(number):03d}"


def chip(root: Path, *, node: bool = True, temp: str = "45300", **modules) -> Path:
    """Put a chip on PCIe, with or without its driver's files."""
    device = write(root / "sys/bus/pci/devices/0000:01:00.0", vendor="0x1ac1", device="0x089a")
    if node:
        points = {f"trip_point{i}_temp": str(85000 + 5000 * i) for i in range(3)}
        write(device / "apex/apex_0", temp=temp, **points)
        write(root / "dev", apex_0="")
        write(root / "sys/bus/pci/drivers/apex")
        (device / "driver").symlink_to(root / "sys/bus/pci/drivers/apex")
    return device


def installed(root: Path, name: str, version: str = "1.0-18") -> None:
    """Record a Debian package."""
    write(root / "var/lib/dpkg/info", **{f"{name}.list": ""})
    (root / "var/lib/dpkg/status").write_text(STATUS.format(name=name, version=version))


def library(root: Path) -> None:
    write(root / "usr/lib/aarch64-linux-gnu", **{"libedgetpu.so.1.0": ""})


def seen(root: Path, *, kernel: str = "6.6.51+rpt-rpi-v8") -> Coral:
    return parse(coral_state(root, kernel=kernel))


def parse(state) -> Coral:
    return Coral.of(decode(EdgeTpuState, {**state, "advice": "the advice"}, "state"))


def said(root: Path, *, kernel: str = "6.6.51+rpt-rpi-v8", page: int = 4096) -> list[tuple[str, str]]:
    return [
        (each.what, each.fix) for each in find_problems(seen(root, kernel=kernel), kernel=kernel, page_size_bytes=page)
    ]


def test_this_machine_has_none_and_nothing_is_invented():
    coral = seen(Path("/"), kernel=None)
    if coral.is_attached:
        pytest.skip("an Edge TPU is attached")
    assert find_problems(coral, kernel="6.12", page_size_bytes=16384) == ()
    assert [each.state for each in check_edge_tpus()][:1] == ["missing"]


def test_an_empty_tree_has_nothing(tmp_path):
    coral = seen(tmp_path)
    assert (coral.is_attached, coral.packages, coral.library, coral.clock_mhz) == (False, {}, None, None)
    assert describe_accelerators(coral) == []
    assert said(tmp_path) == []


@pytest.mark.parametrize(("ready", "words"), [(True, "ready"), (False, "firmware not loaded yet")])
def test_a_stick_before_and_after_its_firmware(tmp_path, ready, words):
    stick(tmp_path, ready=ready)
    coral = seen(tmp_path)
    assert coral.sticks[0].has_firmware is ready
    assert words in describe_accelerators(coral)[0]
    assert "USB sticks report no temperature" in describe_accelerators(coral)[0]


def test_other_devices_are_no_edge_tpus(tmp_path):
    write(tmp_path / "sys/bus/usb/devices/1-4", idVendor="18d1", idProduct="4ee7", busnum="1", devnum="4", speed="480")
    write(tmp_path / "sys/bus/pci/devices/0000:02:00.0", vendor="0x1ac1", device="0x0001")
    assert not seen(tmp_path).is_attached


def test_several_sticks_have_numbers(tmp_path):
    stick(tmp_path, "1-1", speed="480", number="3")
    stick(tmp_path, "2-1")
    first, second = describe_accelerators(seen(tmp_path))
    assert first.startswith("usb:0 at 1-1")
    assert "480 Mbit/s (USB 2)" in first
    assert second.startswith("usb:1 at 2-1")


@pytest.mark.parametrize(("name", "mhz"), [("libedgetpu1-std", 250), ("libedgetpu1-max", 500)])
def test_the_package_sets_the_clock(tmp_path, name, mhz):
    stick(tmp_path)
    library(tmp_path)
    installed(tmp_path, name, "16.0tf2.17.1-1")
    coral = seen(tmp_path)
    assert (coral.packages, coral.clock_mhz) == ({name: "16.0tf2.17.1-1"}, mhz)
    assert coral.library == "/usr/lib/aarch64-linux-gnu/libedgetpu.so.1.0"
    assert describe_accelerators(coral)[-1] == f"{name} 16.0tf2.17.1-1 (clock {mhz} MHz)"
    last = check_edge_tpus(tmp_path)[-1]
    assert (last.name, last.state) == (name, "ok")
    assert f"{mhz} MHz" in last.why


def test_a_removed_package_is_not_installed(tmp_path):
    installed(tmp_path, "gasket-dkms")
    assert seen(tmp_path).packages == {"gasket-dkms": "1.0-18"}


def test_a_stick_without_the_library_gets_the_advice(tmp_path):
    stick(tmp_path)
    assert said(tmp_path) == [("libedgetpu.so.1 is not installed", "the advice")]
    library(tmp_path)
    assert said(tmp_path) == []


@pytest.mark.parametrize(
    ("version", "runtime", "words"),
    [
        ("16.0", "2.14.0", "Google's own build, crashes with tflite-runtime 2.14"),
        ("16.0", "2.5.0.post1", None),
        ("16.0tf2.17.1-1", "2.17.1", None),
        ("16.0tf2.17.1-1", "2.14.0", "is built for TensorFlow 2.17, tflite-runtime is 2.14"),
        ("16.0tf2.17.1-1", None, None),
    ],
)
def test_the_library_and_the_runtime_are_built_together(tmp_path, version, runtime, words):
    stick(tmp_path)
    library(tmp_path)
    installed(tmp_path, "libedgetpu1-std", version)
    runtimes = {"tflite-runtime": runtime, "ai-edge-litert": "2.3.0"}
    found = find_problems(seen(tmp_path), kernel="6.1", page_size_bytes=4096, runtimes=runtimes)
    assert [words in each.what for each in found] == ([True] if words else [])


def test_a_chip_in_order(tmp_path):
    chip(tmp_path)
    library(tmp_path)
    (found,) = seen(tmp_path).chips
    assert (found.node, found.driver, found.temperature_c) == ("/dev/apex_0", "apex", 45.3)
    assert found.trip_points_c == (85.0, 90.0, 95.0)
    assert said(tmp_path) == []
    assert describe_accelerators(seen(tmp_path))[0] == "pci:0 at 0000:01:00.0, /dev/apex_0, 45.3 °C"


def test_a_hot_chip_and_one_that_hangs(tmp_path):
    chip(tmp_path, temp="86100")
    library(tmp_path)
    assert "86.1 °C; at 85 °C its clock falls" in said(tmp_path)[0][0]
    write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/apex/apex_0", temp="-87900")
    assert seen(tmp_path).chips[0].temperature_c is None


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("6.1.21-v8+", "install gasket-dkms and the headers"),
        ("6.6.51+rpt-rpi-v8", "class_create"),
        ("6.8.5", "eventfd_signal"),
        ("6.12.12-amd64", "no_llseek"),
        ("6.18.1", "newest source of google/gasket-driver"),
        ("strange", "install gasket-dkms"),
        (None, "install gasket-dkms"),
    ],
)
def test_the_cure_of_a_missing_driver_depends_on_the_kernel(kernel, words):
    assert words in driver_fix(kernel)


def test_a_driver_that_was_never_installed(tmp_path):
    chip(tmp_path, node=False)
    library(tmp_path)
    ((what, cure),) = said(tmp_path, kernel="6.1.0")
    assert what == "there is no driver for the chip at 0000:01:00.0: it is not installed"
    assert "install gasket-dkms" in cure


def test_a_driver_whose_build_failed(tmp_path):
    chip(tmp_path, node=False)
    library(tmp_path)
    installed(tmp_path, "gasket-dkms")
    log = write(tmp_path / "var/lib/dkms/gasket/1.0/build")
    error = "gasket_core.c:1376:19: error: 'no_llseek' undeclared here"
    (log / "make.log").write_text(f"CC [M] gasket_core.o\n{error}\nmake: Error 2")
    ((what, cure),) = said(tmp_path, kernel="6.12.12")
    assert "gasket-dkms 1.0-18 has no module for kernel 6.12.12: gasket_core.c:1376:19: error: 'no_llseek'" in what
    assert "do not build on this kernel (no_llseek was removed)" in cure


def test_a_driver_that_is_built_but_not_loaded_and_one_that_is_loaded_in_vain(tmp_path):
    chip(tmp_path, node=False)
    library(tmp_path)
    write(tmp_path / "lib/modules/6.6.51/updates/dkms", **{"gasket.ko.xz": "", "apex.ko.xz": ""})
    assert said(tmp_path, kernel="6.6.51")[0][1] == "sudo modprobe apex, or reboot"
    assert "has no module" not in said(tmp_path, kernel="6.6.51")[0][0]
    assert "is not installed" in said(tmp_path, kernel="6.6.52")[0][0]  # built for another kernel
    write(tmp_path / "sys/module/apex")
    ((what, cure),) = said(tmp_path, kernel="6.6.51")
    assert "though the module apex is loaded" in what
    assert "dmesg" in cure


def test_pages_of_16_kib(tmp_path):
    chip(tmp_path)
    library(tmp_path)
    ((what, cure),) = said(tmp_path, page=16384)
    assert "pages of 16 KiB" in what
    assert "kernel=kernel8.img" in cure


@pytest.mark.parametrize(
    ("mode", "group", "groups", "words"),
    [
        ("660", "plugdev", ["pi"], "sudo usermod -aG plugdev $USER, then log in again"),
        ("660", "plugdev", ["pi", "plugdev"], "(done already: log in again)"),
        ("600", "root", ["pi"], "install libedgetpu1-std, whose udev rule gives it to the group plugdev"),
        ("644", "plugdev", ["pi"], "install libedgetpu1-std"),
    ],
)
def test_who_may_open_it(tmp_path, mode, group, groups, words):
    stick(tmp_path)
    library(tmp_path)
    raw = coral_state(tmp_path, kernel="6.1")
    raw["usb"][0].update(is_open=False, mode=mode, group=group)
    (problem,) = find_problems(parse({**raw, "groups": groups}), kernel="6.1", page_size_bytes=4096)
    assert words in problem.fix
    assert "/dev/bus/usb/002/007" in problem.what


def test_a_node_that_udev_did_not_make(tmp_path):
    stick(tmp_path).unlink()
    library(tmp_path)
    assert said(tmp_path)[0] == ("/dev/bus/usb/002/007 of 2-1 does not exist", "plug it in again, or restart udev")


def test_who_may_open_it_is_asked_of_the_kernel(tmp_path):
    """As another user, in a process of its own: root may open everything."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    node = stick(tmp_path)
    node.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    code = (
        "import grp, json, os, sys; sys.path[:0] = [sys.argv[2]]\nfrom pathlib import Path\n"
        "from edge.runtime.coral_state import coral_state\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(json.dumps(coral_state(Path(sys.argv[1]))['usb'][0]))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[2])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["is_open"], found["mode"], found["group"]) == (False, "600", "root")


def test_damaged_trees_leave_values_unknown(tmp_path):
    files = {"idVendor": "18d1", "idProduct": "9302", "busnum": "x", "devnum": "", "speed": "fast"}
    device = write(tmp_path / "sys/bus/usb/devices/1-1", **files)
    (device / "busnum").write_bytes(b"\xff\xfe")
    (found,) = seen(tmp_path).sticks
    assert (found.node, found.link_mbit_s, found.is_open) == (None, None, None)
    chip(tmp_path, temp="warm")
    assert seen(tmp_path).chips[0].temperature_c is None


def test_facts_over_the_agent_and_the_command(tmp_path):
    """`edge devices info` with the kernel's files mounted elsewhere: the agent reads, the host parses."""
    chip(tmp_path, node=False)
    stick(tmp_path, ready=False, speed="480")
    env = {**os.environ, "EDGE_SYSFS": str(tmp_path / "sys")}
    argv = [sys.executable, "-m", "edge", "devices", "info", "local"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "usb:0 at 2-1, firmware not loaded yet" in text
    assert "there is no driver for the chip at 0000:01:00.0" in text
    assert "libedgetpu.so.1 is not installed" in text
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, timeout=60, check=False, env=env)
    facts = json.loads(done.stdout)
    assert facts["coral"]["sticks"][0]["link_mbit_s"] == 480
    assert "libedgetpu" in facts["coral"]["advice"]


def test_without_known_edge_tpus_there_are_no_problems():
    facts = LocalDevice().facts()
    assert facts.coral is not None
    assert replace(facts, coral=None).tpu_problems == ()
