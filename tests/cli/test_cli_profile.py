"""`edge profile` as a process on a real model, with tiny windows: what it prints, writes and exits with."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edge.measure.measurement_files import load_measurements, measurement_from_json

TINY = ("--warmup-seconds", "0.01", "--window-seconds", "0.01", "--no-all-cores")
# Two windows are too few to be valid, on any machine.
INVALID = (*TINY, "--windows", "2", "--no-kernels")


@pytest.fixture(scope="module")
def model(shared_data) -> Path:
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


def edge(*args, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "edge", "profile", *map(str, args)], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_json_is_one_whole_measurement_with_kernels_by_name(model):
    ended = edge(model, "--on", "local", "--json", "--quick", *TINY)
    assert (ended.returncode, ended.stderr) == (0, "")
    measurement = measurement_from_json(json.loads(ended.stdout))
    assert measurement.plan.quick
    assert any("quick plan" in note for note in measurement.notes)
    assert any("DWConv" in kernel.name for kernel in measurement.kernels)
    assert measurement.latency_all_cores_ms is None


def test_text_says_invalid_loudly_and_the_exit_status_stays_0(model):
    ended = edge(model, *INVALID)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "INVALID: do not rely on these figures" in ended.stdout
    assert "the number of windows is 2, at least 5 are needed" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_strict_prints_the_result_and_exits_11(model):
    ended = edge(model, *INVALID, "--strict", "--json")
    assert ended.returncode == 11
    assert json.loads(ended.stdout)["validity"]["valid"] is False
    assert "error: 1 of 1 measurements are invalid" in ended.stderr


def test_a_damaged_file_does_not_lose_the_other_and_sets_the_status(model, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(model.read_bytes()[:4000])
    ended = edge(damaged, model, tmp_path / "none.tflite", *INVALID, "--json", "--out", tmp_path / "out.json")
    assert ended.returncode == 4
    assert [each["artifact"]["name"] for each in json.loads(ended.stdout)] == [model.stem]
    assert f"error: {damaged}" in ended.stderr
    assert "error: 2 of 3 files could not be measured" in ended.stderr
    assert isinstance(json.loads((tmp_path / "out.json").read_text()), list)
    assert [each.artifact.name for each in load_measurements(tmp_path / "out.json")] == [model.stem]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["none.tflite"], 3, ["none.tflite", "No such file", "hint:"]),
        (["."], 3, ["Is a directory"]),
        (["none.tflite", "--on", "locl"], 3, ["locl", "local"]),
        (["none.tflite", "--windows", "0"], 2, ["--windows"]),
        (["none.tflite", "--window-seconds", "nan"], 3, ["window_s", "nan"]),
        ([], 2, ["FILE"]),
    ],
)
def test_what_cannot_be_profiled_is_a_message(args, code, words, tmp_path):
    ended = edge(*args, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (code, "")
    for word in words:
        assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_runtime_that_is_not_there_exits_8(model):
    ended = edge(model, *INVALID, "--runtime", "no-such-runtime")
    assert (ended.returncode, ended.stdout) == (8, "")
    assert "no-such-runtime" in ended.stderr


def test_out_that_cannot_be_written_exits_13_and_loses_nothing(model, tmp_path):
    (tmp_path / "file").write_text("")
    ended = edge(model, *INVALID, "--out", tmp_path / "file" / "out.json")
    assert ended.returncode == 13
    assert "could not write" in ended.stderr
    assert "INVALID" in ended.stdout


def test_progress_is_drawn_on_a_terminal_only(model):
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "profile", str(model), *INVALID], stdout=subprocess.PIPE, stderr=theirs
        )
        stdout, _ = process.communicate()
        os.close(theirs)
        drawn = os.read(ours, 1 << 16)
    finally:
        os.close(ours)
    assert process.returncode == 0
    assert b"profiling" in drawn
    assert b"profiling" not in stdout


def test_profiling_loads_no_tensorflow(model):
    code = (
        "import sys; from edge.cli.main import run; code = run(sys.argv[1:]);"
        "sys.exit(code or any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "profile", str(model), *INVALID], capture_output=True, check=False
    )
    assert ended.returncode == 0
