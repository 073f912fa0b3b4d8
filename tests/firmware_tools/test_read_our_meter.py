"""`edge meter` and devices.meters with our own meter: its real firmware on a simulated board (simulated_meter.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from devices.meters.lookup import find_meter
from devices.meters.recorder import Recorder, gather
from devices.meters.recording import load_recording
from firmware_tools.errors import LineError, SettingError
from firmware_tools.trace import Trace

EDGE = [str(Path(sys.executable).with_name("edge")), "meter"]
LOAD = [(0.4, 2.5), (0.4, 4.0), (60.0, 2.5)]


def edge(*arguments):
    return subprocess.run(
        [*EDGE, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_read_record_and_calibrate(simulated, tmp_path):
    out = tmp_path / "a.edgetrace"
    with simulated(LOAD, shunt_ohm=0.01, real_time=True) as board:
        name = f"edge:{board.port}"
        done = edge("record", name, "--seconds", "1.2", "--out", out)
        assert done.returncode == 0, done.stderr
        assert "shunt NOT calibrated, assumed 10 mOhm" in done.stdout
        trace = load_recording(out).trace
        begin_s, end_s = trace.time_s[0], trace.time_s[-1]
        true_j = board.true_energy_j(begin_s, end_s, on="meter")
        energy_j = np.dot(np.diff(trace.time_s), (trace.power_w[1:] + trace.power_w[:-1]) / 2)
        assert energy_j == pytest.approx(true_j, rel=0.01)
        assert (trace.lost, trace.damaged) == (0, 0)

        # What the chip shows scales with the shunt that the meter believes in.
        stored = json.loads(edge("calibrate", name, "--shunt-ohm", "0.0105", "--json").stdout)
        assert (stored["before_ohm"], stored["stored_ohm"]) == (0.01, 0.0105)
        told = json.loads(edge("read", name, "--seconds", "0.3", "--json").stdout)
        assert told["meter"]["settings"]["calibrated"]
        assert "NOT calibrated" not in told["meter"]["accuracy_source"]
        assert told["power"]["mean_w"] == pytest.approx(2.5 * 0.01 / 0.0105, rel=1e-3)

        back = json.loads(edge("calibrate", name, "--reference-amps", "0.5", "--seconds", "1", "--json").stdout)
        assert back["measured_a"] == pytest.approx(0.5 * 0.01 / 0.0105, rel=1e-3)
        assert back["stored_ohm"] == pytest.approx(0.01, rel=1e-3)

        small = edge("calibrate", name, "--reference-amps", "0.19", "--seconds", "1")
        assert small.returncode == 3
        assert "at least 0.2 A" in small.stderr
        absurd = edge("calibrate", name, "--reference-amps", "3", "--seconds", "1")
        assert absurd.returncode == 3
        assert "too much" in absurd.stderr
        told = json.loads(edge("read", name, "--seconds", "0.3", "--json").stdout)
        assert told["power"]["mean_w"] == pytest.approx(2.5, rel=1e-3)  # nothing absurd was stored


@pytest.mark.slow
def test_settings_are_what_the_chip_acknowledged(simulated):
    with simulated(LOAD, real_time=True) as board:
        with find_meter(f"edge:{board.port}", {"averaging": 1, "bus_conversion": 3}) as meter:
            settings = meter.info().settings
            nominal_hz = meter.info().nominal_rate_hz
            parts = []
            gather(meter, lambda trace, _: parts.append(trace), seconds=0.5)
        trace = Trace.concatenate(parts)
        assert (settings["averaging"], settings["bus_conversion"]) == (1, 3)
        assert nominal_hz == pytest.approx(1e6 / settings["period_us"])
        assert (len(trace) - 1) / (trace.time_s[-1] - trace.time_s[0]) == pytest.approx(nominal_hz, rel=0.02)
        with pytest.raises(SettingError):
            find_meter(f"edge:{board.port}", {"averaging": 8})


@pytest.mark.slow
def test_an_offset_counts_at_the_supply_that_is_measured(simulated, tmp_path):
    out = tmp_path / "a.edgetrace"
    with simulated(LOAD, supply_v=12.0, real_time=True) as board, find_meter(f"edge:{board.port}") as meter:
        before = meter.info()
        with Recorder(meter, path=out) as recorder:
            recorder.wait_for_samples(10)
        recording = recorder.recording()
    assert "offset at 5 V" in before.accuracy_source
    assert recording.info.offset_uncertainty_w == pytest.approx(10e-6 / 0.01 * 12 / 3**0.5, rel=1e-3)
    assert load_recording(out).info == recording.info
    assert len(load_recording(out).trace) == len(recording.trace)


@pytest.mark.slow
def test_the_board_goes_away(simulated):
    with simulated(LOAD, real_time=True) as board, find_meter(f"edge:{board.port}") as meter:
        with Recorder(meter) as recorder:
            recorder.wait_for_samples(10)
            board.__exit__(None, None, None)
            recorder._thread.join(30)
        recording = recorder.recording()
    assert isinstance(recorder.error, LineError)
    assert len(recording.trace)
    assert recording.incomplete
