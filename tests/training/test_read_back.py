"""A model whose weights were read back from a .tflite file is trained further, and pruned, without being destroyed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edge.cli.main import run
from edge.data.open_data import open_data
from edge.models.weights import load_weights
from edge.training.recalibration import freeze_identities, recalibrate
from edge.training.training_loop import TrainingCallbacks, train
from edge.training.training_settings import TrainingSettings


def network():
    """Three normalized convolutions, one of them pointwise; new weights."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for kernel, strides, filters in ((3, 2, 16), (1, 1, 32), (3, 1, 32)):
        x = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


@pytest.fixture(scope="module")
def read_back(tmp_path_factory):
    """Train on digits, convert, read the weights of the file into a new model, save that."""
    folder = tmp_path_factory.mktemp("read-back")
    network().save(folder / "new.keras")
    train(settings(folder / "new.keras", folder / "trained.keras", epochs=6, learning_rate=0.02))
    converted = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(folder / "trained.keras")).convert()
    (folder / "trained.tflite").write_bytes(converted)
    model = network()
    load_weights(model, folder / "trained.tflite")
    model.save(folder / "read.keras")
    return folder / "read.keras"


def settings(model, out, **changes):
    return TrainingSettings(
        **{"model": str(model), "data": "digits", "out": out, "mode": "tf", "limit": 900, "epochs": 1,
           "learning_rate": 1e-5, **changes}
    )  # fmt: skip


def normalizations(path):
    return [layer for layer in keras.models.load_model(path).layers if isinstance(layer, layers.BatchNormalization)]


def right_share(path, tiny):
    digits = open_data("digits", preprocessing=tiny).pick(400, seed=9)
    x = np.stack([sample.x for sample in digits.samples()])
    return float((keras.models.load_model(path).predict(x, verbose=0).argmax(axis=1) == digits.labels).mean())


def test_an_epoch_keeps_the_accuracy_and_reports_frozen_layers(read_back, tmp_path, tiny):
    notes = []
    train(settings(read_back, tmp_path / "more.keras"), TrainingCallbacks(on_note=notes.append))
    before, after = right_share(read_back, tiny), right_share(tmp_path / "more.keras", tiny)
    assert before > 0.8
    assert after > before - 0.02
    (note,) = notes
    assert note.startswith(f"3 batch normalizations of {read_back} only add a bias")
    assert [layer.trainable for layer in normalizations(tmp_path / "more.keras")] == [False] * 3


def test_pruned_and_trained_further_it_keeps_its_accuracy(read_back, tmp_path, tiny, capsys):
    pruned, more = tmp_path / "pruned.keras", tmp_path / "more.keras"
    arguments = ["--sparsity", "0.5", "--calibrate", "digits", "--preprocess", "tf", "--out", str(pruned)]
    assert run(["prune", str(read_back), *arguments]) == 0
    assert f"3 batch normalizations of {read_back} only add a bias" in capsys.readouterr().err
    train(settings(pruned, more, mode=None))
    assert right_share(more, tiny) > right_share(pruned, tiny) - 0.02 > 0.7


def test_pruning_in_training_measures_no_identity_anew(read_back, tmp_path):
    arguments = ["--data", "digits", "--limit", "300", "--preprocessing", "tf", "--epochs", "2", "--sparsity", "0.5"]
    assert run(["train", str(read_back), *arguments, "--lr", "1e-5", "--out", str(tmp_path / "sparse.keras")]) == 0
    for layer in normalizations(tmp_path / "sparse.keras"):
        assert not np.asarray(layer.moving_mean).any()
        np.testing.assert_allclose(np.asarray(layer.moving_variance), 1 - layer.epsilon, rtol=1e-6)


def test_new_and_learned_normalizations_are_not_frozen(read_back):
    model = network()
    assert freeze_identities(model) == 0, "new ones"
    assert recalibrate(model, [np.zeros((2, 8, 8, 3), np.float32)]) == 3
    assert freeze_identities(model) == 0, "measured ones"
    learned = normalizations(read_back.with_name("trained.keras"))
    assert all(np.asarray(layer.moving_mean).any() and layer.trainable for layer in learned)
    model = network()
    model.layers[2].beta.assign(np.linspace(-1, 1, 16))
    assert freeze_identities(model) == 1, "variance 1 and a bias, as other programs fold"
    assert recalibrate(model, [np.zeros((2, 8, 8, 3), np.float32)]) == 2
