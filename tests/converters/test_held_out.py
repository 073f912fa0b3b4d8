"""A model of `edge train` is judged on what its training held out, not on what it has learnt by heart."""

from __future__ import annotations

import json
import shutil

import keras
import pytest

from converters.recipes import recipes_named
from edge.models.loading import ConvertRequest
from edge.training.training_loop import train
from edge.training.training_settings import TrainingSettings
from edge.workflows.conversion import convert_source


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    keras.Sequential(layers).save(folder / "start.keras")
    train(TrainingSettings(model=str(folder / "start.keras"), data="digits", out=folder / "digits.keras", epochs=1,
                           mode="unit"))  # fmt: skip
    return folder / "digits.keras"


def converted(model, folder, said=lambda text: None):
    request = ConvertRequest(
        source=str(model), recipes=recipes_named(["fp32"]), folder=folder, calibrate="digits", samples=1797
    )
    return convert_source(request, notify=said)[0].parity


def test_the_check_uses_the_held_out_part(trained, tmp_path):
    parity = converted(trained, tmp_path)
    measured = json.loads(trained.with_suffix(".json").read_text())["metrics"]["test"]
    assert parity.source == "digits, held out from training"
    assert (parity.accuracy.reference_correct, parity.accuracy.of) == (measured["correct"], measured["of"])


def test_a_sidecar_of_another_file_is_not_believed(trained, tmp_path):
    shutil.copy(trained.with_suffix(".json"), tmp_path / "other.json")
    other = keras.models.load_model(trained)
    other.layers[-1].bias.assign_add([1.0] * 10)
    other.save(tmp_path / "other.keras")
    said = []
    assert converted(tmp_path / "other.keras", tmp_path / "out", said.append).source == "digits"
    assert any("does not match the current other.keras" in text for text in said)
