"""Deploying to an emulated board: the golden vectors of this machine are run by the board's processor and runtime."""

from __future__ import annotations

import shutil

import pytest

from devices.emulated.build_cache import DEBIAN_PACKAGES
from devices.emulated.device import create_emulated_device
from devices.errors import PreparationError
from devices.solver.errors import WheelError
from edge.workflows.deployment import Deployment, DeployRequest, release_status


@pytest.fixture
def pi4(require_part, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path / "config"))
    for program in ("qemu-aarch64", "mmdebstrap"):
        if shutil.which(program) is None:
            require_part(program, f"apt install {DEBIAN_PACKAGES[program]}")
    device = create_emulated_device("emulated-pi4")
    try:
        device.prepare()
    except (PreparationError, WheelError) as error:
        require_part("packages and wheels for aarch64", str(error))
    return device


def test_a_model_is_checked_by_the_boards_own_processor(pi4, shared_data, tmp_path):
    model = shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"
    root = str(tmp_path / "root")
    done = Deployment(DeployRequest(model=model, root=root)).to(pi4)
    assert done.golden.passed
    assert done.golden.runtime.name == pi4.facts().runtimes[0].name
    status = release_status(pi4, root=root)
    assert (status.current, status.damaged) == (done.release, ())
