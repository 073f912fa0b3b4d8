"""Learning from a trained model: the loss in figures, the rows that carry the teacher's answers, whole trainings."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from converters.artifact.preprocessing import Preprocessing
from edge.errors import InputError
from edge.training.pruning_plan import Pruning
from edge.training.training_loop import TrainingCallbacks, train
from edge.training.training_settings import Distillation, TrainingSettings


def dense_network(width, *, side=8, classes=10, activation="softmax"):
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((side, side, 3))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(layers.Conv2D(width, 3, strides=2)(x)))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(layers.Conv2D(2 * width, 1, name="block_0_project")(x)))
    return keras.Model(inputs, layers.Dense(classes, activation=activation)(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A small network with new weights, as a file."""
    path = tmp_path_factory.mktemp("student") / "student.keras"
    dense_network(8).save(path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A wider one, trained for a moment."""
    folder = tmp_path_factory.mktemp("teacher")
    dense_network(24).save(folder / "new.keras")
    settings = TrainingSettings(model=str(folder / "new.keras"), data="digits", out=folder / "teacher.keras",
                                mode="tf", epochs=4, limit=400, learning_rate=0.01)  # fmt: skip
    train(settings)
    return settings.out


@pytest.fixture
def settings(tmp_path, student, teacher):
    """A short training from both labels and teacher."""
    return TrainingSettings(
        model=str(student), data="digits", out=tmp_path / "m.keras", mode="tf", epochs=3, limit=300,
        learning_rate=0.01, distillation=Distillation(teacher=teacher, temperature=3.0, weight=0.7),
    )  # fmt: skip


def test_the_loss_is_that_of_the_paper():
    from edge.training.distillation import DistillationLoss

    rng = np.random.default_rng(0)
    scores, taught = rng.normal(0, 2, (2, 5, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 5)

    def softmax(values):
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    rows = np.concatenate([labels[:, np.newaxis], softmax(taught)], axis=1).astype(np.float32)
    hard = -np.log(softmax(scores)[np.arange(5), labels])
    soft_teacher, soft_student = softmax(taught / 3), softmax(scores / 3)
    soft = (soft_teacher * np.log(soft_teacher / soft_student)).sum(axis=1)
    expected = (0.3 * hard + 0.7 * 9 * soft).mean()
    for from_logits, given in ((True, scores), (False, softmax(scores))):
        loss = DistillationLoss(temperature=3.0, weight=0.7, from_logits=from_logits)
        assert float(loss(rows, given)) == pytest.approx(expected, rel=1e-4)
        assert float(loss(labels, given)) == pytest.approx(hard.mean(), rel=1e-4)
        again = DistillationLoss.from_config(loss.get_config())
        assert float(again(rows, given)) == pytest.approx(expected, rel=1e-4)
    at_rest = DistillationLoss(temperature=3.0, weight=1.0, from_logits=True)
    assert float(at_rest(rows, taught)) == pytest.approx(0, abs=1e-5)


def test_accuracy_counts_labels_with_and_without_the_teacher():
    from edge.training.distillation import LabelAccuracy

    metric, scores = LabelAccuracy(), np.eye(4, dtype=np.float32)
    metric.update_state(np.array([0, 1, 2, 0]), scores)
    metric.update_state(np.array([[0, 1, 0, 0, 0], [0, 1, 0, 0, 0]], np.float32), scores[:2])
    assert float(metric.result()) == pytest.approx(4 / 6)


def test_the_teacher_sees_the_images_as_the_student_does(settings, teacher):
    import keras

    from edge.data.batches import Batches
    from edge.data.splits import split_dataset
    from edge.training.distillation import DistilledBatches, Teacher

    parts = split_dataset(settings.split_options, Preprocessing.for_mode("tf", 8, 8, 3))
    model = keras.models.load_model(teacher)
    batches = DistilledBatches(Teacher(model, from_logits=False), parts.train, 16, seed=(0, 1), augment=("shift",))
    inputs, rows = batches[0]
    assert rows.shape == (16, 11)
    assert rows[:, 1:] == pytest.approx(np.asarray(model(inputs, training=False)), abs=1e-5)
    assert rows[:, 1:].sum(axis=1) == pytest.approx(np.ones(16), abs=1e-5)
    plain = Batches(parts.train, 16, seed=(0, 1), augment=("shift",))[0]
    assert (rows[:, 0] == plain[1]).all()
    assert (inputs == plain[0]).all()


def test_a_distilled_training_learns_and_leaves_the_teacher_alone(settings, teacher):
    import keras

    before = hashlib.sha256(teacher.read_bytes()).hexdigest()
    epochs = []
    result = train(settings, TrainingCallbacks(on_epoch=epochs.append))
    losses = [epoch.loss for epoch in epochs]
    assert losses[0] > losses[1] > losses[2]
    assert result.test.accuracy > 0.5
    assert hashlib.sha256(teacher.read_bytes()).hexdigest() == before
    report = result.to_json()["distillation"]
    assert report == {"teacher": str(teacher), "temperature": 3.0, "weight": 0.7, "teacher_sha256": before}
    assert json.loads(result.sidecar.read_text())["distillation"] == report
    # Accuracy and validation loss are those of the labels, as in any training.
    assert 0 <= epochs[-1].val_accuracy <= 1
    assert epochs[-1].val_loss < epochs[0].val_loss
    assert len(keras.models.load_model(settings.out).layers) == 9  # a plain model: no class of this project in it


def test_a_dense_model_teaches_its_own_pruning_and_a_stop_does_no_harm(settings, teacher):
    class StopHere(Exception):  # noqa: N818
        pass

    def stop(epoch):
        if epoch.epoch == 2:
            raise StopHere

    pruning = Pruning(sparsity=0.8, block="4", every=3)
    fine = dataclasses.replace(settings, model=str(teacher), mode=None, epochs=3, pruning=pruning)
    with pytest.raises(StopHere):
        train(fine, TrainingCallbacks(on_epoch=stop))
    result = train(dataclasses.replace(fine, resume=True))
    assert result.epochs == 3
    row = result.pruning["layers"][0]
    assert abs(row["zeros"] - 0.8 * row["parameters"]) <= 4
    assert result.test.accuracy > 0.5
    other = dataclasses.replace(fine, resume=True, distillation=dataclasses.replace(fine.distillation, weight=0.1))
    with pytest.raises(InputError, match="is of another training: distillation was"):
        train(other)


@pytest.mark.parametrize(
    ("side", "classes", "message"),
    [(12, 10, r"takes \(12, 12, 3\) and has 10 classes"), (8, 7, r"takes \(8, 8, 3\) and has 7 classes")],
)
def test_a_teacher_of_other_images_or_classes_is_refused(settings, tmp_path, side, classes, message):
    dense_network(4, side=side, classes=classes).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(settings, distillation=Distillation(teacher=tmp_path / "other.keras")))


def test_a_teacher_that_wants_other_pixels_is_refused(settings, teacher, tmp_path):
    (tmp_path / "t.keras").write_bytes(teacher.read_bytes())
    sidecar = json.loads(teacher.with_suffix(".json").read_text())
    sidecar["preprocessing"] = Preprocessing.for_mode("unit", 8, 8, 3).to_json()
    (tmp_path / "t.json").write_text(json.dumps(sidecar))
    with pytest.raises(InputError, match="takes other preprocessing than the student: unit, not tf"):
        train(dataclasses.replace(settings, distillation=Distillation(teacher=tmp_path / "t.keras")))


def test_distillation_is_checked_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError, match=r"a teacher is a \.keras file"):
        Distillation(teacher=tmp_path / "teacher.h5")
    for change in ({"temperature": 0.0}, {"weight": 0.0}, {"weight": 1.1}):
        with pytest.raises(InputError, match="temperature must be above 0"):
            Distillation(**{"teacher": tmp_path / "t.keras", **change})
