"""The description beside a model."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from converters.artifact.sidecar import embedded_labels
from converters.errors import ModelFileError
from edge.runtime import Preprocessing, artifact_of


@pytest.fixture
def described(shared_data, tmp_path):
    """A function that puts a real model and a description of it into a folder and returns the model's path."""

    def make(**changes):
        model = tmp_path / "net-int8.tflite"
        shutil.copyfile(shared_data / "edgetpu_pairs" / "split_concat.tflite", model)
        values = {
            "schema": "edge-artifact/1",
            "name": "net-int8",
            "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
            "recipe": {"name": "int8"},
            "preprocessing": Preprocessing.for_mode("tf", 8, 8, 3).to_json(),
            "labels": ["cat", "dog"],
            "labels_origin": "data",
            **changes,
        }
        model.with_suffix(".json").write_text(json.dumps(values))
        return model

    return make


def test_it_is_read(described):
    artifact = artifact_of(described())
    assert artifact is not None
    assert (artifact.name, artifact.recipe, artifact.labels) == ("net-int8", "int8", ("cat", "dog"))
    assert artifact.preprocessing == Preprocessing.for_mode("tf", 8, 8, 3)
    assert artifact.values["labels_origin"] == artifact.labels_origin == "data"


def test_what_it_does_not_say_is_none(described):
    artifact = artifact_of(described(preprocessing=None, labels=None, recipe=None))
    assert artifact is not None
    assert (artifact.preprocessing, artifact.labels, artifact.recipe) == (None, None, None)


def test_there_may_be_none(described):
    model = described()
    model.with_suffix(".json").unlink()
    assert artifact_of(model) is None


def test_a_description_of_another_file_is_refused(described):
    model = described()
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match=r"is not the file that net-int8\.json describes: its sha256 is"):
        artifact_of(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "edge-artifact/9"}, "has the schema 'edge-artifact/9'"),
        ({"labels": "cat"}, "labels that are no list"),
        ({"preprocessing": {"mode": "tf"}}, "preprocessing: missing"),
        ({"sha256": None}, "expected None"),
    ],
)
def test_a_wrong_description_is_refused(described, changes, message):
    with pytest.raises(ModelFileError, match=message):
        artifact_of(described(**changes))


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 5000, '"\\ud800"'])
def test_a_broken_description_is_refused(described, text):
    model = described()
    model.with_suffix(".json").write_text(text)
    with pytest.raises(ModelFileError, match=r"net-int8\.json"):
        artifact_of(model)


def test_labels_packed_behind_the_model_are_found(shared_data):
    data = (shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes()
    labels = embedded_labels(data, 1001)
    assert labels is not None
    assert (labels[0], labels[286]) == ("background", "Egyptian cat")
    assert embedded_labels(data, 1000) is None
    assert embedded_labels(data[:-30], 1001) is None
    assert embedded_labels(b"", 3) is None
