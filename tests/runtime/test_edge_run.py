"""`edge run`, as a real process and with the child process's death and silence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from edge.data.input_arrays import InputReader
from edge.runtime import Preprocessing, TensorSpec, load, verify_file
from edge.runtime.errors import AgentDeadlineError, CrashedError, ModelInputError
from edge.workflows.inference import InferenceRequest, InferenceSession, run_inference


def edge_run(*words, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "edge", "run", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return done


@pytest.fixture(scope="module")
def ptq(shared_data):
    return shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"


@pytest.fixture(scope="module")
def cat(shared_data):
    return shared_data / "images" / "cat.bmp"


@pytest.fixture(scope="module")
def mobilenet(shared_data):
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="module")
def session():
    with InferenceSession() as running:
        yield running


def children():
    """Return the processes this one has started that run the agent."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for listing in found for pid in listing.read_text().split()]
    return [pid for pid in pids if b"edge.agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_it_names_a_cat(ptq, cat, shared_data):
    done = edge_run(ptq, cat, shared_data / "images" / "sunflower.bmp", "--labels", "imagenet", "--top", 3)
    first, second = done.stdout.split("sunflower.bmp:")
    assert "cat" in first.splitlines()[2].partition("286")[2]
    assert "daisy" in second
    assert len(first.splitlines()) == 6
    assert done.stderr == ""


def test_json_says_what_ran_and_how(ptq, cat):
    values = json.loads(edge_run(ptq, cat, "--json", "--threads", 2).stdout)
    assert values["runtime"]["name"] == "ai-edge-litert"
    assert values["preprocessing"] == "tf (from the input's scale)"
    (prediction,) = values["predictions"]
    assert len(prediction["top"]) == 5
    assert prediction["top"][0]["label"] == "Egyptian cat"  # packed behind the model by its makers
    assert prediction["outputs"][0]["shape"] == [1, 1001]


def test_what_does_not_classify_is_summarized(shared_data, cat):
    done = edge_run(shared_data / "edgetpu_pairs" / "deeplabv3_mnv2_dm05_pascal_quant.tflite", cat)
    assert done.stdout.splitlines()[1].split() == ["output", "shape", "type", "min", "max", "mean"]
    assert done.stdout.splitlines()[2].split()[1:5] == ["1x513x513", "int64", "0", "8"]


def test_arrays_are_taken_as_they_are(mobilenet, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    np.savez(tmp_path / "named.npz", input=pixels[0])
    values = json.loads(edge_run(mobilenet, tmp_path / "pixels.npy", tmp_path / "named.npz", "--json").stdout)
    with load(mobilenet) as model:
        (scores,) = model.run(pixels)
    one, two = values["predictions"]
    assert one["top"] == two["top"]
    assert one["top"][0]["score"] == pytest.approx(float(scores.max()) * model.outputs[0].scale)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("absent.tflite", "cat.bmp"), 3, "there is no model file absent.tflite"),
        (("{model}", "absent.bmp"), 3, "there is no file absent.bmp"),
        (("{model}", "{model}"), 5, "is not an image that can be read"),
        (("{cat}", "{cat}"), 4, "is not a sound TFLite model: at byte 4"),
        (("{model}", "{cat}", "--runtime", "tflight"), 8, "there is no runtime 'tflight'; installed: ai-edge-litert"),
        (("{model}", "{cat}", "--delegate", "/no/lib.so;a=b"), 8, "cannot load the delegate /no/lib.so;a=b"),
        (("{model}", "{cat}", "--delegate", "lib.so;a"), 8, "cannot read the delegate 'lib.so;a'"),
        (("{model}", "{cat}", "--labels", "{cat}"), 3, "is not UTF-8 text"),
        (("{model}", "{cat}", "--labels", "absent.txt"), 3, "cannot read the labels file absent.txt"),
        (("{lstm}", "{cat}"), 5, "the model takes no images (inputs: 'serving_default_x:0' [1, 28, 28])"),
        (("{custom}", "{cat}"), 5, "the model takes no images"),
        (("{model}", "{cat}", "--preprocess", "tv"), 2, "'tv' is not one of"),
        (("{model}",), 2, "Missing argument"),
    ],
)
def test_bad_input_ends_as_a_message(shared_data, cat, mobilenet, words, status, message):
    pairs = shared_data / "edgetpu_pairs"
    names = {"model": mobilenet, "cat": cat, "lstm": pairs / "keras_lstm_mnist_ptq.tflite",
             "custom": pairs / "split_concat_edgetpu.tflite"}  # fmt: skip
    done = edge_run(*(word.format(**names) for word in words), status=status)
    assert message in done.stderr
    assert done.stdout == ""


def test_the_artifacts_own_word_on_pixels_and_labels_is_taken(converted, cat, tmp_path, session):
    model = tmp_path / "net-fp32.tflite"
    shutil.copyfile(converted["fp32"], model)
    described = Preprocessing.for_mode("caffe", 16, 16, 3)
    labels = [f"class {i}" for i in range(10)]
    description = {"schema": "edge-artifact/1", "sha256": sha256(model.read_bytes()).hexdigest(), "labels": labels,
                   "preprocessing": described.to_json()}  # fmt: skip
    model.with_suffix(".json").write_text(json.dumps(description))
    request = InferenceRequest(model=model, sources=(cat,))
    inference = run_inference(request, session)
    assert inference.preprocessing == "caffe (from the artifact)"
    assert not inference.notes
    (best, *_) = inference.predictions[0].classes
    assert best.label == labels[best.index]
    model.with_suffix(".json").unlink()
    without = run_inference(request, session)
    assert "[-1, 1] is assumed" in without.notes[0]
    assert without.predictions[0].classes[0].score != best.score
    model.with_suffix(".json").write_text(json.dumps({**description, "sha256": "0"}))
    assert "describes another file" in edge_run(model, cat, status=4).stderr


@pytest.mark.parametrize(
    ("info", "mode"),
    [
        (TensorSpec("x", (1, 8, 8, 3), "uint8", 1 / 127.5, 127), "tf (from the input's scale)"),
        (TensorSpec("x", (1, 8, 8, 3), "uint8", 1 / 128, 128), "tf (from the input's scale)"),
        (TensorSpec("x", (1, 8, 8, 3), "int8", 1 / 127.5, -1), "tf (from the input's scale)"),
        (TensorSpec("x", (1, 8, 8, 3), "uint8", 1 / 255, 0), "unit (from the input's scale)"),
        (TensorSpec("x", (1, 8, 8, 3), "int8", 1.0, -128), "raw (from the input's scale)"),
        (TensorSpec("x", (1, 8, 8, 1), "uint8", None, None), "raw (8-bit input)"),
        (TensorSpec("x", (1, 8, 8, 3), "float32", None, None), "tf (assumed)"),
        (TensorSpec("x", (1, 8, 8, 3), "int8", 0.0186, -14), None),  # ImageNet's mean and deviation: not to be guessed
        (TensorSpec("x", (1, 8, 8, 7), "float32", None, None), None),
    ],
)
def test_what_an_inputs_scale_says_of_pixels(mobilenet, info, mode):
    from dataclasses import replace

    verified = replace(verify_file(mobilenet), inputs=(info,))
    reader = InputReader.of(verified, None, None)
    assert reader.described == mode
    assert (reader.refusal is None) == (mode is not None)
    if info.shape[3] == 3:
        assert InputReader.of(verified, None, "torch").described == "torch (as requested)"


def test_arrays_that_do_not_fit_are_refused(mobilenet, tmp_path):
    reader = InputReader.of(verify_file(mobilenet), None, None)
    for array in (np.zeros((1, 9, 9, 3), np.uint8), np.zeros((1, 128, 128, 3), np.int64), np.array([None])):
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        with pytest.raises(Exception, match=r"x\.npy") as caught:
            reader.read(tmp_path / "x.npy")
        assert caught.value.exit_code == 5
    np.savez(tmp_path / "x.npz", other=np.zeros(3))
    with pytest.raises(ModelInputError, match=r"holds 1 arrays \('other'\); the model takes 'input'"):
        reader.read(tmp_path / "x.npz")


def request_of(mobilenet, cat, **more):
    return InferenceRequest(model=mobilenet, sources=(cat,), **more)


def test_a_crash_of_the_child_is_an_error_and_the_next_call_works(mobilenet, cat):
    others = set(children())
    with InferenceSession() as session:
        before = run_inference(request_of(mobilenet, cat), session)
        (pid,) = set(children()) - others
        os.kill(pid, signal.SIGSEGV)
        with pytest.raises(CrashedError, match="died with SIGSEGV during the job 'infer'") as caught:
            run_inference(request_of(mobilenet, cat), session)
        assert caught.value.exit_code == 9
        assert session.crashes == 1
        assert run_inference(request_of(mobilenet, cat), session) == before
        assert pid not in children()


def test_a_silent_child_is_ended_at_the_deadline(mobilenet, cat):
    others = set(children())
    with InferenceSession() as session:
        run_inference(request_of(mobilenet, cat), session)
        (pid,) = set(children()) - others
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(AgentDeadlineError, match=r"did not answer 'infer' within 0\.1 s"):
            run_inference(request_of(mobilenet, cat, deadline_s=0.1), session)
        assert not Path(f"/proc/{pid}").exists()


def test_the_childs_memory_is_bounded(mobilenet, cat, session):
    run_inference(request_of(mobilenet, cat), session)
    limits = Path(f"/proc/{children()[0]}/limits").read_text()
    (bound,) = [line.split()[3] for line in limits.splitlines() if line.startswith("Max data size")]
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert physical // 2 < int(bound) < physical


def test_no_child_is_left(mobilenet, cat):
    before = set(children())
    with InferenceSession() as session:
        run_inference(request_of(mobilenet, cat), session)
        assert set(children()) - before
    assert not set(children()) - before
