"""Profiles through the stand-in: a slow first inference, shares of the later ones, and nothing claimed of a TPU."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converters.tflite.reader import read_model
from devices.accelerators import Coral
from devices.local import LocalDevice
from devices.messages.machine_jobs import ConditionsRequest, EdgeTpuState, UsbEdgeTpu
from edge.agent.client import AgentClient
from edge.measure.accelerated import (
    ALL_TAKEN,
    NOT_KNOWN,
    SUBTRACTED,
    WITHIN_NOISE,
    DelegateTimes,
    accelerator_notes,
    find_cpu_operators,
    sum_up_parts,
)
from edge.measure.conditions import ConditionsSample
from edge.measure.findings import CpuPart
from edge.measure.measurement import Measurement
from edge.measure.measurement_files import load_measurements, save_measurements
from edge.measure.plan import Plan
from edge.measure.profiling import profile
from edge.measure.validity import RULES, Broken, LatencyEvidence
from edge.report.markdown import markdown_of
from edge.report.material import Material, entries_of
from edge.report.sections.accelerator_section import accelerator_section
from edge.report.terminal.measurement_lines import summary
from edge.report.write import compose
from edge.runtime.delegates import Delegate
from edge.runtime.errors import CrashedError

TINY = Plan(warmup_s=0.0, windows=2, window_s=0.01, min_runs=3, all_cores=False, kernels=False)
# Rounds of the stand-in's busy work: the first inference does so much more that no noise hides it.
FIRST, LATER = 200_000_000, 40_000


def through(stand_in, **options):
    chosen = {"first": str(FIRST), "later": str(LATER), **options}
    return replace(TINY, kernels=True, delegates=(Delegate(stand_in, chosen),))


@pytest.fixture(scope="module")
def measured(pairs, stand_in) -> Measurement:
    path = pairs / "deeplab_mobilenet_edgetpu_slim_cityscapes_quant_edgetpu.tflite"
    return profile(path, LocalDevice(), through(stand_in))


def test_the_first_inference_stands_apart(measured):
    parts = measured.accelerated
    assert parts.first_ms == measured.first_ms
    assert parts.steady_ms == measured.latency_ms.median
    assert parts.once_ms == pytest.approx(parts.first_ms - parts.steady_ms)
    assert parts.once_ms > 0


def test_the_cpu_s_operators_are_timed_alone_and_subtracted(measured):
    parts = measured.accelerated
    assert parts.compiled_operators == 1
    assert parts.cpu.operators == ("RESIZE_BILINEAR", "ARG_MAX")
    assert parts.cpu.median_ms > 0
    if parts.delegate_ms is None:  # on a machine this busy the difference may drown
        assert parts.method == WITHIN_NOISE
    else:
        assert parts.method == SUBTRACTED
        assert parts.delegate_ms == pytest.approx(parts.steady_ms - parts.cpu.median_ms)
        assert parts.delegate_share == pytest.approx(parts.delegate_ms / parts.steady_ms)


def test_no_tpu_is_claimed(measured):
    if LocalDevice().facts().coral.is_attached:
        pytest.skip("an Edge TPU is attached")
    assert measured.accelerated.attached == ()
    assert any("the device reports no Edge TPU" in note for note in measured.notes)
    assert measured.kernels is None
    assert "does not reach external delegates" in measured.kernels_reason


def test_the_summary_says_all_this_in_80_columns(measured, stand_in):
    text = summary(measured)
    assert f"delegates: {stand_in}" in "".join(text.split("\n  ")) or stand_in in text
    assert "of it only once" in text
    assert "RESIZE_BILINEAR, ARG_MAX" in text
    lines = [line for line in text.splitlines() if stand_in not in line]
    assert max(map(len, lines)) <= 80


def test_the_json_is_read_back(measured, tmp_path):
    save_measurements(tmp_path / "out.json", [measured])
    (read,) = load_measurements(tmp_path / "out.json")
    assert read.accelerated == measured.accelerated


def test_a_whole_model_is_the_delegate_s(pairs, stand_in):
    found = profile(pairs / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", LocalDevice(), through(stand_in, first="0"))
    parts = found.accelerated
    assert (parts.cpu, parts.method, parts.delegate_share) == (None, ALL_TAKEN, 1.0)
    assert parts.delegate_ms == parts.steady_ms


def test_of_an_uncompiled_file_no_share_is_told(pairs, stand_in):
    plan = through(stand_in, claim="all", first="0")
    parts = profile(pairs / "mobilenet_v1_0.25_128_quant.tflite", LocalDevice(), plan).accelerated
    assert (parts.compiled_operators, parts.cpu, parts.delegate_ms, parts.method) == (0, None, None, NOT_KNOWN)


def test_without_delegates_there_is_no_such_part(pairs):
    found = profile(pairs / "mobilenet_v1_0.25_128_quant.tflite", LocalDevice(), TINY)
    assert found.accelerated is None
    assert not any("Edge TPU" in note for note in found.notes)


def test_a_crash_in_the_delegate_is_a_message(pairs, stand_in):
    path = pairs / "split_concat_edgetpu.tflite"
    with pytest.raises(CrashedError, match=r"died with SIGSEGV during the job 'latency', with the delegate"):
        profile(path, LocalDevice(), through(stand_in, fail="crash"))


def test_progress_counts_the_cpu_s_part(pairs, stand_in):
    told = []
    plan = through(stand_in, first="0")
    profile(pairs / "deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite", LocalDevice(), plan, on_step=told.append)
    assert len(told) == plan.steps - 1  # there is no kernel profile through delegates


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("deeplab_mobilenet_edgetpu_slim_cityscapes_quant_edgetpu", 2),
        ("deeplabv3_mnv2_dm05_pascal_quant_edgetpu", 8),
        ("split_concat_edgetpu", 0),
        ("mobilenet_v1_0.25_128_quant", 0),
    ],
)
def test_what_is_left_to_the_cpu_is_what_the_compiler_left(pairs, name, operators):
    left = find_cpu_operators(pairs / f"{name}.tflite")
    assert len(left.operators) == operators
    model = read_model(pairs / f"{name}.tflite")
    others = [each.name for each in model.main.operators if each.custom_code != "edgetpu-custom-op"]
    assert list(left.operators) == (others if left.compiled_operators else [])


@pytest.mark.parametrize(
    ("cpu_ms", "compiled", "share", "method"),
    [(3.0, 1, 0.7, SUBTRACTED), (None, 1, 1.0, ALL_TAKEN), (10.0, 1, None, WITHIN_NOISE), (None, 0, None, NOT_KNOWN)],
)
def test_how_the_parts_are_told_apart(cpu_ms, compiled, share, method):
    cpu = None if cpu_ms is None else CpuPart(("ARG_MAX",), cpu_ms, None)
    found = sum_up_parts(DelegateTimes(12.0, 10.0), cpu, delegates=(), compiled_operators=compiled, attached=())
    assert (found.delegate_share, found.method, found.once_ms) == (pytest.approx(share) if share else None, method, 2.0)


def test_a_first_inference_that_is_no_slower_has_nothing_that_comes_once():
    for first_ms in (9.0, None):
        found = sum_up_parts(DelegateTimes(first_ms, 10.0), None, delegates=(), compiled_operators=1, attached=())
        assert (found.first_ms, found.once_ms) == (first_ms, None)


def coral_of(link: str) -> Coral:
    stick = UsbEdgeTpu("1-1", "18d1:9302", link, "/dev/bus/usb/001/003", True, "660", "plugdev")
    return Coral.of(EdgeTpuState((stick,), (), (), {}, None, (), (), None, ()))


@pytest.mark.parametrize(("link", "slow"), [("480", True), ("5000", False)])
def test_the_speed_of_the_link_is_a_note(stand_in, link, slow):
    facts = replace(LocalDevice().facts(), coral=coral_of(link))
    notes = [note for wanted, note in accelerator_notes(facts, through(stand_in)) if wanted]
    assert any("on USB 2 (480 Mbit/s)" in note for note in notes) is slow
    assert any("reports neither temperature nor clock" in note for note in notes)
    assert not any("reports no Edge TPU" in note for note in notes)
    assert not any(wanted for wanted, _ in accelerator_notes(facts, TINY))


def test_a_hot_chip_is_sampled(tmp_path):
    chip = tmp_path / "bus/pci/devices/0000:01:00.0/apex/apex_0"
    chip.mkdir(parents=True)
    (chip / "trip_point0_temp").write_text("85000\n")
    device = LocalDevice()
    with AgentClient.start(lambda: device.open(device.agent_argv(), env={"EDGE_SYSFS": str(tmp_path)})) as agent:
        for millidegrees, over in (("60000", -25.0), ("86500", 1.5), ("-87900", None), ("", None)):
            (chip / "temp").write_text(f"{millidegrees}\n")
            sample = agent.call(ConditionsRequest(), deadline_s=30)
            assert ConditionsSample.of(sample).tpu_over_trip_c == over


def test_the_rule_of_the_hot_chip():
    (rule,) = [each for each in RULES if each.name == "Edge TPU"]
    cool, hot = (
        ConditionsSample.from_json({"edge_tpus": [{"temperature_c": t, "trip_c": 85.0}]}) for t in (84.9, 86.5)
    )
    none = ConditionsSample.from_json({})

    def judged(*samples):
        return rule.check(LatencyEvidence(Plan(), (), (), samples), rule.limit)

    assert judged(none, none) is None
    assert judged(cool, cool) is None
    assert judged(cool, hot) == Broken("the Edge TPU was 1.5 C above the temperature from which it lowers its clock")


def test_the_report_has_a_section(measured):
    plain = replace(measured, accelerated=None)
    assert accelerator_section(entries_of(Material((plain,), ()))) is None
    text = markdown_of(compose(Material((measured,), ())))
    assert "## Through delegates" in text
    assert "if that is no Edge TPU, these are not figures of one" in text
    assert "CPU operators" in text


def test_the_command_takes_the_delegate(pairs, stand_in, tmp_path):
    argv = [
        sys.executable, "-m", "edge", "profile", pairs / "split_concat_edgetpu.tflite", "--delegate", stand_in,
        "--delegate-option", "later=1000", "--tpu", "usb:1", "--quick", "--window-seconds", "0.01", "--no-all-cores",
        "--json",
    ]  # fmt: skip
    ended = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (used,) = json.loads(ended.stdout)["accelerated"]["delegates"]
    assert used == {"library": stand_in, "options": "later=1000;device=usb:1"}
    assert not list(Path(tmp_path).iterdir())
