"""Meters that `edge meter list` detects: by USB ids, and on folders like the kernel's."""

from __future__ import annotations

import os

import pytest
from serial.tools.list_ports_common import ListPortInfo

from devices.meters.detect import candidates, on_hidraw, on_hwmon, on_powercap, on_serial_ports
from devices.meters.kinds import KINDS
from devices.meters.lookup import meters_path


def port(device, vid=None, pid=None, description="n/a"):
    info = ListPortInfo(device)
    info.vid, info.pid, info.description = vid, pid, description
    return info


@pytest.mark.parametrize(
    ("found", "name", "sure"),
    [
        (port("/dev/ttyACM0", 0x1915, 0xC00A, "PPK2"), "ppk2:/dev/ttyACM0", True),
        (port("/dev/ttyACM1", 0x2341, 0x0043, "Uno"), "edge:/dev/ttyACM1", False),
        (port("/dev/ttyUSB0", 0x1A86, 0x7523, "USB Serial"), "edge:/dev/ttyUSB0", False),
        (port("/dev/ttyUSB1", 0x0403, 0x6001, "FT232"), "edge:/dev/ttyUSB1", False),
        (port("/dev/rfcomm0"), "um25c:/dev/rfcomm0", False),
        (port("/dev/ttyS0"), "csv:/dev/ttyS0", False),
    ],
)
def test_ports_are_identified_by_their_usb_ids(found, name, sure):
    (candidate,) = on_serial_ports([found])
    assert (candidate.name, candidate.sure) == (name, sure)
    assert candidate.kind in KINDS
    assert "n/a" not in candidate.about


def test_testers_of_fnirsi_by_their_hid_ids(tmp_path):
    for folder, ids in (("hidraw0", "0003:00002E3C:00005558"), ("hidraw1", "0003:0000046D:0000C077"), ("hidraw2", "x")):
        (tmp_path / folder / "device").mkdir(parents=True)
        (tmp_path / folder / "device/uevent").write_text(f"DRIVER=hid-generic\nHID_ID={ids}\n")
    (candidate,) = on_hidraw(tmp_path, tmp_path / "dev")
    assert candidate.about == "FNIRSI FNB58"
    assert candidate.name == f"fnirsi:{tmp_path}/dev/hidraw0"
    assert candidate.problem


def test_sensors_and_counters(tmp_path):
    for folder, files in {
        "hwmon1": {"name": "ina226", "power1_input": "1"},
        "hwmon2": {"name": "nvme", "temp1_input": "1"},
        "intel-rapl:0": {"name": "package-0", "energy_uj": "1"},
        "intel-rapl:0:0": {"name": "core", "energy_uj": "1"},
        "intel-rapl:1:0": {"name": "core", "energy_uj": "1"},
    }.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    assert [each.name for each in on_hwmon(tmp_path)] == ["hwmon:hwmon1"]
    assert [each.name for each in on_powercap(tmp_path)] == [
        "rapl:package-0", "rapl:intel-rapl:0:0", "rapl:intel-rapl:1:0",
    ]  # fmt: skip
    if os.getuid():
        (tmp_path / "intel-rapl:0/energy_uj").chmod(0)
        assert "sudo chmod a+r" in next(on_powercap(tmp_path)).hint


def test_named_meters_come_first():
    meters_path().write_text('[meters.bench]\nkind = "edge"\naddress = "/dev/ttyUSB7"\n')
    assert candidates()[0].name == "bench"
    assert candidates()[0].about == "/dev/ttyUSB7 (meters.toml)"
