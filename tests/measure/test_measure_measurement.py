"""Measurement JSON: what is written is read back, what is wrong is named."""

from __future__ import annotations

import copy
import json

import pytest

from edge.errors import InputError
from edge.measure.measurement_files import load_measurements, measurement_from_json, save_measurements


@pytest.fixture
def document(sample_path):
    return json.loads(sample_path.read_text())


def change(document, path, value):
    """Return a deep copy with one place changed; `...` removes it."""
    changed = copy.deepcopy(document)
    *parents, last = path
    place = changed
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return changed


def test_round_trip_keeps_every_field(document):
    assert measurement_from_json(document).to_json() == document


def test_everything_optional_may_be_null(document):
    for name in ("latency_ms", "latency_all_cores_ms", "load_ms", "first_ms", "kernels", "operators", "accuracy"):
        assert measurement_from_json(change(document, [name], None)).to_json()[name] is None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["latency_ms", "median"], "fast", ["latency_ms: median", "a finite number", "'fast'"]),
        (["latency_ms", "median"], True, ["latency_ms: median", "a finite number"]),
        (["latency_ms", "median"], float("inf"), ["latency_ms: median", "a finite number"]),
        (["latency_ms", "median"], -1.0, ["latency_ms: median", "at least 0"]),
        (["latency_ms", "p90"], 0.0, ["latency_ms", "must not fall"]),
        (["latency_ms", "values"], 3, ["latency_ms: values", "a list"]),
        (["latency_ms", "values"], [1.0, None], ["latency_ms: values[1]", "None"]),
        (["threads"], 1.5, ["threads", "a whole number"]),
        (["artifact", "sha256"], ..., ["artifact", "'sha256' is missing"]),
        (["artifact", "recipe"], 5, ["artifact: recipe", "a text"]),
        (["latencyms"], {}, ["no field 'latencyms'", "did you mean 'latency_ms'"]),
        (["device", "facts"], [], ["device: facts", "an object"]),
        (["validity", "valid"], "yes", ["validity: valid", "true or false"]),
        (["memory"], None, ["memory", "an object"]),
        (["schema"], "edge-measurement/9", ["edge-measurement/9", "edge-measurement/1"]),
        (["schema"], ..., ["no field 'schema'"]),
    ],
)
def test_wrong_field_is_named(document, path, value, words):
    with pytest.raises(InputError) as caught:
        measurement_from_json(change(document, path, value), where="r.json")
    assert str(caught.value).startswith("r.json")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


def test_files_hold_one_or_a_list(document, tmp_path):
    one = measurement_from_json(document)
    save_measurements(tmp_path / "one.json", [one])
    save_measurements(tmp_path / "two.json", [one, one])
    assert isinstance(json.loads((tmp_path / "one.json").read_text()), dict)
    assert load_measurements(tmp_path / "one.json") == (one,)
    assert load_measurements(tmp_path / "two.json") == (one, one)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"schema": NaN}', "NaN"),
        ("[]", "empty list"),
        ("3", "no measurement"),
        ("[" * 100_000, "not JSON"),
        ('{"schema": "edge-artifact/1"}', "edge-artifact/1"),
    ],
)
def test_foreign_file_is_refused(tmp_path, text, word):
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"foreign\.json") as caught:
        load_measurements(path)
    assert word in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_measurements(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not JSON"):
        load_measurements(tmp_path / "binary.json")


def test_error_in_a_list_names_the_item(document, tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([document, change(document, ["threads"], None)]))
    with pytest.raises(InputError, match=r"list\.json\[1\]: threads"):
        load_measurements(path)
