"""Models compiled for the Edge TPU on a board behind OpenSSH's server: refused there with that board's own advice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.runtime.coral import advice, here

STAND_IN = Path(__file__).parents[1] / "coral" / "stand_in.c"
DEADLINE_S = 120.0


def edge(*arguments) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "edge", *map(str, arguments)]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.fixture(scope="module")
def board(openssh) -> str:
    """The server, added as device pi4."""
    where = ["--port", openssh.port, "--identity", openssh.identity, "--fingerprint", openssh.fingerprint]
    done = edge("devices", "add", "pi4", f"{openssh.user}@127.0.0.1", *where)
    assert done.returncode == 0, done.stderr
    return "pi4"


@pytest.fixture(scope="module")
def library(tmp_path_factory, require_part) -> Path:
    """A delegate's library, which the board has at this path, too."""
    if shutil.which("gcc") is None:
        require_part("a C compiler", "apt install gcc")
    path = tmp_path_factory.mktemp("library") / "libstand_in.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", path, STAND_IN], check=True)
    return path


@pytest.fixture(scope="module")
def compiled(shared_data) -> Path:
    return shared_data / "edgetpu_pairs" / "deeplab_mobilenet_edgetpu_slim_cityscapes_quant_edgetpu.tflite"


def test_without_a_delegate_the_board_refuses_and_says_what_it_needs(board, shared_data, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 128, 128, 3), np.uint8))
    model = shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    done = edge("run", model, tmp_path / "x.npy", "--on", board)
    assert done.returncode == 8, done.stderr
    assert "the file was not run" in done.stderr
    assert advice(here()) in done.stderr  # the server is this machine


def test_a_library_that_the_board_does_not_have(board, compiled):
    done = edge("profile", compiled, "--quick", "--on", board, "--tpu", "usb:0")
    assert done.returncode == 8, done.stderr
    assert "cannot load the delegate libedgetpu.so.1;device=usb:0" in done.stderr


def test_the_parts_of_an_inference_are_timed_there(board, compiled, library):
    """The CPU's operators travel to the board as a file of their own."""
    short = ("--quick", "--window-seconds", "0.01", "--warmup-seconds", "0", "--no-all-cores", "--cool-wait", "0")
    done = edge("profile", compiled, "--on", board, "--delegate", library, *short, "--json")
    assert done.returncode == 0, done.stderr
    measurement = json.loads(done.stdout)
    assert measurement["device"]["name"] == board
    assert measurement["accelerated"]["cpu"]["operators"] == ["RESIZE_BILINEAR", "ARG_MAX"]
    assert measurement["accelerated"]["cpu"]["median_ms"] > 0


def test_a_crash_there_is_a_message(board, compiled, library):
    done = edge("profile", compiled, "--quick", "--on", board, "--delegate", f"{library};fail=crash")
    assert done.returncode == 9
    assert "died with SIGSEGV" in done.stderr
    assert f"with the delegate {library};fail=crash loaded" in done.stderr
