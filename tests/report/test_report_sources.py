"""What a report reads, and what it refuses."""

from __future__ import annotations

import json

import pytest
from sample_measurements import real_measurement, variants

from converters.errors import WriteError
from edge.errors import InputError
from edge.measure.measurement import RecordedAccuracy
from edge.measure.measurement_files import save_measurements
from edge.report.material import entries_of, read_material
from edge.report.sections.summary_section import summary_section
from edge.report.write import write_report

ARTIFACT = {
    "schema": "edge-artifact/1", "name": "net", "file": "net.tflite", "bytes": 5, "sha256": "",
    "created": "2026-01-01T00:00:00Z", "source": {"name": "net", "kind": "registry"}, "recipe": {"name": "int8"},
    "tools": {"edge-convert": "0.1.0"}, "calibration": {"source": "digits", "samples": 9, "seed": 0, "digest": "ab"},
    "parity": {"samples": 20, "accuracy": {"correct": 17, "of": 20, "reference_correct": 18}}, "labels": None,
}  # fmt: skip


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def test_an_artifact_brings_accuracy_to_its_own_file_only(tmp_path):
    first, second = variants()[4], real_measurement()
    save_measurements(tmp_path / "two.json", [first, second])
    artifact = write(tmp_path / "net.json", {**ARTIFACT, "sha256": first.artifact.sha256})
    entries = entries_of(read_material([artifact, tmp_path / "two.json"]))
    assert first.accuracy is None
    assert entries[0].accuracy == RecordedAccuracy(correct=17, of=20)
    assert entries[1].artifact is None


def test_what_is_given_twice_is_told_once(tmp_path):
    save_measurements(tmp_path / "one.json", [real_measurement()])
    assert len(read_material([tmp_path / "one.json", tmp_path / "one.json"]).measurements) == 1


def test_labels_tell_measurements_apart(tmp_path):
    one = real_measurement().to_json()
    faster = {**one, "threads": 2}
    elsewhere = {**one, "device": {**one["device"], "name": "pi4"}}
    again = {**elsewhere, "created": "2026-01-02T00:00:00Z"}
    path = write(tmp_path / "four.json", [one, faster, elsewhere, again])
    labels = [entry.label for entry in entries_of(read_material([path]))]
    name, home = one["artifact"]["name"], one["device"]["name"]
    assert labels == [
        f"{name} · {home} · 1 thread",
        f"{name} · {home} · 2 threads",
        f"{name} · pi4 · 1 thread #1",
        f"{name} · pi4 · 1 thread #2",
    ]


def test_a_runtime_that_follows_from_the_device_is_not_in_the_name(tmp_path):
    one = real_measurement().to_json()
    elsewhere = {**one, "device": {**one["device"], "name": "pi4"}, "runtime": {**one["runtime"], "version": "2.1.6"}}
    entries = entries_of(read_material([write(tmp_path / "two.json", [one, elsewhere])]))
    name = one["artifact"]["name"]
    assert [entry.label for entry in entries] == [f"{name} · {one['device']['name']}", f"{name} · pi4"]
    heads = [column.head for column in summary_section(entries).tables[0].columns]
    assert heads[:3] == ["Variant", "Runtime", "Threads"]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ("1e999", "too large"),
        ("NaN", "NaN is not"),
        ("9" * 30, "(30 digits) is too large"),
        ("9" * 5000, "(5000 digits) is too large"),
        ("[" * 500 + "]" * 500, "nested deeper"),
        ("[" * 100_000 + "]" * 100_000, "recursion"),
        ('"\\ud800"', "surrogate"),
    ],
    ids=["infinite", "nan", "long", "longer", "nested", "nested-deeper", "half-a-character"],
)
def test_what_cannot_be_written_again_is_not_read(tmp_path, odd, words):
    text = json.dumps(real_measurement().to_json())
    assert text.count('"kind": "local"') == 1
    (tmp_path / "odd.json").write_text(text.replace('"kind": "local"', f'"kind": {odd}'))
    with pytest.raises(InputError, match=r"odd\.json is not JSON") as caught:
        write_report([tmp_path / "odd.json"], tmp_path / "report.json")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", ["not JSON"]),
        ("[]", ["empty list"]),
        ('{"schema": "edge-report/1"}', ["edge-report/1", "edge-measurement/1"]),
        ('{"schema": "edge-artifact/2"}', ["edge-artifact/2", "edge-artifact/1"]),
        ('{"schema": "edge-artifact/1"}', ["'sha256' is missing"]),
        (json.dumps({**ARTIFACT, "bytes": "many"}), ["bytes", "a whole number", "'many'"]),
        (json.dumps(ARTIFACT), ["no measurement", "1 of 1 are artifacts"]),
    ],
)
def test_what_is_no_measurement_is_named(tmp_path, text, words):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"odd\.json") as caught:
        read_material([path])
    assert all(word in str(caught.value) for word in words)
    assert caught.value.hint


def test_a_report_never_replaces_its_source(tmp_path):
    save_measurements(tmp_path / "one.json", [real_measurement()])
    before = (tmp_path / "one.json").read_bytes()
    with pytest.raises(InputError, match="one of its sources"):
        write_report([tmp_path / "one.json"], tmp_path / ".." / tmp_path.name / "one.json")
    assert (tmp_path / "one.json").read_bytes() == before


def test_an_unwritable_report_leaves_the_old_one(tmp_path):
    save_measurements(tmp_path / "one.json", [real_measurement()])
    (tmp_path / "file").write_text("old")
    with pytest.raises(WriteError, match=r"report\.md"):
        write_report([tmp_path / "one.json"], tmp_path / "file" / "report.md")
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "one.json"]


def test_an_unknown_suffix_lists_the_known(tmp_path):
    save_measurements(tmp_path / "one.json", [real_measurement()])
    with pytest.raises(InputError, match=r"none of \.html") as caught:
        write_report([tmp_path / "one.json"], tmp_path / "report.pdf")
    assert "--format" in caught.value.hint
    assert write_report([tmp_path / "one.json"], tmp_path / "report.txt", form="md").format == "md"
