"""A real model, profiled in real agent processes with tiny windows; nothing here asserts a duration."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from converters.errors import ModelFileError
from converters.files import sha256_of
from devices.local import LocalDevice
from devices.registry import KINDS
from edge.errors import InputError
from edge.measure.comparison import compare
from edge.measure.measured_model import describe_model
from edge.measure.measurement import Measurement, RecordedAccuracy
from edge.measure.measurement_files import measurement_from_json
from edge.measure.plan import Plan
from edge.measure.profiling import MEASURERS, profile, profile_files
from edge.measure.verdict import SLOWER, VerdictCriteria
from edge.report.terminal.measurement_lines import summary
from edge.runtime.errors import RuntimeMissingError

TINY = Plan(warmup_s=0.02, window_s=0.02, min_runs=3, kernel_runs=3)


@pytest.fixture(scope="module")
def model(shared_data) -> Path:
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def measured(model, told) -> Measurement:
    return profile(model, LocalDevice(), TINY, on_step=told.append)


def test_every_figure_is_there_and_belongs_together(measured, model):
    latency = measured.latency_ms
    assert 0 < latency.min <= latency.median <= latency.p90 <= latency.p99
    assert latency.samples == len(latency.values) == sum(window.runs for window in measured.windows)
    assert (len(measured.windows), latency.threads, measured.threads) == (5, 1, 1)
    assert min(window.runs for window in measured.windows) >= 3
    assert measured.load_ms > 0
    assert measured.first_ms > 0
    assert measured.artifact.sha256 == sha256_of(model)
    assert measured.memory.model_bytes == model.stat().st_size
    assert measured.memory.peak_rss_bytes > measured.memory.base_rss_bytes > 0
    assert measured.runtime.version


def test_all_cores_are_measured_where_there_are_several(measured):
    cores = measured.device.facts["cpu"]["usable_cores"]
    if cores == 1:
        assert measured.latency_all_cores_ms is None
    else:
        assert measured.latency_all_cores_ms.threads == cores


def test_conditions_frame_every_window(measured):
    runs = 1 if measured.latency_all_cores_ms is None else 2
    assert len(measured.conditions.samples) == 6 * runs
    assert measured.conditions.before["time_s"] < measured.conditions.after["time_s"]
    assert [sample["since"] is None for sample in measured.conditions.samples] == ([True] + [False] * 5) * runs


def test_kernels_are_named_and_counted_per_inference(measured):
    assert measured.kernels_reason is None
    assert any("Convolution" in kernel.name for kernel in measured.kernels)
    assert any("DWConv" in kernel.name for kernel in measured.kernels)
    assert list(measured.kernels) == sorted(measured.kernels, key=lambda kernel: -kernel.time_us)
    counted = Counter(operator.kernel for operator in measured.operators)
    assert {kernel.name: kernel.calls for kernel in measured.kernels} == counted
    assert measured.kernel_profile.invoke_us >= measured.kernels[0].time_us


def test_dense_kernels_are_no_sparse_ones(measured):
    # 13 pointwise convolutions and the classifier, which this model writes as a 1x1 convolution.
    assert (measured.sparse_kernels.ran, measured.sparse_kernels.of) == (0, 14)


def test_the_result_is_json_and_comes_back(measured):
    assert measurement_from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_the_text_fits_80_columns_and_says_the_verdict(measured):
    text = summary(measured)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("mobilenet_v1_0.25_128_quant on local", "1 thread", "median", "kernels", "memory: peak"):
        assert words in text
    assert ("INVALID: do not rely" in text) is not measured.validity.valid
    silent = replace(measured, kernels=None, kernels_reason="not here", latency_ms=None, latency_all_cores_ms=None)
    assert "not here" in summary(silent)


def test_steps_are_told_and_never_more_than_announced(measured, told):
    assert len(told) <= TINY.steps
    assert told[-1] == "kernels"


def test_the_same_model_twice_is_not_five_times_slower(measured, model):
    # On a busy machine nothing may be shown by windows this short; a slow-down by a factor of five never is.
    again = profile(model, LocalDevice(), replace(TINY, all_cores=False, kernels=False))
    assert again.latency_all_cores_ms is None
    assert (again.kernels, again.kernels_reason) == (None, "not asked for")
    assert compare([measured], [again], VerdictCriteria(margin=4.0, alpha=0.01), force=True).verdict != SLOWER


def test_a_damaged_file_does_not_lose_the_others(model, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(model.read_bytes()[:5000])
    told = []
    plan = replace(TINY, windows=1, all_cores=False, kernels=False)
    found = profile_files([damaged, model, tmp_path / "none.tflite"], LocalDevice(), plan, on_failure=told.append)
    assert [each.artifact.name for each in found.measurements] == [model.stem]
    assert [(each.path.name, each.exit_code) for each in found.failures] == [("damaged.tflite", 4), ("none.tflite", 3)]
    assert isinstance(found.failures[0].error, ModelFileError)
    assert isinstance(found.failures[1].error, InputError)
    assert told == list(found.failures)
    assert "number of windows is 1" in found.measurements[0].validity.reasons[0]


def test_an_unknown_runtime_is_an_error_of_its_own(model):
    with pytest.raises(RuntimeMissingError):
        profile(model, LocalDevice(), replace(TINY, runtime="no-such-runtime"))


@pytest.fixture
def copied(model, tmp_path):
    """A copy of the model, and a function that writes its artifact JSON."""
    path = tmp_path / "model-int8.tflite"
    shutil.copy(model, path)

    def write(**changes):
        value = {
            "schema": "edge-artifact/1",
            "name": "model-int8",
            "sha256": sha256_of(path),
            "recipe": {"name": "int8"},
            "parameters": 470_000,
            "macs": 14_000_000,
            "parity": {"cosine": 0.99, "accuracy": {"correct": 168, "of": 200, "reference_correct": 170}},
            **changes,
        }
        path.with_suffix(".json").write_text(json.dumps(value))

    return path, write


def test_the_artifact_json_of_this_content_is_used(copied):
    path, write = copied
    write()
    subject = describe_model(path)
    assert (subject.ref.recipe, subject.ref.parameters, subject.ref.macs) == ("int8", 470_000, 14_000_000)
    assert subject.accuracy == RecordedAccuracy(168, 200)
    assert subject.ref.parity["cosine"] == 0.99
    assert subject.notes == ()


def test_the_artifact_json_of_another_content_is_not_used_and_said(copied):
    path, write = copied
    write(sha256="0" * 64)
    subject = describe_model(path)
    assert (subject.ref.recipe, subject.accuracy) == (None, None)
    assert "describes another file" in subject.notes[0]


@pytest.mark.parametrize(("text", "notes"), [("{", 1), ("[1]", 0), ('{"schema": "else"}', 0)])
def test_a_foreign_json_beside_the_model_is_left_alone(copied, text, notes):
    path, _ = copied
    path.with_suffix(".json").write_text(text)
    subject = describe_model(path)
    assert subject.ref.recipe is None
    assert len(subject.notes) == notes


def test_a_name_that_is_no_text_becomes_one(copied):
    path, write = copied
    write(name="")
    odd = os.fsdecode(bytes(path.parent) + b"/na\xffme")
    moved = [each.rename(odd + each.suffix) for each in (path, path.with_suffix(".json"))]
    subject = describe_model(moved[0])
    assert subject.ref.name == "na\ufffdme"
    json.dumps(subject.ref.path, ensure_ascii=False).encode()
    moved[1].write_text(moved[1].read_text().replace(subject.ref.sha256, "0" * 64))
    (note,) = describe_model(moved[0]).notes
    assert "na\ufffdme.json describes another file" in note


@pytest.mark.parametrize(
    "change",
    [{"recipe": "int8"}, {"parameters": True}, {"macs": -1}, {"parity": {"accuracy": {"correct": "many", "of": 200}}}],
)
def test_a_malformed_artifact_json_is_not_used_and_said(copied, change):
    path, write = copied
    write(**change)
    subject = describe_model(path)
    assert (subject.ref.recipe, subject.ref.parameters, subject.ref.macs, subject.accuracy) == (None, None, None, None)
    assert f"{next(iter(change))}: " in subject.notes[0]


def test_each_kind_of_device_has_a_way_of_measuring():
    assert {kind.measures for kind in KINDS.values()} == set(MEASURERS)
