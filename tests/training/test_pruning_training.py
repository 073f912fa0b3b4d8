"""Pruning in training, on a small network of 1x1 and depthwise convolutions and the digits."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edge.errors import InputError
from edge.training.pruning import prunable_layers
from edge.training.pruning_plan import CubicSchedule, Pruning
from edge.training.training_loop import TrainingCallbacks, train
from edge.training.training_settings import TrainingSettings, default_out

DEADLINE_S = 120
POINTWISE = ("block_0_expand", "block_0_project", "Conv_1")
DENSE = ("Conv1", "block_0_depthwise", "scores")


def separable():
    """A network like MobileNetV2 in little: 3x3, then 1x1, depthwise, 1x1, 1x1, then the classifier."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(layers.Conv2D(8, 3, use_bias=False, name="Conv1")(x)))
    x = layers.ReLU(6.0)(
        layers.BatchNormalization(momentum=0.9)(layers.Conv2D(32, 1, use_bias=False, name=POINTWISE[0])(x))
    )
    x = layers.ReLU(6.0)(
        layers.BatchNormalization(momentum=0.9)(layers.DepthwiseConv2D(3, use_bias=False, name="block_0_depthwise")(x))
    )
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(12, 1, use_bias=False, name=POINTWISE[1])(x))
    x = layers.ReLU(6.0)(
        layers.BatchNormalization(momentum=0.9)(layers.Conv2D(48, 1, use_bias=False, name=POINTWISE[2])(x))
    )
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="scores")(x))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The network as a file, its weights new."""
    path = tmp_path_factory.mktemp("network") / "little.keras"
    separable().save(path)
    return path


@pytest.fixture
def settings(tmp_path, network):
    """A short training that prunes three quarters in blocks of 2."""
    return TrainingSettings(
        model=str(network), data="digits", out=tmp_path / "m.keras", mode="tf", epochs=4, limit=500, patience=9,
        learning_rate=0.01, pruning=Pruning(sparsity=0.75, block="2", every=4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, network):
    """The result of such a training."""
    out = tmp_path_factory.mktemp("pruned") / "m.keras"
    settings = TrainingSettings(
        model=str(network), data="digits", out=out, mode="tf", epochs=4, limit=500, learning_rate=0.01,
        pruning=Pruning(sparsity=0.75, block="2", every=4),
    )  # fmt: skip
    epochs = []
    result = train(settings, TrainingCallbacks(on_epoch=epochs.append))
    return result, epochs


def kernels(path):
    import keras

    return {layer.name: np.asarray(layer.kernel) for layer in keras.models.load_model(path).layers
            if hasattr(layer, "kernel")}  # fmt: skip


def test_the_zeros_are_exact_whole_and_where_they_belong(pruned):
    found = kernels(pruned[0].file)
    for name in POINTWISE:
        kernel = found[name]
        zeros = int((kernel == 0).sum())
        assert abs(zeros - 0.75 * kernel.size) <= 2, name
        blocks = (kernel == 0).reshape(kernel.shape[2], -1, 2)  # neighbouring output channels, aligned
        assert (blocks.all(axis=2) == blocks.any(axis=2)).all()
    for name in DENSE:
        assert (found[name] != 0).all(), name


def test_pruning_is_reported_layer_by_layer(pruned):
    result, epochs = pruned
    report = result.to_json()["pruning"]
    assert [row["name"] for row in report["layers"]] == list(POINTWISE)
    found = kernels(result.file)
    for row in report["layers"]:
        assert row["zeros"] == int((found[row["name"]] == 0).sum())
        assert (row["block"], row["target"]) == (2, 0.75)
    assert len({row["mask_sha256"] for row in report["layers"]}) == 3
    assert report["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert report["above_two_thirds"] is True
    assert report["schedule"] == {"kind": "cubic", "final": 0.75, "begin_step": 0, "end_step": 33, "every": 4}
    assert report["macs"]["left"] == pytest.approx(0.25 * report["macs"]["dense"], rel=0.02)
    assert report["predicted_instructions"]["sparse"] < report["predicted_instructions"]["dense"]
    assert json.loads(result.sidecar.read_text())["pruning"] == report
    assert json.loads(json.dumps(report)) == report

    shares = [epoch.sparsity for epoch in epochs]
    assert shares == sorted(shares)
    assert 0.4 < shares[0] < shares[1] < shares[2] == shares[3]
    assert result.best_epoch >= 3  # before, the sparsity is not final


def test_recalibration_keeps_the_better_of_two(pruned):
    report = pruned[0].pruning["recalibration"]
    assert report["normalizations"] == 5
    assert report["kept"] == (report["val_loss_after"] <= report["val_loss_before"])


def test_recalibration_repairs_stale_averages(settings, pruned):
    import keras

    from converters.artifact.preprocessing import Preprocessing
    from edge.data.splits import split_dataset
    from edge.training.pruning_report import recalibrate_if_better

    model = keras.models.load_model(pruned[0].file)
    model.compile(loss="sparse_categorical_crossentropy")
    parts = split_dataset(settings.split_options, Preprocessing.for_mode("tf", 8, 8, 3))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.moving_mean.assign(layer.moving_mean + 3.0)
    trained = [np.asarray(variable) for variable in model.trainable_variables]
    change = recalibrate_if_better(model, parts, batch=settings.batch, seed=settings.seed)
    assert change.kept
    assert change.val_loss_after < change.val_loss_before
    assert all((old == np.asarray(new)).all() for old, new in zip(trained, model.trainable_variables, strict=True))
    assert {layer.momentum for layer in norms} == {0.9}
    assert next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)).rate == 0.1
    # The first normalization sees what its convolution gives on the training pictures.
    first = keras.Model(model.input, model.get_layer("Conv1").output)
    seen = first.predict(np.stack([sample.x for sample in parts.train.samples()]), verbose=0)
    assert np.asarray(norms[0].moving_mean) == pytest.approx(seen.mean(axis=(0, 1, 2)), abs=0.02)


def test_a_pruned_model_that_is_trained_further_keeps_its_zeros(pruned, tmp_path):
    before = kernels(pruned[0].file)
    notes = []
    settings = TrainingSettings(
        model=str(pruned[0].file), data="digits", out=tmp_path / "n.keras", epochs=1, limit=500, learning_rate=0.01
    )
    result = train(settings, TrainingCallbacks(on_note=notes.append))
    after = kernels(settings.out)
    assert notes == [f"{pruned[0].file} was pruned: its zeros are kept"]
    for name in POINTWISE:
        assert ((before[name] == 0) == (after[name] == 0)).all()
        assert (before[name] != after[name]).any()
    assert result.pruning["zeros"] == pruned[0].pruning["zeros"]
    assert [row["mask_sha256"] for row in result.pruning["layers"]] == [
        row["mask_sha256"] for row in pruned[0].pruning["layers"]
    ]


def test_the_global_budget_is_met_by_the_trained_model(settings):
    pruning = Pruning(sparsity=0.8, budget="global", every=2, end=0.5, begin=0.1)
    report = train(dataclasses.replace(settings, epochs=2, limit=200, pruning=pruning)).pruning
    assert report["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert len({row["sparsity"] for row in report["layers"]}) == 3
    for row in report["layers"]:
        assert abs(row["zeros"] - row["target"] * row["parameters"]) <= row["block"]


def test_the_callback_serves_a_training_of_ones_own(network):
    import keras

    from edge.training.pruning_callback import MagnitudePruning

    model = keras.models.load_model(network)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="sparse_categorical_crossentropy")
    x, y = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32), np.arange(64) % 10
    schedule = CubicSchedule(0.9, begin_step=2, end_step=8, every=2)
    pruning = MagnitudePruning(Pruning(sparsity=0.9, block="4"), schedule)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = np.asarray(prunable_layers(self.model)[2].kernel)
            seen.append((kernel == 0).mean())

    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[pruning, Look()])
    expected = [schedule.sparsity_at(step - step % 2) for step in range(1, 17)]
    assert seen == pytest.approx(expected, abs=4 / (12 * 48))
    assert pruning.sparsity == pytest.approx(0.9, abs=0.02)


def test_options_that_do_not_fit_the_model_are_refused_before_training(settings, tiny_model):
    with pytest.raises(InputError, match="no 1x1 convolution to prune"):
        train(dataclasses.replace(settings, model=str(tiny_model)))
    with pytest.raises(InputError, match="fits nothing: the network has blocks 0 to 0"):
        train(dataclasses.replace(settings, pruning=Pruning(sparsity=0.8, block="11-16b2")))
    assert not settings.checkpoint_folder.exists()


def test_the_file_has_a_name_of_its_own():
    assert str(default_out("mobilenet_v2", pruned=False)) == "mobilenet_v2.keras"
    assert str(default_out("mobilenet_v2", pruned=True)) == "mobilenet_v2-pruned.keras"
    assert str(default_out("models/dense.keras", pruned=True)) == "dense-pruned.keras"
    assert str(default_out("models/dense.keras", pruned=False)) == "dense-trained.keras"


@pytest.mark.slow
def test_a_killed_pruning_resumes_to_the_masks_of_an_unbroken_one(settings, network, tmp_path):
    args = [network, "--data", "digits", "--preprocessing", "tf", "--limit", 300, "--epochs", 6, "--patience", 99,
            "--lr", 0.01, "--sparsity", 0.75, "--budget", "instructions", "--prune-every", 4, "--prune-begin", 0.1,
            "--prune-end", 0.8, "--seed", 3, "--out", tmp_path / "killed.keras"]  # fmt: skip
    command = [sys.executable, "-m", "edge", "train", *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    state, until = tmp_path / "killed-checkpoints" / "state.json", time.monotonic() + DEADLINE_S
    while time.monotonic() < until and process.poll() is None:
        if state.is_file() and len(json.loads(state.read_text())["history"]) >= 2:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    stopped = json.loads(state.read_text())
    assert stopped["counted_from"] == 5
    assert len(stopped["targets"]) == 3
    left = kernels(tmp_path / "killed-checkpoints" / f"epoch-{len(stopped['history']):04}.keras")

    pruning = Pruning(sparsity=0.75, budget="instructions", every=4, begin=0.1, end=0.8)
    whole = dataclasses.replace(
        settings, epochs=6, limit=300, patience=99, seed=3, pruning=pruning, out=tmp_path / "whole.keras"
    )
    expected = train(whole)
    again = train(dataclasses.replace(whole, out=tmp_path / "killed.keras", resume=True))
    found = kernels(again.file)
    for name in POINTWISE:
        assert (found[name][left[name] == 0] == 0).all()
    assert again.epochs == 6
    assert [(row["block"], row["zeros"]) for row in again.pruning["layers"]] == [
        (row["block"], row["zeros"]) for row in expected.pruning["layers"]
    ]
    assert {row["block"] for row in again.pruning["layers"]} <= {1, 2, 4}
    assert again.pruning["macs"]["left"] / again.pruning["macs"]["dense"] == pytest.approx(0.25, abs=0.01)
    assert again.test.correct == pytest.approx(expected.test.correct, abs=2)


def test_options_of_pruning_go_together(tmp_path):
    from click.testing import CliRunner

    from edge.cli.train import command

    for options, report in (
        (["--block", "2"], "--block goes with --sparsity"),
        (["--temperature", "2"], "--temperature goes with --distill"),
        (["--sparsity", "1.5"], "1.5 is not in the range"),
    ):
        done = CliRunner().invoke(command, ["mobilenet_v2", "--data", "digits", *options])
        assert done.exit_code == 2
        assert report in done.output
