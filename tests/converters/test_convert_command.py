"""`edge convert` as a real process: exit codes, messages, and what is left in the folder."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EDGE = [sys.executable, "-m", "edge", "convert"]
SMALL = ["mobilenet_v2", "--alpha", "0.35", "--image-size", "32", "--classes", "5"]
DEADLINE_S = 240


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EDGE, *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory, digit_scans):
    """Save real scans with labels as an .npz file that fits the classifier."""
    path = tmp_path_factory.mktemp("data") / "scans.npz"
    np.savez(path, x=digit_scans.x[1500:1600], y=digit_scans.y[1500:1600])
    return path


def test_several_recipes_with_labels_as_json(classifier_file, scans, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {n}" for n in range(10)))
    out = tmp_path / "out"
    done = run(classifier_file, "--to", "fp32,int8", "--calibrate", scans, "--labels", names, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert [value["name"] for value in values] == ["digits-fp32", "digits-int8"]
    assert values[0]["labels"][3] == "digit 3"
    assert values[0]["assumed"] is True
    assert values[1]["calibration"]["samples"] == 100
    assert values[1]["parity"]["accuracy"]["of"] == 100
    assert sorted(path.name for path in out.iterdir()) == [
        "digits-fp32.json", "digits-fp32.tflite", "digits-int8.json", "digits-int8.tflite",
    ]  # fmt: skip
    assert json.loads((out / "digits-int8.json").read_text()) == values[1]
    # Only our own talk: nothing of TensorFlow's, absl's or LiteRT's.
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["preprocessing is unknown for digits.keras"]


BAD = {
    "missing": (3, ["nothing.keras", "--to", "fp32"], "there is no model at nothing.keras"),
    "unknown name": (3, ["mobilenet_v3x", "--to", "fp32"], "mobilenet_v2"),
    "no calibration": (5, [*SMALL, "--to", "int8"], "ranges must be measured on real inputs"),
    "recipe": (2, [*SMALL, "--to", "int9"], "did you mean int8"),
    "seed": (2, [*SMALL, "--to", "fp32", "--seed", "-1"], "-1"),
    "name with a folder": (2, [*SMALL, "--to", "fp32", "--name", "../up"], "'../up' is not a file name"),
    "name of two lines": (2, [*SMALL, "--to", "fp32", "--name", "a\nb"], "is not a file name"),
    "empty name": (2, [*SMALL, "--to", "fp32", "--name", ""], "is not a file name"),
    "no number": (2, [*SMALL, "--to", "fp32", "--tolerance", "accuracy_drop=nan"], "a tolerance is a number from 0"),
    "tolerance": (2, [*SMALL, "--to", "fp32", "--tolerance", "speed=1"], "tolerances are relative_rms_error"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(case, tmp_path):
    code, arguments, words = BAD[case]
    done = run(*arguments, "--out", tmp_path / "out")
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("nothing.keras", "--to", "fp32", "--out", tmp_path / "file" / "out")
    assert done.returncode == 13
    assert f"{tmp_path / 'file'} is no folder" in done.stderr


def test_parity_failure_names_the_layer_and_leaves_only_what_passed(classifier_file, scans, tmp_path):
    done = run(classifier_file, "--to", "fp32,int8", "--calibrate", scans, "--out", tmp_path, "--preprocess", "tf",
               "--tolerance", "relative_rms_error=0.0001")  # fmt: skip
    assert done.returncode == 7
    assert "int8: too far from the Keras model on 100 inputs" in done.stderr
    assert "grows at layer '" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-fp32.json", "digits-fp32.tflite"]


def test_label_count_mismatch(classifier_file, scans, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("only\nthree\nnames\n")
    done = run(classifier_file, "--to", "fp32", "--labels", names, "--out", tmp_path / "out")
    assert done.returncode in (3, 5)
    assert "3" in done.stderr
    assert "10" in done.stderr
    assert not (tmp_path / "out").exists()


def test_interrupt_during_conversion_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    command = [*EDGE, *SMALL, "--to", "fp32,fp16,dynamic", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert "random weights" in process.stderr.readline()  # the model is built; tracing and converting come next
        assert "drawn" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, told
    assert "interrupted" in told
    assert not out.exists() or not list(out.iterdir())


_PUBLISHING = """
import sys
from dataclasses import replace
from pathlib import Path
from converters.artifact.sidecar import publish
import pickle
artifact = pickle.loads(Path(sys.argv[1]).read_bytes())
print("ready", flush=True)
while True:
    records = [replace(artifact.record, name=f"variant{n}") for n in range(4)]
    publish([replace(artifact, record=record, folder=Path(sys.argv[2])) for record in records])
"""


def test_kill_while_publishing_leaves_no_pair_that_looks_whole_and_is_not(artifacts, tmp_path):
    import pickle

    (tmp_path / "artifact.pickle").write_bytes(pickle.dumps(artifacts["fp32"]))
    for attempt in range(3):
        out = tmp_path / f"out{attempt}"
        command = [sys.executable, "-c", _PUBLISHING, str(tmp_path / "artifact.pickle"), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
            assert process.stdout.readline() == "ready\n"
            while not list(out.glob("*.json")):
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
        whole = [path for path in out.glob("*.tflite") if not path.name.startswith(".")]
        for path in whole:
            value = json.loads(path.with_suffix(".json").read_text())
            assert value["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_disk_full_while_writing(classifier_file, tmp_path, require_part):
    mounted = tmp_path / "small"
    mounted.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(size, capture_output=True, check=False).returncode != 0:
        require_part("a file system of 24 kB", "the right to mount a tmpfs (root)")
    try:
        done = run(classifier_file, "--to", "fp32,fp16", "--out", mounted / "out", "--preprocess", "tf")
        left = [path for path in (mounted / "out").rglob("*") if path.is_file()]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    assert done.returncode == 13
    assert "could not write" in done.stderr
    assert "No space left" in done.stderr
    assert left == []
