"""`edge inspect` as a user runs it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import pytest

QUANTIZED = "models/tf2_mobilenet_v2_1.0_224_ptq.tflite"
TERMINAL_COLUMNS = 80


def edge(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "edge", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def real_files(shared_data):
    return sorted([*(shared_data / "models").glob("*.tflite"), *(shared_data / "edgetpu_pairs").glob("*.tflite")])


def test_every_real_file_fits_a_terminal(shared_data):
    files = real_files(shared_data)
    assert len(files) >= 16  # fewer would mean that a folder was not found
    for file in files:
        done = edge("inspect", file, "--tensors")
        assert (done.returncode, done.stderr) == (0, ""), file
        assert max(map(len, done.stdout.splitlines())) <= TERMINAL_COLUMNS, file


def test_the_text_tells_the_main_figures(shared_data):
    text = edge("inspect", shared_data / QUANTIZED).stdout
    for fact in ("3,489,097", "300,775,552 multiply-accumulates", "full-integer, per-channel", "CONV_2D x 36",
                 "scale 0.0078431377, zero point 127", "20,070,400", "about 1,505,280 bytes"):  # fmt: skip
        assert fact in text


def test_layers_chooses_how_many(shared_data):
    text = edge("inspect", shared_data / QUANTIZED, "--layers", 3).stdout
    assert "Layers (3 of 68, those with the most work)" in text
    assert "Layers" not in edge("inspect", shared_data / QUANTIZED, "--layers", 0).stdout
    assert "Layers (68 of 68)" in edge("inspect", shared_data / QUANTIZED, "--layers", 500).stdout


def test_json_is_whole(shared_data):
    value = json.loads(edge("inspect", shared_data / QUANTIZED, "--json").stdout)
    assert value["schema"] == "edge-inspection/1"
    assert value["macs"]["total"] == 300_775_552
    assert value["parameters"]["count"] == 3_489_097
    assert (len(value["operators"]), len(value["tensors"])) == (68, 177)
    assert value["operators"][1]["op"] == "CONV_2D"
    assert value["operators"][1]["weights"][0]["zeros"] > 0
    assert {type(tensor["variable"]) for tensor in value["tensors"]} == {bool}
    assert value["artifact"] is None


def test_no_tensorflow_and_no_native_runtime(shared_data):
    code = (
        "import sys; from pathlib import Path; from edge.cli.main import run;"
        "assert run(['inspect', sys.argv[1]]) == 0;"
        "assert not {'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules);"
        "assert 'libLiteRt' not in Path('/proc/self/maps').read_text()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared_data / QUANTIZED)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def artifact(shared_data, tmp_path):
    """A copy of a real model; a function writes the artifact file beside it."""
    file = tmp_path / "mobilenet-int8.tflite"
    shutil.copyfile(shared_data / QUANTIZED, file)

    def write(sha256):
        value = {
            "schema": "edge-artifact/1", "sha256": sha256, "created": "2026-01-01T00:00:00Z",
            "recipe": {"name": "int8"}, "source": {"name": "mobilenet_v2"},
            "parity": {"samples": 8, "max_abs_error": 0.25, "cosine": 0.999, "top1_agreement": None},
        }  # fmt: skip
        file.with_suffix(".json").write_text(json.dumps(value))
        return file

    return write


def test_the_artifact_beside_is_shown(shared_data, artifact):
    file = artifact(hashlib.sha256((shared_data / QUANTIZED).read_bytes()).hexdigest())
    done = edge("inspect", file)
    assert "int8 of mobilenet_v2, 2026-01-01T00:00:00Z" in done.stdout
    assert "samples 8, max_abs_error 0.25, cosine 0.999" in done.stdout
    assert done.stderr == ""


def test_an_artifact_of_another_file_is_warned_of_and_not_shown(artifact):
    done = edge("inspect", artifact("0" * 64))
    assert done.returncode == 0
    assert "describes another file" in done.stderr
    assert "mobilenet_v2, 2026" not in done.stdout
    assert json.loads(edge("inspect", artifact("0" * 64), "--json").stdout)["artifact"]["problem"]


def test_an_artifact_file_that_is_no_json_is_warned_of(artifact):
    file = artifact("0" * 64)
    file.with_suffix(".json").write_text("{")
    done = edge("inspect", file)
    assert done.returncode == 0
    assert "cannot be read" in done.stderr


def test_a_missing_file_names_its_neighbours(shared_data):
    done = edge("inspect", shared_data / "models" / "mobilenet_v2_1.0_224.tflite")
    assert done.returncode == 3
    assert "there is no file" in done.stderr
    assert "mobilenet_v2_1.0_224_quant.tflite" in done.stderr


def test_what_is_no_file_is_called_what_it_is(tmp_path):
    (tmp_path / "net.tflite").mkdir()
    (tmp_path / "net.tflite" / "inner.tflite").write_bytes(b"")
    told = {
        "net.tflite": ("net.tflite is a folder, not a .tflite file", "there is inner.tflite"),
        "other.tflite": ("there is no file", "give the path"),
        "net.tflite/inner.tflite/x": ("there is no file", "give the path"),
        "x" * 300: ("there is no file", "give the path"),
    }
    for name, words in told.items():
        done = edge("inspect", tmp_path / name)
        assert done.returncode == 3, done.stderr
        assert all(word in done.stderr for word in words), done.stderr
    done = edge("inspect", "/dev/null")
    assert (done.returncode, "a device or a pipe" in done.stderr) == (3, True)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_what_is_no_model_is_refused(tmp_path, content):
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    done = edge("inspect", file)
    assert done.returncode == 4
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_names_from_a_file_cannot_steer_the_terminal(shared_data, tmp_path):
    content = (shared_data / "edgetpu_pairs/split_concat_edgetpu.tflite").read_bytes()
    file = tmp_path / "hostile.tflite"
    file.write_bytes(content.replace(b"edgetpu-custom-op", b"\x1b[31m-\x07custom-op0"))
    done = edge("inspect", file, "--tensors")
    assert done.returncode == 0
    assert "?[31m-?custom-op0" in done.stdout
    assert "\x1b" not in done.stdout
