"""Meters that are polled, on folders like the kernel's: hwmon, RAPL; a program like vcgencmd; replays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from meter_reading import read_until, samples

from devices.local import LocalDevice
from devices.meters.accuracy import assume_accuracy, chip_accuracy
from devices.meters.hwmon import HwmonMeter
from devices.meters.meter_contract import MeterInfo
from devices.meters.pmic import PmicMeter, rails
from devices.meters.rapl import RaplMeter
from devices.meters.rates import rates
from devices.meters.recorder import gather
from devices.meters.recording import Recording, load_recording, save_recording
from devices.meters.replay import ReplayMeter
from devices.meters.shunt_calibration import least_reference_a
from firmware_tools.errors import (
    EndOfReplayError,
    InstrumentError,
    LineError,
    MeterAccessError,
    RecordingError,
    ReplyError,
    SettingError,
    UnknownMeterError,
)
from firmware_tools.power_meter.chips import InaChip
from firmware_tools.trace import Trace


@pytest.fixture
def hwmon_root(tmp_path):
    """A folder as /sys/class/hwmon is, with an INA226 and a thermometer."""
    sensor(tmp_path, "hwmon0", name="cpu_thermal", temp1_input=50000)
    sensor(tmp_path, "hwmon3", name="ina226", in1_input=5100, curr1_input=500, power1_input=2550000,
           update_interval=4, shunt_resistor=10000)  # fmt: skip
    return tmp_path


def sensor(root, folder, **files):
    (root / folder).mkdir()
    for name, value in files.items():
        (root / folder / name).write_text(f"{value}\n")


def test_hwmon_values_and_what_it_is(hwmon_root):
    with HwmonMeter("bench", "hwmon3", {}, root=hwmon_root) as meter:
        info = meter.info()
        before_s = time.monotonic()
        trace = read_until(meter, samples(3))
    assert (info.kind, info.identity, info.clock) == ("hwmon", "ina226 (hwmon3)", "host")
    assert info.nominal_rate_hz == pytest.approx(250)
    assert info.settings["shunt_uohm"] == 10000
    assert not info.is_estimate
    assert set(trace.power_w) == {2.55}
    assert set(trace.supply_v) == {5.1}
    assert set(trace.current_a) == {0.5}
    assert before_s <= trace.time_s[0] <= trace.time_s[-1] <= time.monotonic()


def test_hwmon_is_also_named_by_its_chip(hwmon_root):
    with HwmonMeter("ina", "ina226", {}, root=hwmon_root) as meter:
        assert meter.info().identity == "ina226 (hwmon3)"


def test_hwmon_counts_only_what_changed(hwmon_root):
    def change(number):
        if number == 3:
            (hwmon_root / "hwmon3/power1_input").write_text("3000000\n")

    with HwmonMeter("ina", "hwmon3", {}, root=hwmon_root) as meter:
        trace = read_until(meter, lambda trace: len(trace) > 10 and trace.power_w[-1] == 3.0, change)
        found = rates(trace, meter.info())
    assert found.changed_hz == found.effective_hz == pytest.approx(1 / found.duration_s)


def test_hwmon_power_follows_from_voltage_and_current_where_the_chip_has_none(tmp_path):
    sensor(tmp_path, "hwmon1", name="ina238", in1_input=5000, curr1_input=200)
    with HwmonMeter("ina", "hwmon1", {}, root=tmp_path) as meter:
        assert set(read_until(meter, samples(1)).power_w) == {1.0}
        assert "assumed" in meter.info().accuracy_source


def test_hwmon_counts_lost_values_between_reads(hwmon_root):
    with HwmonMeter("ina", "hwmon3", {}, root=hwmon_root) as meter:
        meter.start()
        first = meter.read(1.0)
        time.sleep(0.05)  # twelve conversions pass
        second = meter.read(1.0)
    missed = np.floor(np.diff(first.time_s) / 0.004 + 0.01) - 1  # by a test that was kept from the processor
    assert first.lost == np.maximum(missed, 0).sum()
    assert second.lost >= 8


def test_hwmon_interval_is_written_and_the_chips_own_value_is_recorded(hwmon_root):
    with HwmonMeter("ina", "hwmon3", {"interval_ms": "20"}, root=hwmon_root) as meter:
        assert meter.info().settings["interval_ms"] == 20
        assert meter.info().nominal_rate_hz == pytest.approx(50)
    (hwmon_root / "hwmon3/update_interval").unlink()
    with pytest.raises(SettingError), HwmonMeter("ina", "hwmon3", {"interval_ms": 20}, root=hwmon_root):
        pass


@pytest.mark.parametrize("settings", [{"interval_ms": 0}, {"interval_ms": 1.5}, {"shunt_tolerance": 1}, {"volts": 5}])
def test_hwmon_settings_out_of_range_never_reach_the_chip(hwmon_root, settings):
    with pytest.raises(SettingError):
        HwmonMeter("ina", "hwmon3", settings, root=hwmon_root)
    assert (hwmon_root / "hwmon3/update_interval").read_text() == "4\n"


@pytest.mark.parametrize("text", ["", "soon", "1e300", "nan"])
def test_hwmon_that_answers_nonsense(hwmon_root, text):
    with HwmonMeter("ina", "hwmon3", {}, root=hwmon_root) as meter:
        meter.start()
        (hwmon_root / "hwmon3/curr1_input").write_text(text)
        with pytest.raises(ReplyError):
            meter.read(0.1)


def test_hwmon_names_what_there_is(hwmon_root):
    for address in ("hwmon0", "hwmon9", "../hwmon3"):
        with (
            pytest.raises(UnknownMeterError) as caught,
            HwmonMeter("x", address, {}, root=hwmon_root),
        ):
            pass
        assert "hwmon3 (ina226)" in caught.value.hint


def test_reading_a_meter_that_was_not_started_is_an_error(hwmon_root):
    with HwmonMeter("ina", "hwmon3", {}, root=hwmon_root) as meter, pytest.raises(InstrumentError, match="not started"):
        meter.read(0.1)
    with pytest.raises(InstrumentError, match="not open"):
        HwmonMeter("ina", "hwmon3", {}, root=hwmon_root).info()


def test_a_shunt_that_was_not_stated_is_reported_as_assumed():
    told = chip_accuracy("ina226", shunt_ohm=0.01, is_calibrated=False).accuracy_source
    assert "shunt NOT calibrated, assumed 10 mOhm" in told
    unstated = chip_accuracy("ina226", shunt_ohm=None)  # Linux' driver assumes 10 mOhm as well
    assert unstated.offset_uncertainty_w == pytest.approx(chip_accuracy("ina226", shunt_ohm=0.01).offset_uncertainty_w)
    assert "NOT calibrated" in unstated.accuracy_source
    assert "NOT" not in chip_accuracy("ina226", shunt_ohm=0.01).accuracy_source


def test_the_least_reference_keeps_the_offset_of_the_chip_small():
    assert least_reference_a(InaChip.INA226, 0.01) == pytest.approx(0.2)
    assert least_reference_a(InaChip.INA219, 0.1) == pytest.approx(0.4)


def test_an_offset_is_power_at_the_measured_supply(hwmon_root):
    (hwmon_root / "hwmon3" / "in1_input").write_text("12000\n")
    with HwmonMeter("bench", "hwmon3", {}, root=hwmon_root) as meter:
        info = meter.info()
    assert info.offset_uncertainty_w == pytest.approx(10e-6 / 0.01 * 12 / 3**0.5)
    assert "offset at 12 V" in info.accuracy_source
    assert chip_accuracy("ina226", shunt_ohm=0.01, supply_v=1e-3).gain_uncertainty < 0.01


def test_accuracy_follows_from_the_data_sheet():
    # INA226: 0.1 % and 0.1 %, shunt 1 %, 7.5 mV at 5 V, all over the square root of 3; 10 uV over 10 mohm at 5 V.
    accuracy = chip_accuracy("ina226", shunt_ohm=0.01)
    assert accuracy.gain_uncertainty == pytest.approx((2 * 0.001**2 + 0.01**2 + 0.0015**2) ** 0.5 / 3**0.5)
    assert accuracy.offset_uncertainty_w == pytest.approx(10e-6 / 0.01 * 5 / 3**0.5)
    assert "SBOS547" in accuracy.accuracy_source
    assert chip_accuracy("ina226", shunt_ohm=0.01, shunt_tolerance=0.001).gain_uncertainty < accuracy.gain_uncertainty
    assert chip_accuracy("ina260", shunt_ohm=None).offset_uncertainty_w == pytest.approx(0.005 * 5 / 3**0.5)
    assert "assumed" in assume_accuracy("um25c").accuracy_source
    assert assume_accuracy("um25c", accuracy=0.003).gain_uncertainty == pytest.approx(0.003 / 3**0.5)


@pytest.fixture
def rapl_root(tmp_path):
    """A folder as /sys/class/powercap is."""
    (tmp_path / "intel-rapl").mkdir()
    for folder, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1"),
                         ("intel-rapl:1:0", "core")):  # fmt: skip
        sensor(tmp_path, folder, name=name, energy_uj=1000, max_energy_range_uj=262143328850)
    return tmp_path


def assert_energy(meter, count, energy_j, rapl_root):
    """Start, let the counter go to `count`, and compare one sample with the energy that was counted."""
    before_s = time.monotonic()
    meter.start()
    after_s = time.monotonic()
    (rapl_root / "intel-rapl:0/energy_uj").write_text(f"{count}\n")
    trace = meter.read(5.0)
    power, middle_s = float(trace.power_w[0]), float(trace.time_s[0])
    assert 2 * power * (middle_s - after_s) <= energy_j * 1.000001
    assert 2 * power * (middle_s - before_s) >= energy_j * 0.999999
    return trace


def test_rapl_is_power_between_polls_and_an_estimate(rapl_root):
    with RaplMeter("cpu", "package-0", {"interval_ms": 20}, root=rapl_root) as meter:
        trace = assert_energy(meter, 2_001_000, 2.0, rapl_root)
        assert meter.info().is_estimate
    assert np.isnan(trace.supply_v).all()
    assert np.isnan(trace.current_a).all()


def test_rapl_is_unwrapped(rapl_root):
    (rapl_root / "intel-rapl:0/energy_uj").write_text("262143328850\n")
    with RaplMeter("cpu", "package-0", {"interval_ms": 20}, root=rapl_root) as meter:
        assert_energy(meter, 1_000_000, 1.0, rapl_root)


def test_rapl_that_goes_back_without_a_range_is_refused(rapl_root):
    (rapl_root / "intel-rapl:0/max_energy_range_uj").unlink()
    with RaplMeter("cpu", "package-0", {"interval_ms": 20}, root=rapl_root) as meter:
        meter.start()
        (rapl_root / "intel-rapl:0/energy_uj").write_text("0\n")
        with pytest.raises(ReplyError, match="went back"):
            meter.read(30.0)


def test_rapl_zones_with_the_same_name_are_identified_by_their_folder(rapl_root):
    with RaplMeter("core", "intel-rapl:1:0", {}, root=rapl_root) as meter:
        assert "core (intel-rapl:1:0)" in meter.info().identity
    with pytest.raises(UnknownMeterError, match="2 zones") as caught, RaplMeter("core", "core", {}, root=rapl_root):
        pass
    assert "core (intel-rapl:0:0)" in caught.value.hint


def test_rapl_without_counters(tmp_path):
    with pytest.raises(UnknownMeterError) as caught, RaplMeter("cpu", "package-0", {}, root=tmp_path):
        pass
    assert "has no counters" in caught.value.hint


@pytest.fixture
def open_folder():
    """A folder that every user may enter: pytest's own are shut, also again by others of this user that begin."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_rapl_counter_that_only_root_may_read_has_a_hint(rapl_root, open_folder):
    """As another user where the tests run as root: the kernel refuses the file, not we."""
    rapl_root = shutil.copytree(rapl_root, open_folder / "powercap")
    rapl_root.chmod(0o755)
    file = rapl_root / "intel-rapl:0/energy_uj"
    file.chmod(0o400 if os.getuid() == 0 else 0)
    program = textwrap.dedent(f"""
        import os, pathlib
        from firmware_tools.errors import MeterAccessError
        from devices.meters.rapl import RaplMeter
        if os.getuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            RaplMeter("cpu", "package-0", {{}}, root=pathlib.Path({str(rapl_root)!r})).__enter__()
        except MeterAccessError as error:
            print(error.exit_code, error, error.hint)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("10 ")
    assert "Permission denied" in done.stdout
    assert f"sudo chmod a+r {file}" in done.stdout


PMIC = """\
 3V7_WL_SW_A current(0)=0.10000000A
   VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.70000000V
   VDD_CORE_V volt(15)=0.75000000V
     EXT5V_V volt(24)=5.12000000V
      BATT_V volt(25)=0.00000000V
"""


@pytest.fixture
def pi5(tmp_path, monkeypatch):
    """This machine with a `vcgencmd` that answers as a Raspberry Pi 5's does."""
    return a_pi(tmp_path, monkeypatch, f"cat <<'END'\n{PMIC}END\n")


def a_pi(folder, monkeypatch, script):
    program = folder / "bin" / "vcgencmd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return LocalDevice(name="pi5")


def test_pmic_is_the_sum_of_the_rails_and_an_estimate(pi5):
    with PmicMeter("pmic:pi5", "pi5", {"interval_ms": 20}, device=pi5) as meter:
        trace = read_until(meter, samples(3))
        info = meter.info()
    assert info.is_estimate
    assert info.settings["rails"] == ["3V7_WL_SW", "VDD_CORE"]
    assert trace.power_w == pytest.approx(3.7 * 0.1 + 0.75 * 2.0)
    assert trace.supply_v == pytest.approx(5.12)
    assert np.isnan(trace.current_a).all()


def test_pmic_on_a_board_without_it(tmp_path, monkeypatch):
    board = a_pi(tmp_path, monkeypatch, "echo 'error=1 error_msg=\"Command not registered\"'\n")
    with pytest.raises(ReplyError, match="no rail") as caught, PmicMeter("p", "pi5", {}, device=board):
        pass
    assert "Raspberry Pi 5" in caught.value.hint


def test_pmic_without_vcgencmd(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnknownMeterError) as caught, PmicMeter("p", "pi5", {}, device=LocalDevice()):
        pass
    assert "Raspberry Pi 5" in caught.value.hint


def test_pmic_that_stops_in_the_middle(tmp_path, monkeypatch):
    counter = tmp_path / "left"
    counter.write_text("xxx")
    script = f"""[ -s {counter} ] || {{ echo gone >&2; exit 1; }}
        truncate -s -1 {counter}
        cat <<'END'\n{PMIC}END\n"""
    board = a_pi(tmp_path, monkeypatch, script)
    kept = []
    with (
        PmicMeter("p", "pi5", {"interval_ms": 20}, device=board) as meter,
        pytest.raises(LineError, match="gone"),
    ):
        gather(meter, lambda trace, _: kept.append(trace), seconds=60)
    assert sum(map(len, kept)) >= 1


@pytest.mark.parametrize(
    "text", ["", "VDD_CORE_A current(7)=2.0A\n", "VDD_CORE_A current(7)=2..0A\nVDD_CORE_V volt(1)=1V\n"]
)
def test_rails_that_are_none(text):
    with pytest.raises(ReplyError):
        rails(text)


def recorded(path, count=1000, step_s=1e-3, clock="host"):
    info = MeterInfo("hwmon", "ina", "ina226", {"interval_ms": 4}, 250.0, 0.01, 0.001, "sheet", clock,
                     has_trigger=False, is_estimate=False)  # fmt: skip
    ones = np.ones(count)
    trace = Trace(5 + np.arange(count) * step_s, 2.5 * ones, 5 * ones, 0.5 * ones, np.zeros(count, np.uint8), 3, 1)
    save_recording(path, Recording(info, trace, np.empty((0, 2)), "", {}))
    return trace


def test_a_replay_gives_the_same_samples_and_describes_the_recorded_meter(tmp_path):
    original = recorded(tmp_path / "a.edgetrace")
    with ReplayMeter("replay:a", str(tmp_path / "a.edgetrace"), {"piece": 300}) as meter:
        trace = read_until(meter, samples(1000))
        info = meter.info()
    assert np.array_equal(trace.time_s, original.time_s)
    assert (trace.lost, trace.damaged) == (3, 1)
    assert (info.kind, info.clock) == ("replay", "meter")
    assert info.settings["recorded_kind"] == "hwmon"
    assert info.settings["recorded_clock"] == "host"
    assert rates(trace, info).effective_hz == 0  # a hwmon reading that never changes stays one


def test_a_replay_in_its_own_time(tmp_path):
    recorded(tmp_path / "a.edgetrace", count=200)
    with ReplayMeter("replay:a", str(tmp_path / "a.edgetrace"), {"realtime": "yes"}) as meter:
        begin_s = time.monotonic()
        assert len(read_until(meter, samples(200))) == 200
        assert time.monotonic() - begin_s >= 0.199


def test_a_meter_whose_samples_are_far_apart_is_not_silent(tmp_path):
    path = tmp_path / "a.edgetrace"
    recorded(path, count=2, step_s=0.12)
    save_recording(path, replace(back := load_recording(path), info=replace(back.info, nominal_rate_hz=1.0)))
    kept = []
    with ReplayMeter("replay:a", str(path), {"realtime": "yes"}) as meter:
        gather(meter, lambda trace, _: kept.append(trace), silence_s=0.01)
    assert sum(map(len, kept)) == 2


def test_a_replay_can_be_started_again_and_ends(tmp_path):
    recorded(tmp_path / "a.edgetrace", count=10)
    with ReplayMeter("replay:a", str(tmp_path / "a.edgetrace"), {}) as meter:
        for _ in range(2):
            meter.start()
            assert len(meter.read(1.0)) == 10
            with pytest.raises(EndOfReplayError):
                meter.read(1.0)


def test_a_replay_of_csv(tmp_path):
    (tmp_path / "a.csv").write_text("time_s,power_w\n1,2\n2,4\n")
    with ReplayMeter("replay:a", str(tmp_path / "a.csv"), {}) as meter:
        assert read_until(meter, samples(2)).power_w.tolist() == [2, 4]
    (tmp_path / "a.csv").write_text("time_s,power_w\n")
    with pytest.raises(RecordingError, match="no samples"), ReplayMeter("replay:a", str(tmp_path / "a.csv"), {}):
        pass


def test_access_errors_are_of_the_devices_tree():
    assert MeterAccessError("x").exit_code == 10
    assert SettingError("x").exit_code == 3
