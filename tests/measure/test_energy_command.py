"""`edge profile --energy` from end to end: the real command, agent, port and protocol; only the watts are made up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pty_meter import FAST, IDLE_W, PERIOD_S, WRAP_S, PtyMeter

from converters.decode import decode
from devices.local import LocalDevice
from devices.meters.recording import load_recording
from edge.agent.messages import EnergyResult
from edge.errors import InputError
from edge.measure.energy.align_clock import RoundTrip
from edge.measure.energy.analyse import EnergyRun, energy_of
from edge.measure.energy.energy_run import Pace, check_size
from edge.measure.energy.power import digest
from edge.measure.energy.schedule import Schedule
from edge.measure.measurement_files import load_measurements
from edge.measure.plan import EnergyPlan, Plan
from edge.measure.profiling import profile
from edge.report.terminal.measurement_lines import summary
from firmware_tools.errors import UnknownMeterError

EDGE = [sys.executable, "-c", "from edge.cli.main import main; main()"]
DEADLINE_S = 300


def command(meter, *words, **environment):
    """Run the command with a meter that watches it; return its status, output and messages."""
    process = subprocess.Popen([*EDGE, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **environment})  # fmt: skip
    meter.watch(process.pid)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def model(shared_data):
    """A model whose inference takes about half a millisecond."""
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="module")
def measured(model, tmp_path_factory):
    """What the command found, as text and as a file, and the meter."""
    path = tmp_path_factory.mktemp("energy") / "result.json"
    with PtyMeter() as meter:
        status, out, err = command(
            meter, "profile", model, "--quick", "--no-kernels", "--no-all-cores", "--energy", f"edge:{meter.path}",
            "--energy-windows", 3, "--energy-window-seconds", 1, "--energy-trace", path.with_suffix(".edgetrace"),
            "--out", path,
        )  # fmt: skip
    assert status == 0, err
    return out, load_measurements(path)[0], meter, load_recording(path.with_suffix(".edgetrace"))


@pytest.mark.slow
def test_a_measured_model_has_its_joules(measured):
    _, measurement, meter, _ = measured
    energy = measurement.energy
    check_joules(energy, meter)
    assert energy.idle.before_w == pytest.approx(IDLE_W, rel=0.1)
    assert energy.net_j.value < energy.gross_j.value
    assert energy.inferences == sum(window.runs for window in energy.windows)
    assert energy.meter.identity.startswith("edge power meter, INA226")
    assert energy.alignment.method in ("load code", "round trips")
    assert {each.method for each in energy.refused} >= {"trigger edges"}


@pytest.mark.slow
def test_what_the_meter_said_is_kept_with_the_boards_account(measured):
    _, measurement, _, kept = measured
    energy = measurement.energy
    assert digest(kept.trace) == energy.trace_sha256
    schedule = Schedule.from_result(decode(EnergyResult, kept.notes["board"], "notes"))
    trips = [tuple(RoundTrip(*trip) for trip in each) for each in kept.notes["round_trips_s"]]
    again = energy_of(EnergyRun(kept.info, kept.trace, kept.arrivals, schedule, *trips))
    assert again.gross_j == energy.gross_j


def check_joules(energy, meter):
    """Compare each window with what is known of its time, give or take what the clocks' alignment leaves open."""
    origin_s, clocks = origin_of(energy, meter), energy.alignment
    for window in energy.windows:
        known = meter.joules(origin_s + window.begin_s, origin_s + window.end_s)
        open_s = 4 * (clocks.uncertainty_s + clocks.drift_uncertainty * window.end_s)
        assert window.gross_j == pytest.approx(known, rel=0.02, abs=2 * open_s * (energy.peak_w - IDLE_W))


def origin_of(energy, meter):
    """Return this machine's time at the run's begin: the meter's clock runs FAST and wraps."""
    wraps = round((meter.now_s() * FAST - energy.alignment.offset_s) / WRAP_S)
    return (energy.alignment.offset_s + wraps * WRAP_S) / FAST


@pytest.mark.slow
def test_short_windows_make_it_invalid_with_reasons(measured):
    out, measurement, *_ = measured
    assert not measurement.validity.valid
    reasons = [reason for reason in measurement.validity.reasons if reason.startswith("energy: ")]
    assert any("the number of windows is 3, at least 5 are needed" in reason for reason in reasons)
    assert any("a window lasts 1" in reason for reason in reasons)
    assert "INVALID: do not rely on these figures" in out


@pytest.mark.slow
def test_the_text_has_joules_with_their_uncertainty(measured):
    out, measurement, *_ = measured
    assert "energy per inference: " in out
    assert " +- " in out
    assert "(k=" in out
    assert "net of idle" in out
    assert out.rstrip("\n").startswith(summary(measurement).splitlines()[0])
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.slow
def test_a_trigger_line_that_is_not_there_loses_nothing_else(model, tmp_path):
    path = tmp_path / "result.json"
    with PtyMeter() as meter:
        status, out, err = command(
            meter, "profile", model, "--quick", "--no-kernels", "--no-all-cores", "--energy", f"edge:{meter.path}",
            "--energy-trigger", "nochip9:17", "--out", path, "--json",
        )  # fmt: skip
    assert status == 9, err
    assert "error: the energy was not measured: trigger line nochip9:17: there is no /dev/nochip9" in err
    assert "hint: this device has" in err
    measurement = load_measurements(path)[0]
    assert json.loads(out) == json.loads(path.read_text())
    assert measurement.energy is None
    assert measurement.latency_ms is not None
    assert any("energy: not measured: trigger line nochip9:17: there is no /dev/nochip9" in reason
               for reason in measurement.validity.reasons)  # fmt: skip


@pytest.mark.slow
def test_the_trigger_line_aligns_the_clocks_where_it_is_wired(model, tmp_path, require_part):
    compiler = shutil.which("gcc")
    if compiler is None or not Path("/usr/include/linux/gpio.h").exists():
        require_part("gcc and linux/gpio.h", "apt-get install gcc linux-libc-dev")
    library = tmp_path / "chip.so"
    source = Path(__file__).parents[1] / "agent" / "gpio_chip.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    path, wire = tmp_path / "result.json", tmp_path / "wire"
    with PtyMeter(wire) as meter:
        status, _, err = command(
            meter, "profile", model, "--quick", "--no-kernels", "--no-all-cores", "--energy", f"edge:{meter.path}",
            "--energy-trigger", "gpiochip0:17", "--energy-windows", 2, "--energy-window-seconds", 0.5, "--out", path,
            LD_PRELOAD=str(library), GPIO_LOG=str(tmp_path / "log"), GPIO_WIRE=str(wire),
        )  # fmt: skip
    assert status == 0, err
    energy = load_measurements(path)[0].energy
    assert energy.alignment.method == "trigger edges"
    assert energy.alignment.detail.startswith("20 of 20 changes matched")
    assert energy.alignment.drift == pytest.approx(FAST - 1, abs=1e-3)
    assert energy.alignment.uncertainty_s < PERIOD_S


def test_a_meter_that_is_not_there_is_said_before_measuring(model):
    with pytest.raises(UnknownMeterError):
        profile(model, LocalDevice(), Plan(energy=EnergyPlan("edge:/dev/no-such-port")))


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--energy-windows", "3"], 2, "without a meter"),
        (["again.tflite", "--energy", "edge:/dev/x", "--energy-trace", "x"], 2, "of one model, 2 models were named"),
        (["--energy", "edge:/dev/x", "--on", "local,emulated-pi4"], 2, "a meter measures one board, 2 devices"),
        (["--energy", "nosuch"], 3, "there is no meter 'nosuch'"),
        (["--energy", "edge:/dev/x", "--energy-trigger", "17"], 3, "CHIP:LINE, such as gpiochip0:17"),
        (["--energy", "edge:/dev/x", "--on", "emulated-pi4"], 3, "does not draw the board's power"),
    ],
)
def test_wrong_words_are_refused(model, words, status, said):
    done = subprocess.run([*EDGE, "profile", model, *words], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stderr


def test_slow_meters_get_long_chips():
    plan = EnergyPlan("x")
    fast, slow, unknown = (Pace.for_rate(rate_hz, plan) for rate_hz in (1500.0, 2.5, None))
    assert (fast.chip_s, fast.guard_s, fast.idle_s) == (0.1, 0.3, 5.0)
    assert (slow.chip_s, slow.guard_s, slow.idle_s) == (1.6, pytest.approx(1.2), 8.0)
    assert unknown.chip_s == 1.0
    assert Pace.for_rate(1500.0, EnergyPlan("x", window_s=1.0)).idle_s == 1.0
    assert fast.seconds(plan) == pytest.approx(3.2 + 12 + 5 * 10.9)


def test_what_does_not_fit_into_memory_is_refused():
    plan = EnergyPlan("x", windows=50)
    with pytest.raises(InputError, match="held in memory"):
        check_size(1e5, Pace.for_rate(1e5, plan), plan)
    check_size(1e5, Pace.for_rate(1e5, EnergyPlan("x")), EnergyPlan("x"))


@pytest.mark.parametrize("wrong", [{"windows": 0}, {"window_s": float("inf")}, {"min_runs": 0}, {"trigger": "x"}])
def test_plans_that_cannot_be_measured_are_refused(wrong):
    with pytest.raises(InputError):
        EnergyPlan("x", **wrong)


def test_steps_count_the_energy_run():
    assert Plan(energy=EnergyPlan("x", windows=4)).steps == Plan().steps + 6
