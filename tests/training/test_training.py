"""Training in this process: what it writes, that a seed fixes it, and that nothing leaks between the parts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

from converters.artifact.preprocessing import Preprocessing
from edge.data.batches import Batches, augment_input, batch_count
from edge.data.open_data import open_data
from edge.data.splits import split_dataset
from edge.errors import DataError, EdgeError, InputError
from edge.training.checkpoints import Checkpoints
from edge.training.training_loop import TrainingCallbacks, train
from edge.training.training_settings import TrainingSettings


@pytest.fixture
def settings(tmp_path, tiny_model):
    """A short training of the tiny model on 400 digits."""
    return TrainingSettings(
        model=str(tiny_model), data="digits", out=tmp_path / "out" / "m.keras", mode="tf", epochs=3, limit=400
    )


def losses(history_file):
    return [epoch["val_loss"] for epoch in json.loads(history_file.read_text())["epochs"]]


def test_what_a_training_leaves(settings):
    import keras

    epochs = []
    result = train(settings, TrainingCallbacks(on_epoch=lambda epoch: epochs.append(epoch.epoch)))
    assert epochs == [1, 2, 3]
    assert result.test.of == 80
    assert result.measured_on == "80 of the 400 samples of digits (20%), held out from training"
    sidecar = json.loads(settings.sidecar_file.read_text())
    assert sidecar["schema"] == "edge-model/1"
    assert sidecar["classes"] == 10
    assert sidecar["labels"] == [str(digit) for digit in range(10)]
    assert Preprocessing.from_json(sidecar["preprocessing"]) == Preprocessing.for_mode("tf", 8, 8, 3)
    assert sidecar["sha256"] == hashlib.sha256(settings.out.read_bytes()).hexdigest()
    assert sidecar["metrics"]["test"]["correct"] == result.test.correct
    assert set(sidecar["tools"]) == {"edge-convert", "tensorflow", "keras", "python"}
    assert json.loads(settings.history_file.read_text())["finished"] is True
    assert len(list(settings.checkpoint_folder.glob("*.keras"))) <= 2

    # The file holds the weights whose accuracy was reported.
    model = keras.models.load_model(settings.out)
    parts = split_dataset(settings.split_options, Preprocessing.for_mode("tf", 8, 8, 3))
    right = sum(int(model(sample.x[np.newaxis]).numpy().argmax()) == sample.label for sample in parts.test.samples())
    assert right == result.test.correct
    assert getattr(model, "optimizer", None) is None


def test_a_seed_fixes_the_result(settings, tmp_path):
    runs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = dataclasses.replace(settings, out=tmp_path / f"{name}.keras", seed=seed, limit=120, epochs=2,
                                  augment=("shift",))  # fmt: skip
        train(run)
        runs.append(losses(run.history_file))
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)
    assert runs[0] != pytest.approx(runs[2], rel=1e-3)


def test_the_parts_do_not_overlap(settings, class_folders):
    preprocessing = Preprocessing.for_mode("tf", 8, 8, 3)
    for change in ({}, {"data": str(class_folders), "limit": None}):
        parts = split_dataset(dataclasses.replace(settings, **change).split_options, preprocessing)
        taken = [set(part.indices.tolist()) for part in (parts.train, parts.validation, parts.test)]
        assert sum(map(len, taken)) == len(set.union(*taken)) == len(parts.source)
        assert min(map(len, taken)) > 0


def test_one_sample_of_each_class_cannot_be_divided(settings, tmp_path, save_image):
    folder = tmp_path / "single"
    for name in ("dark", "dim", "bright"):
        save_image(folder / name / "only.png")
    alone = dataclasses.replace(settings, data=str(folder), limit=None)
    with pytest.raises(DataError, match=r"has one sample of each class \(3\): none can be held out") as caught:
        split_dataset(alone.split_options, Preprocessing.for_mode("tf", 8, 8, 3))
    assert "three or more samples of each class, or a larger --limit" in caught.value.hint
    save_image(folder / "dark" / "second.png")
    with pytest.raises(DataError, match=r"too few samples: \d for training, 0 for validation") as caught:
        split_dataset(dataclasses.replace(alone, test=0.4).split_options, Preprocessing.for_mode("tf", 8, 8, 3))
    assert "the last of a class is never held out" in caught.value.hint


def test_a_test_part_of_the_data_is_used(settings, tmp_path, class_folders):
    folder = tmp_path / "data"
    shutil.copytree(class_folders, folder / "train")
    shutil.copytree(class_folders, folder / "test")
    parts = split_dataset(
        dataclasses.replace(settings, data=str(folder)).split_options, Preprocessing.for_mode("tf", 8, 8, 3)
    )
    assert len(parts.test) == 18
    assert len(parts.train) + len(parts.validation) == 18
    assert parts.measured_on.startswith("the 18 samples of the test part")


def test_training_stops_early_and_keeps_the_best_epoch(settings):
    result = train(dataclasses.replace(settings, epochs=40, patience=1, learning_rate=0.05))
    history = losses(settings.history_file)
    assert result.stopped_early
    assert result.best_epoch == int(np.argmin(history)) + 1 == result.epochs - 1
    best = json.loads(settings.history_file.read_text())["epochs"][result.best_epoch - 1]
    assert result.validation.accuracy == pytest.approx(best["val_accuracy"], abs=1e-6)


def test_a_loss_that_is_no_number_stops_training(settings):
    with pytest.raises(EdgeError, match="training diverged in epoch 1") as caught:
        train(dataclasses.replace(settings, learning_rate=1e38))
    assert "lower the learning rate" in caught.value.hint
    assert not settings.out.exists()


def test_plain_scores_are_trained_as_such(settings, tmp_path):
    import keras

    path = tmp_path / "scores.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)
    result = train(dataclasses.replace(settings, model=str(path), mode="unit", epochs=8, learning_rate=0.02))
    assert result.test.accuracy > 0.7
    sigmoid = keras.layers.Dense(10, activation="sigmoid")
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), sigmoid]).save(path)
    with pytest.raises(InputError, match="ends in Dense with sigmoid"):
        train(dataclasses.replace(settings, model=str(path), mode="unit", out=tmp_path / "n.keras"))


def test_a_trained_model_is_trained_further_by_its_description(settings, tmp_path, class_folders):
    train(dataclasses.replace(settings, epochs=1, mode="unit"))
    further = dataclasses.replace(settings, model=str(settings.out), mode=None, out=tmp_path / "n.keras", epochs=1)
    train(further)
    assert json.loads(further.sidecar_file.read_text())["preprocessing"]["mode"] == "unit"
    with pytest.raises(InputError, match=r"mode tf was requested, but .* states"):
        train(dataclasses.replace(further, mode="tf"))
    with pytest.raises(DataError, match=r"has 10 classes, .* has 2"):
        train(dataclasses.replace(further, data=str(class_folders), limit=None))


def test_resume_refuses_another_training(settings):
    stopped_after(1, settings)
    with pytest.raises(InputError, match="holds an unfinished training, 1 epochs of 3") as caught:
        train(settings)
    assert "--resume" in caught.value.hint
    with pytest.raises(InputError, match=r"another training: batch was 32, now 16; seed was 0, now 1"):
        train(dataclasses.replace(settings, resume=True, batch=16, seed=1))


def test_what_a_kill_between_the_files_leaves_is_harmless(settings):
    stopped_after(2, settings)
    checkpoints = Checkpoints(settings.checkpoint_folder)
    (settings.checkpoint_folder / ".epoch-0003.keras.x1.keras").write_bytes(b"half")  # killed while writing
    checkpoints.model_file(3).write_bytes(b"whole, but not yet named by the state")
    result = train(dataclasses.replace(settings, resume=True))
    assert result.epochs == 3
    left = sorted(path.name for path in settings.checkpoint_folder.iterdir())
    assert len([name for name in left if name.endswith(".keras")]) <= 2
    assert not [name for name in left if name.startswith(".")]


def test_a_damaged_checkpoint_is_refused(settings):
    stopped_after(1, settings)
    checkpoints = Checkpoints(settings.checkpoint_folder)
    checkpoints.model_file(1).unlink()
    with pytest.raises(InputError, match=r"names epoch-0001\.keras, which does not exist"):
        train(dataclasses.replace(settings, resume=True))
    (settings.checkpoint_folder / "state.json").write_text('{"schema": "edge-checkpoint/1"}')
    with pytest.raises(InputError, match="is not a checkpoint"):
        checkpoints.load()


def stopped_after(epochs, settings):
    class StopHere(Exception):  # noqa: N818
        pass

    def stop(epoch):
        if epoch.epoch == epochs:
            raise StopHere

    with pytest.raises(StopHere):
        train(settings, TrainingCallbacks(on_epoch=stop))


def test_batches_see_every_sample_once_in_an_order_of_the_epoch(tiny):
    source = open_data("digits", preprocessing=tiny).pick(33)
    orders = []
    for epoch in (1, 2):
        batches = Batches(source, 8, seed=(0, epoch))
        assert len(batches) == 4  # a last batch of one is left out
        orders.append(np.concatenate([labels for _, labels in map(batches.__getitem__, range(4))]))
    assert (orders[0] != orders[1]).any()
    plain = Batches(source, 8)
    assert len(plain) == 5
    seen = np.concatenate([plain[index][1] for index in range(5)])
    assert (seen == source.labels).all()
    assert plain[0][0].shape == (8, 8, 8, 3)
    assert batch_count(1, 8, training=True) == 1


def test_augmentation_mirrors_and_moves_within_bounds(noise):
    x = noise(16, 16, 3).astype(np.float32)
    flipped = {bool((augment_input(x, ("flip",), np.random.default_rng(seed)) == x).all()) for seed in range(20)}
    assert flipped == {True, False}
    moved = [augment_input(x, ("shift",), np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.shape == x.shape for one in moved)
    assert all((one[4:12, 4:12] != x[4:12, 4:12]).any() or (one == x).all() for one in moved)
    assert len({one.tobytes() for one in moved}) > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
        ({"validation": 0.6, "test": 0.5}, "leave something to train on"),
        ({"augment": ("mixup",)}, "augmentations are flip, shift, got mixup"),
        ({"out": None}, r"written as \.keras"),
    ],
)
def test_settings_are_checked_before_anything_is_loaded(settings, change, message):
    if "out" in change:
        change = {"out": settings.out.with_suffix(".h5")}
    with pytest.raises(EdgeError, match=message):
        dataclasses.replace(settings, **change)
