"""`edge train` as a process: messages and exit codes, a kill at any moment, an interrupt, a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from edge.training.training_loop import train
from edge.training.training_settings import TrainingSettings

DEADLINE_S = 600
EDGE = [sys.executable, "-m", "edge", "train"]


def edge_train(*args, **options):
    return subprocess.run([*EDGE, *map(str, args)], capture_output=True, text=True, check=False,
                          timeout=DEADLINE_S, **options)  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "message", "hint"),
    [
        (("simplenet_cifar_310", "--data", "digits"), 3, "no model is called 'simplenet_cifar_310'", "edge models"),
        (("simplenet_cifar_310k", "--data", "digts"), 3, "there is no data at digts", "digits"),
        (("simplenet_cifar_310k", "--data", "digits", "--alpha", "1"), 3, "takes no argument 'alpha'", "leave alpha"),
        (
            ("simplenet_cifar_310k", "--data", "digits", "--classes", "7"),
            5,
            "has 7 classes, digits has 10",
            "--classes",
        ),
        (("simplenet_cifar_310k", "--data", "{one}"), 5, "1 class to learn (bright)", "one folder per class"),
        (("simplenet_cifar_310k", "--data", "{plain}"), 5, "has no labels (pictures)", "labels.csv"),
        (
            ("simplenet_cifar_310k", "--data", "digits", "--limit", "4"),
            5,
            "one sample of each class",
            "a larger --limit",
        ),
        (("simplenet_cifar_310k", "--data", "digits", "--epochs", "0"), 2, "--epochs", ""),
        (("gone.keras", "--data", "digits"), 3, "there is no model gone.keras", "edge models"),
        (("model.h5", "--data", "digits"), 3, "give a name of `edge models` or a .keras", "save it as .keras"),
    ],
)
def test_bad_input_is_a_message_a_hint_and_an_exit_code(tmp_path, class_folders, save_image, args, code, message, hint):
    save_image(tmp_path / "one" / "bright" / "1.png")
    for index in range(9):
        save_image(tmp_path / "one" / "bright" / f"{index}.png")
    places = {"one": tmp_path / "one", "plain": class_folders / "dark"}
    done = edge_train(*(arg.format(**places) for arg in args), "--out", tmp_path / "m.keras")
    assert done.returncode == code, done.stderr
    assert any(part in done.stderr for part in message.split("|")), done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "m.keras").exists()


def test_a_wrong_suffix_is_refused_before_anything_is_loaded(tmp_path):
    done = edge_train("simplenet_cifar_310k", "--data", "digits", "--out", tmp_path / "m.tflite")
    assert done.returncode == 3
    assert f"hint: --out {tmp_path / 'm.keras'}" in done.stderr


def test_a_keras_file_must_say_how_it_wants_its_pixels(tmp_path, tiny_model):
    done = edge_train(tiny_model, "--data", "digits", "--out", tmp_path / "m.keras")
    assert done.returncode == 3
    assert "--preprocessing tf|torch" in done.stderr
    (tmp_path / "broken.keras").write_bytes(tiny_model.read_bytes()[:1000])
    done = edge_train(tmp_path / "broken.keras", "--data", "digits", "--out", tmp_path / "m.keras")
    assert done.returncode == 3
    assert "cannot be loaded as a Keras model" in done.stderr


def started(args, checkpoints, epochs):
    """Start `edge train` and wait until so many epochs are on disk."""
    process = subprocess.Popen([*EDGE, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until and process.poll() is None:
        state = checkpoints / "state.json"
        if state.is_file() and len(json.loads(state.read_text())["history"]) >= epochs:
            return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_result_of_an_unbroken_one(tmp_path, tiny_model):
    args = [tiny_model, "--data", "digits", "--preprocessing", "tf", "--limit", 600, "--batch", 8, "--epochs", 12,
            "--patience", 12, "--augment", "shift", "--out", tmp_path / "killed.keras"]  # fmt: skip
    checkpoints = tmp_path / "killed-checkpoints"
    for resume, epochs in (([], 2), (["--resume"], 4)):
        process = started([*args, *resume], checkpoints, epochs)
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        assert not (tmp_path / "killed.keras").exists()
    done = edge_train(*args, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert "continuing after epoch" in done.stderr
    result = json.loads(done.stdout)

    unbroken = TrainingSettings(
        model=str(tiny_model), data="digits", out=tmp_path / "unbroken.keras", mode="tf", limit=600, batch=8,
        epochs=12, patience=12, augment=("shift",),
    )  # fmt: skip
    expected = train(unbroken)
    histories = [json.loads((tmp_path / f"{name}-history.json").read_text()) for name in ("killed", "unbroken")]
    epochs = [[entry["epoch"] for entry in history["epochs"]] for history in histories]
    assert epochs[0] == epochs[1] == list(range(1, 13))
    for figure in ("loss", "val_loss", "learning_rate"):
        killed, whole = ([entry[figure] for entry in history["epochs"]] for history in histories)
        assert killed == pytest.approx(whole, rel=1e-3)
    assert result["metrics"]["test"]["correct"] == expected.test.correct
    assert result["best_epoch"] == expected.best_epoch


@pytest.mark.slow
def test_an_interrupt_ends_with_a_message_and_keeps_the_checkpoint(tmp_path, tiny_model):
    args = [tiny_model, "--data", "digits", "--preprocessing", "tf", "--epochs", 500, "--patience", 500]
    process = started([*args, "--out", tmp_path / "m.keras"], tmp_path / "m-checkpoints", 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, err
    assert "--resume continues from there" in err
    assert "Traceback" not in err
    assert out == ""
    assert (tmp_path / "m-checkpoints" / "state.json").is_file()
    assert not (tmp_path / "m.keras").exists()


@pytest.mark.slow
def test_a_full_disk_is_a_message_and_leaves_nothing_half_written(tmp_path, tiny_model):
    def no_large_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a file beyond it fails as on a full disk

    done = edge_train(tiny_model, "--data", "digits", "--preprocessing", "tf", "--limit", 200, "--epochs", 1, "--out",
                      tmp_path / "m.keras", preexec_fn=no_large_files,
                      env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})  # fmt: skip
    assert done.returncode == 13, done.stderr
    assert "could not write" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_simplenet_310k_learns_the_digits(tmp_path):
    done = edge_train("simplenet_cifar_310k", "--data", "digits", "--out", tmp_path / "digits.keras", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["parameters"] == 314_218
    assert result["metrics"]["test"]["of"] == 359
    assert result["metrics"]["test"]["accuracy"] >= 0.97
    assert "epoch 1/12  loss" in done.stderr
