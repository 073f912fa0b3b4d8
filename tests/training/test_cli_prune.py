"""`edge prune` from end to end: files, figures, messages; what `edge convert` and `edge train` make of its result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from converters.artifact.preprocessing import Preprocessing
from converters.inspection.inspect import inspect
from edge.cli.main import run
from edge.training.trainable_model import find_trainable_model
from edge.training.training_settings import TrainingSettings

EDGE = str(Path(sys.executable).with_name("edge"))


@pytest.fixture(scope="module")
def model():
    """A network of 1x1 convolutions, untrained."""
    keras.utils.set_random_seed(3)
    inputs = layers.Input((8, 8, 1))
    x = layers.ReLU()(layers.Conv2D(16, 3, strides=2, padding="same")(inputs))
    x = layers.BatchNormalization()(layers.Conv2D(24, 1, use_bias=False, name="wide")(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 1, activation="relu", name="narrow")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def dense(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("dense") / "dense.keras"
    model.save(path)
    return path


@pytest.fixture
def prune(capsys):
    """A function that runs the command here and returns exit code, stdout and stderr."""

    def call(*args):
        code = run(["prune", *map(str, args)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_model_and_images_give_a_sparse_model_and_its_description(tmp_path, dense, prune, capsys):
    out = tmp_path / "sparse.keras"
    code, said, err = prune(
        dense, "--sparsity", 0.75, "--block", 2, "--layer", "narrow=:4", "--calibrate", "digits", "--limit", 60,
        "--evaluate", "digits", "--preprocess", "unit", "--out", out, "--json",
    )  # fmt: skip
    assert code == 0, err
    result, sidecar = json.loads(said), json.loads(out.with_suffix(".json").read_text())
    assert result["pruning"] == sidecar["pruning"]
    assert sidecar["preprocessing"] == Preprocessing.for_mode("unit", 8, 8, 1).to_json()
    assert result["corrected_with"] == 60
    assert result["agreement"]["pictures"] == 449, "a quarter is held out"
    assert result["agreement"]["dense"]["of"] == 449
    rows = {row["name"]: row for row in result["pruning"]["layers"]}
    assert [(row["block"], row["zeros"]) for row in rows.values()] == [(2, 288), (4, 288)]
    assert all(row["error_after"] < row["error_before"] for row in rows.values())
    kernel = np.asarray(keras.models.load_model(out).get_layer("wide").kernel)
    assert (kernel == 0).sum() == 288
    again = TrainingSettings(model=str(out), data="digits", out=tmp_path / "more.keras")
    assert find_trainable_model(again).pruned, "edge train keeps the zeros"
    capsys.readouterr()
    converted = ["convert", str(out), "--to", "sparse", "--force", "--out", str(tmp_path), "--name", "lite"]
    assert run(converted) == 0, capsys.readouterr().err
    assert inspect(tmp_path / "lite-sparse.tflite").operator_counts["DENSIFY"] == 2


def test_the_same_seed_gives_the_same_weights_and_the_text_names_figures(tmp_path, dense, prune):
    kernels = []
    for name in ("a.keras", "b.keras"):
        code, said, err = prune(
            dense, "--sparsity", 0.5, "--calibrate", "digits", "--limit", 40, "--preprocess", "unit",
            "--held-out", 0.02, "--out", tmp_path / name,
        )  # fmt: skip
        assert code == 0, err
        kernels.append(np.asarray(keras.models.load_model(tmp_path / name).get_layer("wide").kernel))
    assert (kernels[0] == kernels[1]).all()
    for part in (
        "wide",
        "192/384",
        "50.00%",
        "same class as the dense model on",
        "none used to correct the weights",
        "b.keras",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("change", "code", "message", "hint"),
    [
        (("--sparsity", "1.5"), 2, "1.5 is not in the range", ""),
        (("--block", "3"), 3, "the block is '3'", "11-16b2"),
        (("--layer", "nowhere=0.5"), 3, "no 1x1 convolution to prune is called 'nowhere'", "wide"),
        (("--layer", "wide=2:2"), 3, "is not a valid option for layers", "LAYERS="),
        (("--calibrate", "gone"), 3, "there is no data at gone", "accepted are"),
        (("--calibrate", "{empty}"), 5, "", ""),
        (("--calibrate", "{one}"), 5, "1 image: some are needed", "--evaluate"),
        (("--out", "{dense}"), 3, "is the model itself", "another file"),
        (("--out", "x.tflite"), 3, "written as .keras", "--out x.keras"),
    ],
)
def test_bad_input_is_a_message_a_hint_and_an_exit_code(
    tmp_path, dense, prune, save_image, change, code, message, hint
):
    (tmp_path / "empty").mkdir()
    save_image(tmp_path / "one" / "a.png")
    places = {"empty": tmp_path / "empty", "one": tmp_path / "one", "dense": dense}
    options = {"--sparsity": "0.5", "--calibrate": "digits", "--preprocess": "unit", "--out": str(tmp_path / "o.keras")}
    options |= {change[0]: change[1].format(**places)}
    got, out, err = prune(dense, *(part for pair in options.items() for part in pair))
    assert got == code, err
    assert message in err
    assert hint in err
    assert out == ""
    assert not (tmp_path / "o.keras").exists()


def test_models_that_cannot_be_pruned(tmp_path, model, dense, prune):
    rest = ("--sparsity", 0.5, "--calibrate", "digits", "--preprocess", "unit", "--out", tmp_path / "o.keras")
    code, _, err = prune("x.tflite", *rest)
    assert code == 3
    assert "edge prune NAME --weights x.tflite" in err
    plain = keras.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])
    plain.save(tmp_path / "plain.keras")
    code, _, err = prune(tmp_path / "plain.keras", *rest)
    assert code == 3
    assert "no 1x1 convolution to prune" in err
    hostile = keras.models.load_model(dense)
    kernel = np.asarray(hostile.get_layer("wide").kernel).copy()
    kernel[0, 0, 1, 2] = np.nan
    hostile.get_layer("wide").kernel.assign(kernel)
    hostile.save(tmp_path / "hostile.keras")
    code, _, err = prune(tmp_path / "hostile.keras", *rest)
    assert code == 3
    assert "wide/kernel holds values that are not finite" in err
    assert not (tmp_path / "o.keras").exists()


def test_an_uneven_block_and_an_assumed_preprocessing_are_reported(tmp_path, prune):
    inputs = layers.Input((8, 8, 1))
    x = layers.Conv2D(6, 1, name="uneven")(layers.Conv2D(4, 3)(inputs))
    keras.Model(inputs, x).save(tmp_path / "uneven.keras")
    out = tmp_path / "o.keras"
    code, said, err = prune(tmp_path / "uneven.keras", "--sparsity", 0.5, "--block", 4, "--calibrate", "digits",
                            "--limit", 20, "--held-out", 0.02, "--out", out, "--json")  # fmt: skip
    assert code == 0, err
    assert "does not divide the output channels of uneven (1)" in err
    assert "is assumed" in err
    assert json.loads(out.with_suffix(".json").read_text())["preprocessing"] is None, "an assumption is no fact"
    agreement = json.loads(said)["agreement"]
    assert agreement["same_top1"] is None, "it is no classifier"
    assert agreement["dense"] is None
    assert agreement["output_sqnr_db"] > 0


@pytest.mark.parametrize(
    ("model", "said"),
    [("gone.keras", "error: there is no model at gone.keras\n"), ("nobody", "error: no model is called 'nobody'")],
)
def test_a_missing_model_is_reported_before_tensorflow_prints_anything(tmp_path, model, said):
    argv = [EDGE, "prune", model, "--sparsity", "0.5", "--calibrate", "digits", "--out", str(tmp_path / "o.keras")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(said)


def test_a_path_is_checked_before_tensorflow_is_loaded(tmp_path):
    code = (
        "import sys\nfrom edge.cli.main import run\n"
        "status = run(['prune', 'gone.keras', '--sparsity', '0.5', '--calibrate', 'digits'])\n"
        "sys.exit(status if 'tensorflow' not in sys.modules else 'TensorFlow was loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3, done.stderr
