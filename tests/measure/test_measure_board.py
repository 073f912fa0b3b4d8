"""What a board adds to a measurement: cooling, the firmware's word, chosen processors, minutes of load.

The agents are real; where the kernel's files and the firmware would answer, a folder and a small program stand, whose
contents the tests change meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import vl_convert

from devices.local import LocalDevice
from devices.messages.machine_jobs import ConditionsRequest, MachineSample, RuntimeVersion
from devices.registry import find_device
from edge.agent.client import AgentClient
from edge.agent.condition_sampler import BusiestProcess, find_busiest, ticks_by_process
from edge.agent.messages import SustainPoint, SustainResult
from edge.errors import InputError
from edge.measure.conditions import ConditionsSample
from edge.measure.endurance import BELOW, DEADLINE, STABLE, Cooling, cool_down, sum_up_sustained
from edge.measure.findings import Sustained, SustainedPoint
from edge.measure.measurement_files import load_measurements, measurement_from_json
from edge.measure.plan import BOARD_WAIT_S, Plan
from edge.measure.profiling import profile
from edge.report.charts.line_chart import line_colors
from edge.report.charts.vega import FAMILY_COLORS
from edge.report.material import Material
from edge.report.terminal.measurement_lines import describe_sustained, summary
from edge.report.write import compose, render
from edge.runtime.errors import RuntimeFault

# Enough windows after the third that whatever is changed then falls into one, also on a busy machine.
MANY = 20
TINY = Plan(warmup_s=0.01, window_s=0.02, min_runs=3, kernels=False, all_cores=False)


class FakeBoard:
    """The files of a Raspberry Pi's kernel, and a `vcgencmd` that answers from files."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.programs = folder / "sys", folder / "bin"
        self.zone = self.sys / "class/thermal/thermal_zone0"
        self.cpu = self.sys / "devices/system/cpu/cpu0/cpufreq"
        for each in (self.zone, self.cpu, self.programs):
            each.mkdir(parents=True)
        (self.zone / "type").write_text("cpu-thermal\n")
        self.set(temperature_c=42.0, clock_khz=1_800_000, governor="performance", word=0, firmware_hz=1_800_404_352)
        program = self.programs / "vcgencmd"
        program.write_text(
            f'#!/bin/sh\ncase "$1" in get_throttled) echo "throttled=$(cat {folder}/word)";; '
            f'measure_clock) echo "frequency(48)=$(cat {folder}/clock)";; esac\n'
        )
        program.chmod(0o755)

    def set(self, *, temperature_c=None, clock_khz=None, governor=None, word=None, firmware_hz=None):
        folder = self.sys.parent
        for path, value in (
            (self.zone / "temp", None if temperature_c is None else f"{temperature_c * 1000:.0f}"),
            (self.cpu / "scaling_cur_freq", clock_khz),
            (self.cpu / "scaling_governor", governor),
            (folder / "word", None if word is None else hex(word)),
            (folder / "clock", firmware_hz),
        ):
            if value is not None:
                draft = path.with_name(f".{path.name}")
                draft.write_text(f"{value}\n")
                draft.replace(path)


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board whose agents are this machine's."""
    made = FakeBoard(tmp_path / "board")
    monkeypatch.setenv("EDGE_SYSFS", str(made.sys))
    monkeypatch.setenv("PATH", f"{made.programs}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture(scope="module")
def model(shared_data) -> Path:
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


def conditions() -> ConditionsSample:
    """What an agent states now."""
    with AgentClient.on(LocalDevice()) as agent:
        return ConditionsSample.of(agent.call(ConditionsRequest(), deadline_s=30))


def after_windows(count, act):
    """Return an `on_step` that acts once when so many windows are over."""
    seen = []

    def on_step(note):
        seen.append(note)
        if len(seen) == count:
            act()

    return on_step


def test_the_agent_reads_the_board(board):
    board.set(temperature_c=61.5, clock_khz=1_500_000, word=0x50005, firmware_hz=600_117_184)
    seen = conditions()
    assert (seen.temperature_c, seen.governor, seen.fastest_khz) == (61.5, "performance", 1_500_000)
    assert seen.throttled_now == seen.throttled_since_boot == ("under-voltage", "throttled")
    assert seen.firmware_khz == 600_117.184
    assert seen.clock_khz == seen.firmware_khz  # the firmware throttles behind the kernel's back


def test_a_machine_without_firmware_has_no_word_of_it(board):
    (board.programs / "vcgencmd").unlink()
    seen = conditions()
    assert (seen.firmware_khz, seen.throttled_now, seen.clock_khz) == (None, None, 1_800_000)


FAST = Cooling(limit_c=50.0, longest_s=5.0, stable_c=1.0, stable_s=0.05, interval_s=0.005)


def temperatures(*values):
    """Return a reader of these temperatures, the last one for ever."""
    left = list(values)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_cool_board_is_not_waited_for():
    found = cool_down(temperatures(41.0), FAST)
    assert (found.ended_by, found.begin_c, found.end_c) == (BELOW, 41.0, 41.0)
    assert found.waited_s < 1


def test_a_warm_board_is_waited_for_until_it_is_below_the_limit():
    told = []
    found = cool_down(temperatures(70.0, 60.0, 49.9), replace(FAST, stable_s=4.0), on_wait=told.append)
    assert (found.ended_by, found.begin_c, found.end_c, told) == (BELOW, 70.0, 49.9, [70.0, 60.0])


def test_a_board_that_cools_no_further_is_cool_enough():
    found = cool_down(temperatures(70.0, 58.0, 57.5), FAST)
    assert (found.ended_by, found.end_c) == (STABLE, 57.5)
    assert found.waited_s >= FAST.stable_s


def test_the_longest_wait_ends_it():
    degrees = iter(range(9000, 60, -1))
    found = cool_down(lambda: float(next(degrees)), replace(FAST, longest_s=0.05))
    assert found.ended_by == DEADLINE


def test_without_a_temperature_there_is_no_wait_and_a_lost_one_counts_as_unchanged():
    assert cool_down(lambda: None, FAST) is None
    assert cool_down(temperatures(70.0, None), FAST).ended_by == STABLE


def test_boards_are_waited_for_by_default_and_this_machine_is_not():
    assert Plan().longest_wait_s(cools=True) == BOARD_WAIT_S
    assert Plan().longest_wait_s(cools=False) == replace(Plan(), quick=True).longest_wait_s(cools=True) == 0
    assert Plan(cool_wait_s=7.0).longest_wait_s(cools=False) == 7.0


def test_a_measurement_waits_for_a_real_agent_to_read_a_cool_board(board, model):
    board.set(temperature_c=71.0)
    told, cooled = [], threading.Event()

    def on_wait(note):
        told.append(note)
        board.set(temperature_c=48.0)
        cooled.set()

    measured = profile(model, LocalDevice(), replace(TINY, cool_wait_s=0.4), on_wait=on_wait)
    assert cooled.is_set()
    assert told == ["cooling, 71 C"]
    waited = measured.cool_down
    assert (waited.begin_c, waited.end_c, waited.limit_c, waited.ended_by) == (71.0, 48.0, 50.0, BELOW)
    assert measured.conditions.before["temperature_c"] == 48.0
    assert "71.0 to 48.0 C, ended by: below the limit" in summary(measured)


def test_under_voltage_during_the_windows_is_invalid(board, model):
    act = after_windows(3, lambda: board.set(word=0x50000))  # over again already: only "since boot" tells of it
    measured = profile(model, LocalDevice(), replace(TINY, windows=MANY), on_step=act)
    assert any("firmware reported throttled, under-voltage" in each for each in measured.validity.reasons)


def test_bits_from_before_the_run_are_no_reason_but_a_note(board, model):
    board.set(word=0x10000)
    measured = profile(model, LocalDevice(), TINY)
    assert not any("firmware" in each for each in measured.validity.reasons)
    assert any("since boot, the firmware had reported under-voltage" in each for each in measured.notes)


def test_a_clock_that_the_firmware_lowers_is_invalid_though_the_kernel_does_not_know(board, model):
    act = after_windows(3, lambda: board.set(firmware_hz=600_117_184))
    measured = profile(model, LocalDevice(), replace(TINY, windows=MANY), on_step=act)
    assert any("clock changed between 600 and 1800 MHz" in each for each in measured.validity.reasons)


def test_heat_and_a_governor_that_changes_are_invalid(board, model):
    act = after_windows(3, lambda: board.set(temperature_c=84.0, governor="powersave"))
    measured = profile(model, LocalDevice(), replace(TINY, windows=MANY), on_step=act)
    reasons = " ".join(measured.validity.reasons)
    assert "governor changed from performance to powersave" in reasons
    assert measured.conditions.after["temperature_c"] == 84.0


@pytest.fixture(scope="module")
def loaded(model, tmp_path_factory):
    """A measurement with sustained load, on a board that is throttled when half of it is over."""
    made = FakeBoard(tmp_path_factory.mktemp("loaded") / "board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_SYSFS", str(made.sys))
        patch.setenv("PATH", f"{made.programs}{os.pathsep}{os.environ['PATH']}")

        def on_step(note):
            if note.startswith("sustained"):
                made.set(temperature_c=82.5, word=0x40004, firmware_hz=1_000_000_000)

        plan = replace(TINY, sustain_s=1.9, cpus=(min(os.sched_getaffinity(0)),))
        return profile(model, LocalDevice(), plan, on_step=on_step)


def test_sustained_load_is_a_series_over_time(loaded):
    found = loaded.sustained
    assert (found.threads, len(found.points)) == (1, 2)
    assert found.points[0].time_s >= 1.0
    assert found.duration_s == found.points[-1].time_s > found.points[0].time_s
    assert all(point.median_ms > 0 and point.runs >= 3 for point in found.points)
    assert [point.temperature_c for point in found.points] == [42.0, 82.5]
    assert [point.throttled for point in found.points] == [(), ("throttled",)]
    assert [round(point.clock_mhz) for point in found.points] == [1800, 1000]
    assert found.first_throttle_s() == found.duration_s


def test_what_happens_under_load_afterwards_does_not_invalidate_the_latency(loaded):
    assert not any("firmware" in each or "clock" in each for each in loaded.validity.reasons)
    assert loaded.conditions.after["temperature_c"] == 82.5


def test_the_text_and_the_file_hold_the_series(loaded):
    text = summary(loaded)
    assert "sustained load: 2 s, median" in text
    assert "42.0 to 82.5 C" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert measurement_from_json(json.loads(json.dumps(loaded.to_json()))) == loaded


def test_the_report_draws_latency_temperature_and_clock(loaded):
    document = compose(Material((loaded,), ()))
    section = next(each for each in document.sections if each.key == "sustained-section")
    assert [chart.key for chart in section.charts] == [
        "sustained-latency", "sustained-temperature", "sustained-clock",
    ]  # fmt: skip
    assert all(len(chart.table.rows) == 2 for chart in section.charts)
    assert "the firmware reported throttled" in section.paragraphs[0]
    for chart in section.charts:
        assert "mark-line" in vl_convert.vegalite_to_svg({**chart.spec, "width": 400})
    assert "## Sustained load" in render(document, Material((loaded,), ()), form="md")


def test_no_sustained_load_no_section(loaded):
    document = compose(Material((replace(loaded, sustained=None),), ()))
    assert "sustained-section" not in [each.key for each in document.sections]


def test_series_of_a_silent_machine():
    dark, runtime = MachineSample(0.0), RuntimeVersion("ai-edge-litert", None)
    points = tuple(SustainPoint(float(n), 1e6 * (1 + n), 9, dark) for n in range(1, 31))
    found = sum_up_sustained(SustainResult(runtime, dark, points), 4)
    assert (found.threads, found.first_ms, found.last_ms) == (4, 3.0, 30.0)
    assert found.change == 9.0
    assert (found.points[0].temperature_c, found.points[0].throttled, found.first_throttle_s()) == (None, None, None)
    assert "temperature unknown; clock unknown" in describe_sustained(found)
    assert sum_up_sustained(SustainResult(runtime, dark, ()), 1) is None


def test_more_lines_than_colours():
    assert line_colors(8)[: len(FAMILY_COLORS)] == list(FAMILY_COLORS)
    assert len(set(line_colors(8))) == len(FAMILY_COLORS) + 1


def test_chosen_processors_are_used_told_and_leave_out_all_cores(loaded, model):
    chosen = min(os.sched_getaffinity(0))
    wide = profile(model, LocalDevice(), replace(TINY, all_cores=True, cpus=(chosen,)))
    assert wide.latency_all_cores_ms is None
    assert loaded.plan.cpus == (chosen,)
    assert f"ran on processor {chosen} only" in loaded.notes
    plan = replace(TINY, all_cores=True, cpus=(chosen,))
    assert plan.steps == TINY.windows + 1


def test_a_processor_that_is_not_there(model):
    with pytest.raises(RuntimeFault, match="asked for processors"):
        profile(model, LocalDevice(), replace(TINY, cpus=(4096,)))
    for wrong in ((), (-1,)):
        with pytest.raises(InputError, match="cpus"):
            Plan(cpus=wrong)


def test_a_damaged_wait_or_load_is_refused():
    for wrong in ({"cool_wait_s": -1.0}, {"sustain_s": -1.0}):
        with pytest.raises(InputError):
            Plan(**wrong)


def test_the_busiest_process_is_named():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)  # (odd) name"])
    try:
        found = ticks_by_process()
        assert os.getpid() not in found
        name, ticks = found[child.pid]
        assert name.startswith("python")
        more = {**found, child.pid: (name, ticks + 7 * os.sysconf("SC_CLK_TCK"))}
        assert find_busiest(found, more) == BusiestProcess(child.pid, name, 7.0)
        assert str(find_busiest(found, more)) == f"{name} (pid {child.pid})"
        assert find_busiest(found, found) is None
    finally:
        child.kill()
        child.wait()


def test_files_from_before_these_fields_can_be_read(sample_path, tmp_path):
    value = json.loads(sample_path.read_text())
    del value["cool_down"], value["sustained"], value["plan"]["cpus"]
    older = tmp_path / "older.json"
    older.write_text(json.dumps(value))
    assert load_measurements(older) == load_measurements(sample_path)


def test_a_point_with_a_wrong_field_is_named(loaded, tmp_path):
    value = loaded.to_json()
    value["sustained"]["points"][1]["median_ms"] = -1
    with pytest.raises(InputError, match=r"sustained: points\[1\]: median_ms"):
        measurement_from_json(value)


def edge(*arguments):
    """Run `edge profile` as a process."""
    argv = [sys.executable, "-m", "edge", "profile", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_takes_the_options(board, model):
    cpu = str(min(os.sched_getaffinity(0)))
    done = edge(
        str(model), "--quick", "--no-kernels", "--cpus", cpu, "--cool-below", "40", "--cool-wait", "0.1", "--sustain",
        "0.01", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["plan"]["cpus"] == [int(cpu)]
    assert told["cool_down"]["ended_by"] in (STABLE, DEADLINE)
    assert len(told["sustained"]["points"]) == 1


def test_a_list_of_processors_that_is_none(model):
    done = edge(str(model), "--cpus", "2,x")
    assert done.returncode == 2
    assert "expected numbers of processors, such as 2,3, got '2,x'" in done.stderr


def test_the_series_holds_points_of_the_right_kind():
    point = SustainedPoint(1.0, 2.0, 3, 40.0, 600.0, ("throttled",))
    assert Sustained(1, 1.0, 2.0, 2.0, 0.0, (point,)).first_throttle_s() == 1.0


def test_an_emulated_board_has_no_heat_to_watch(model):
    with pytest.raises(InputError, match="emulated-pi4 is emulated: it has no heat"):
        profile(model, find_device("emulated-pi4"), replace(TINY, sustain_s=1.0))
