"""The record beside a model: read the same way wherever it is asked for."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from converters.artifact.preprocessing import Preprocessing
from converters.artifact.sidecar import artifact_of, read_sidecar
from converters.errors import ModelFileError
from edge.models.labels import read_embedded_labels


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
    assert (artifact.name, artifact.recipe.name, artifact.labels) == ("net-int8", "int8", ("cat", "dog"))
    assert artifact.preprocessing == Preprocessing.for_mode("tf", 8, 8, 3)
    assert artifact.labels_origin == "data"


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
    with pytest.raises(ModelFileError, match=r"net-int8\.json describes another file: it names sha256"):
        artifact_of(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "edge-artifact/9"}, "has the schema 'edge-artifact/9'"),
        ({"labels": "cat"}, "labels: expected a list"),
        ({"parameters": True}, "parameters: expected a whole number"),
        ({"parity": {"accuracy": {"correct": "many", "of": 200}}}, "parity: accuracy: correct: expected a whole"),
        ({"recipe": "int8"}, "recipe: expected an object"),
        ({"preprocessing": {"mode": "tf"}}, "preprocessing: the field 'height' is missing"),
        ({"sha256": None}, "sha256: expected a text, got None"),
    ],
)
def test_a_wrong_description_is_refused(described, changes, message):
    with pytest.raises(ModelFileError, match=message):
        artifact_of(described(**changes))


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '"\\ud800"', "NaN"])
def test_a_broken_description_is_refused(described, text):
    model = described()
    model.with_suffix(".json").write_text(text)
    with pytest.raises(ModelFileError, match=r"net-int8\.json"):
        artifact_of(model)


@pytest.mark.parametrize("text", ["[1]", "{}", '{"schema": "edge-model/1"}', '{"schema": 1}'])
def test_a_json_file_of_another_kind_is_left_alone(described, text):
    model = described()
    model.with_suffix(".json").write_text(text)
    assert artifact_of(model) is None
    assert read_sidecar(model) is None


def test_who_tolerates_a_problem_gets_the_words_of_who_refuses_it(described):
    model = described(labels="cat")
    with pytest.raises(ModelFileError) as refused:
        artifact_of(model)
    assert read_sidecar(model).problem == str(refused.value)
    assert read_sidecar(model).record is None


def test_fields_of_a_later_version_are_ignored_but_not_in_the_preprocessing(described):
    assert artifact_of(described(colour="blue")).name == "net-int8"
    later = {**Preprocessing.for_mode("tf", 8, 8, 3).to_json(), "gamma": 2}
    with pytest.raises(ModelFileError, match="no field 'gamma'"):
        artifact_of(described(preprocessing=later))


def test_labels_packed_behind_the_model_are_found(shared_data):
    data = (shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes()
    labels = read_embedded_labels(data, 1001)
    assert labels is not None
    assert (labels[0], labels[286]) == ("background", "Egyptian cat")
    assert read_embedded_labels(data, 1000) is None
    assert read_embedded_labels(data[:-30], 1001) is None
    assert read_embedded_labels(b"", 3) is None
