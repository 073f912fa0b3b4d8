"""Deploying a model compiled for the Edge TPU: checked by the one it was compiled from, through the delegate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from devices.local import LocalDevice
from devices.releases.errors import GoldenError
from edge.errors import DataError, InputError
from edge.runtime import load
from edge.runtime.delegates import Delegate
from edge.runtime.errors import DelegateError
from edge.workflows.deployment import Deployment, DeployRequest, release_status, rollback

COMPILED, WHOLE = "mobilenet_v1_0.25_128_quant_edgetpu.tflite", "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture
def board(tmp_path, pairs, monkeypatch):
    """A function that deploys to a root of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def deploy(model: str = COMPILED, **changes):
        if changes.get("reference"):
            changes["reference"] = pairs / changes["reference"]
        request = DeployRequest(model=pairs / model, root=str(tmp_path / "root"), **changes)
        return Deployment(request).to(LocalDevice())

    return deploy


@pytest.fixture
def dull(pairs, tmp_path) -> str:
    """A picture of which the model has so little to say that all its scores are near 0."""
    with load(pairs / WHOLE) as model:
        for seed in range(200):
            picture = np.random.default_rng(seed).integers(100, 156, (1, 128, 128, 3), np.uint8)
            if model.run(picture)[0].max() <= 14:
                np.save(tmp_path / "dull.npy", picture)
                return str(tmp_path / "dull.npy")
    pytest.fail("every picture says something")


def test_a_compiled_model_without_a_reference_is_refused_before_the_board_is_asked(board):
    with pytest.raises(InputError, match="its expected outputs are unknown") as caught:
        board()
    assert "--reference" in caught.value.hint
    assert board(golden="none").golden is None


def test_a_reference_that_is_another_model(board):
    with pytest.raises(DataError, match=r"split_concat.tflite is not what .* was compiled from: its inputs are"):
        board(reference="split_concat.tflite")


def test_the_board_without_a_delegate_refuses_and_nothing_serves(board, tmp_path):
    with pytest.raises(DelegateError, match="the file was not run"):
        board(reference=WHOLE)
    assert not (tmp_path / "root" / "current").exists()


def test_a_delegate_that_computes_something_else_does_not_serve(board, stand_in, tmp_path):
    with pytest.raises(GoldenError, match="gives other outputs"):
        board(reference=WHOLE, delegates=(Delegate(stand_in, {"fill": "200"}),))
    assert not (tmp_path / "root" / "current").exists()


def test_one_that_computes_nearly_the_same_serves_and_is_rolled_back_to_through_its_delegate(
    board, stand_in, dull, tmp_path
):
    """The stand-in answers 0 for every class, which is right within 16 steps for this picture."""
    done = board(reference=WHOLE, delegates=(Delegate(stand_in, {"fill": "0"}),), golden=dull)
    assert done.golden.passed
    assert (done.golden.worst.unit, done.golden.worst.limit) == ("steps", 16)
    with np.load(tmp_path / "root" / "current" / "golden.npz") as archive:
        about = json.loads(archive["about"].tobytes())
    assert about["delegates"] == [{"library": stand_in, "options": {"fill": "0"}}]
    assert about["reference"] == WHOLE
    board(WHOLE, golden="none")
    back = rollback(LocalDevice(), root=str(tmp_path / "root"))
    assert back.golden.passed
    assert release_status(LocalDevice(), root=str(tmp_path / "root")).current == done.release


def test_an_ordinary_model_needs_no_delegates(board, tmp_path):
    assert board(WHOLE).golden.worst.limit == 2
    with np.load(tmp_path / "root" / "current" / "golden.npz") as archive:
        assert json.loads(archive["about"].tobytes())["delegates"] == []


def test_the_command(pairs, stand_in, dull, tmp_path):
    argv = [
        sys.executable, "-m", "edge", "deploy", pairs / COMPILED, "--to", "local", "--release-root", tmp_path / "root",
        "--reference", pairs / WHOLE, "--delegate", stand_in, "--golden", dull, "--json",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    served = Path(tmp_path / "root" / "current" / "model.tflite").read_bytes()
    assert served == (pairs / COMPILED).read_bytes()
