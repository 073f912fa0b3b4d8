"""What a scan finds: in trees like Linux' /sys, and on the network with real announcements on the loopback."""

from __future__ import annotations

import grp
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from zeroconf import ServiceInfo, Zeroconf

from devices.attached import coral_on_pci, coral_on_usb, serial_ports
from devices.discovery import boards_by_mdns, scan
from devices.findings import access_to

EDGE = str(Path(sys.executable).with_name("edge"))
SEARCH_S = 2.5


def write(folder: Path, **files: str) -> Path:
    """Make a folder of one-line files, as the kernel does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    return folder


def usb_device(root: Path, place: str, **files: str) -> Path:
    """Make a USB device and its node in /dev."""
    folder = write(root / "sys/devices/usb" / place, **files)
    (root / "sys/bus/usb/devices").mkdir(parents=True, exist_ok=True)
    (root / "sys/bus/usb/devices" / place).symlink_to(folder)
    if "busnum" in files:
        write(root / f"dev/bus/usb/{int(files['busnum']):03d}", **{f"{int(files['devnum']):03d}": ""})
    return folder


@pytest.mark.parametrize(
    ("ids", "says"), [(("1a6e", "089a"), "firmware not loaded yet"), (("18d1", "9302"), "Accelerator, ready")]
)
def test_a_coral_stick(tmp_path, ids, says):
    usb_device(tmp_path, "2-1", idVendor=ids[0], idProduct=ids[1], busnum="2", devnum="7", speed="5000")
    usb_device(tmp_path, "usb2", idVendor="1d6b", idProduct="0003")
    (found,) = coral_on_usb(tmp_path)
    assert (found.kind, found.name, found.note) == ("coral-usb", "usb:2-1", None)
    assert says in found.about
    assert found.about.endswith("--tpu usb:0")
    assert (found.access.path, found.access.allowed) == ("/dev/bus/usb/002/007", True)


def test_a_coral_stick_on_usb_2_says_so(tmp_path):
    usb_device(tmp_path, "1-1", idVendor="18d1", idProduct="9302", busnum="1", devnum="3", speed="480")
    assert "on USB 2 (480 Mbit/s)" in next(coral_on_usb(tmp_path)).note


def test_a_serial_port_is_told_by_its_usb_device(tmp_path):
    device = usb_device(tmp_path, "1-2", idVendor="2341", idProduct="0043", manufacturer="Arduino", serial="7543")
    port = write(device / "1-2:1.0")
    tty = write(tmp_path / "sys/class/tty/ttyACM0")
    (tty / "device").symlink_to(port)
    write(tmp_path / "sys/class/tty/ttyS0")
    write(tmp_path / "dev", ttyACM0="")
    (found,) = serial_ports(tmp_path)
    assert (found.name, found.about) == ("/dev/ttyACM0", "Arduino (2341:0043, serial number 7543)")
    assert found.access.allowed


def test_a_coral_chip_on_pcie(tmp_path):
    chip = write(tmp_path / "sys/bus/pci/devices/0000:01:00.0", vendor="0x1ac1", device="0x089a")
    write(tmp_path / "sys/bus/pci/devices/0000:00:00.0", vendor="0x14e4", device="0x2712")
    (found,) = coral_on_pci(tmp_path)
    assert (found.name, found.access.allowed) == ("pci:0000:01:00.0", False)
    assert "it has no driver" in found.access.problem
    assert "gasket-dkms" in found.access.hint
    write(chip / "apex/apex_0", temp="45300")
    write(tmp_path / "dev", apex_0="")
    (found,) = coral_on_pci(tmp_path)
    assert (found.name, found.note, found.access.allowed) == ("/dev/apex_0", "45.3 °C", True)
    assert found.about.endswith("--tpu pci:0")
    write(chip / "apex/apex_0", temp="-87900")
    assert next(coral_on_pci(tmp_path)).note is None


def test_a_file_that_may_not_be_opened_names_its_group(tmp_path):
    """As another user, in a process of its own: root may open everything."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    port = tmp_path / "ttyUSB0"
    port.write_text("")
    group = grp.getgrnam("dialout")
    os.chown(port, 0, group.gr_gid)
    port.chmod(0o660)
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2].split(':')\nfrom pathlib import Path\n"
        "from devices.findings import access_to\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "found = access_to(Path(sys.argv[1]), shown='/dev/ttyUSB0'); print(found.allowed, found.problem, found.hint)"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(port), str(Path(__file__).parents[2])],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "False /dev/ttyUSB0 is not open to this user (mode 660, group dialout)" in done.stdout, done.stderr
    assert "usermod -aG dialout" in done.stdout


def test_a_node_that_is_not_there(tmp_path):
    found = access_to(tmp_path / "ttyUSB0", shown="/dev/ttyUSB0")
    assert (found.allowed, found.problem) == (False, "/dev/ttyUSB0: No such file or directory")


@pytest.fixture(scope="module")
def announced():
    """A board that announces SSH and a workstation on the loopback."""
    with Zeroconf(interfaces=["127.0.0.1"]) as network:
        for kind, port in (("_ssh._tcp.local.", 2222), ("_workstation._tcp.local.", 9)):
            info = ServiceInfo(
                kind, f"edge-test-pi.{kind}", port=port, server="edge-test-pi.local.",
                addresses=[socket.inet_aton("127.0.0.1")],
            )  # fmt: skip
            network.register_service(info)
        yield
        network.unregister_all_services()


def test_a_board_on_the_network_is_one_finding(announced):
    found, problems = boards_by_mdns(SEARCH_S, "127.0.0.1")
    assert problems == ()
    (board,) = [each for each in found if each.name == "edge-test-pi.local"]
    assert board.about == "announces _ssh._tcp, _workstation._tcp"
    assert (board.addresses, board.port) == (("127.0.0.1",), 2222)


def test_the_command_shows_how_to_add_it(announced):
    argv = [EDGE, "devices", "scan", "--interface", "127.0.0.1", "--seconds", str(SEARCH_S)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "edge devices add edge-test-pi USER@edge-test-pi.local --port 2222" in done.stdout


def test_the_command_s_json():
    argv = [EDGE, "devices", "scan", "--interface", "127.0.0.1", "--seconds", "0.1", "--json"]
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert set(told) == {"found", "looked_for", "problems", "cures"}


def test_nothing_found_says_what_was_looked_for(tmp_path):
    begin = time.monotonic()
    found = scan(duration_s=0.1, interface="127.0.0.1", root=tmp_path)
    assert [each for each in found.findings if each.kind != "board"] == []  # another test's board may be announced
    assert len(found.looked_for) == 4
    assert any("1a6e:089a" in each for each in found.looked_for)
    assert time.monotonic() - begin < 30


def test_a_network_that_cannot_be_searched_is_told():
    found, problems = boards_by_mdns(0.1, "203.0.113.1")
    assert found == ()
    assert "the network was not searched" in problems[0]
