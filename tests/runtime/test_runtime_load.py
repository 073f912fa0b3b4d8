"""Loading and running models on the runtimes that are installed here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from converters.errors import ModelFileError
from edge.runtime import Delegate, TensorSpec, load
from edge.runtime.errors import DelegateError, InferenceError, ModelInputError, RuntimeMissingError

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)


@pytest.fixture(scope="module")
def mobilenet(shared_data):
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="module")
def model(mobilenet):
    with load(mobilenet) as loaded:
        yield loaded


def test_importing_loads_neither_numpy_nor_a_runtime():
    code = (
        "import sys, edge.runtime, edge.runtime.errors\n"
        "heavy = {'numpy', 'ai_edge_litert', 'tflite_runtime', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_said_of_inputs_and_outputs(model):
    assert model.runtime.name == "ai-edge-litert"
    assert model.runtime.version
    (entry,) = model.inputs
    assert entry == TensorSpec("input", (1, 128, 128, 3), "uint8", pytest.approx(0.0078125), 128)
    (result,) = model.outputs
    assert (result.shape, result.dtype, result.zero_point) == ((1, 1001), "uint8", 0)
    assert model.verified.inputs[0].shape == entry.shape
    assert entry.to_json()["shape"] == [1, 128, 128, 3]


def test_run_gives_what_the_interpreter_itself_gives(model, mobilenet):
    from ai_edge_litert.interpreter import Interpreter

    plain = Interpreter(str(mobilenet))
    plain.allocate_tensors()
    plain.set_tensor(plain.get_input_details()[0]["index"], PIXELS)
    plain.invoke()
    (got,) = model.run(PIXELS)
    np.testing.assert_array_equal(got, plain.get_tensor(plain.get_output_details()[0]["index"]))
    kept = got.copy()
    model.run(PIXELS[:, ::-1])
    np.testing.assert_array_equal(got, kept)  # a copy, not a view of the interpreter's memory


def test_predict_quantizes_and_dequantizes(model):
    (stored,) = model.run(PIXELS)
    (real,) = model.predict((PIXELS.astype(np.float64) - 128) * model.inputs[0].scale)
    assert real.dtype == np.float32
    np.testing.assert_allclose(real, stored * model.outputs[0].scale, rtol=1e-6)


def test_quantization_rounds_limits_and_survives_what_is_no_number():
    info = TensorSpec("x", (4,), "int8", 0.5, 10)
    np.testing.assert_array_equal(info.quantize([0.0, 0.74, -1000.0, 1000.0]), np.array([10, 11, -128, 127], np.int8))
    assert info.quantize([np.nan, np.inf, -np.inf]).tolist() == [0, 127, -128]
    np.testing.assert_array_equal(info.dequantize(np.array([10, 12], np.int8)), np.array([0, 1], np.float32))
    plain = TensorSpec("x", (1,), "float32", None, None)
    assert plain.quantize([1]).dtype == np.float32


def test_classify_names_the_best_classes(model):
    labels = [f"class {i}" for i in range(1001)]
    real = (PIXELS[0].astype(np.float32) - 128) * model.inputs[0].scale
    guesses = model.classify(real, top_k=3, labels=labels)
    (scores,) = model.predict(real[np.newaxis])
    assert [guess.index for guess in guesses] == np.argsort(-scores[0], kind="stable")[:3].tolist()
    assert guesses[0].label == f"class {guesses[0].index}"
    assert guesses[0].score == pytest.approx(float(scores.max()))
    assert model.classify(real, top_k=1)[0].label is None
    with pytest.raises(ModelInputError, match="3 labels for 1001 classes"):
        model.classify(real, labels=["a", "b", "c"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], r"1 inputs \(input\), got 0 arrays"),
        ([PIXELS, PIXELS], "got 2 arrays"),
        ([PIXELS.astype(np.float32)], "takes uint8 of shape .* got float32"),
        ([PIXELS[0]], r"got uint8 of shape \[128, 128, 3\]"),
        ([PIXELS[:, 1:]], r"got uint8 of shape \[1, 127, 128, 3\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(model, arrays, message):
    with pytest.raises(ModelInputError, match=message):
        model.run(*arrays)


def test_a_free_batch_takes_any_batch(converted):
    with load(converted["free_batch"]) as loaded, load(converted["fp32"]) as fixed:
        assert loaded.inputs[0].shape == (-1, 16, 16, 3)
        batch = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
        (together,) = loaded.run(batch)
        assert together.shape == (3, 10)
        one_by_one = np.concatenate([fixed.run(each[np.newaxis])[0] for each in batch])
        np.testing.assert_allclose(together, one_by_one, atol=1e-6)
        assert loaded.run(batch[:1])[0].shape == (1, 10)


def test_every_converted_model_runs(converted):
    for name, path in converted.items():
        with load(path, threads=2) as loaded:
            arrays = [np.zeros([abs(size) for size in info.shape], info.dtype) for info in loaded.inputs]
            outputs = loaded.run(*arrays)
            assert len(outputs) == len(loaded.outputs), name


def test_strings_come_as_bytes(converted):
    with load(converted["words"]) as loaded:
        outputs = loaded.run(np.zeros((1, 8, 8, 4), np.float32))
    assert [array.tolist() for array in outputs if array.dtype.kind == "S"] == [[b"cat", b"dog"]]


def test_the_runtimes_agree(converted):
    values = np.random.default_rng(1).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    with load(converted["fp32"]) as one, load(converted["fp32"], runtime="tf.lite") as two:
        assert two.runtime.name == "tf.lite"
        np.testing.assert_allclose(one.run(values)[0], two.run(values)[0], atol=1e-5)


def test_a_runtime_that_is_not_there_is_named_with_those_that_are(mobilenet):
    with pytest.raises(RuntimeMissingError, match="no runtime 'tflite-runtim'; installed: ai-edge-litert") as caught:
        load(mobilenet, runtime="tflite-runtim")
    assert caught.value.hint == "did you mean tflite-runtime?"
    with pytest.raises(RuntimeMissingError, match="tflite-runtime is not installed; installed: ai") as caught:
        load(mobilenet, runtime="tflite-runtime")
    assert "pip install tflite-runtime==2.14.0" in caught.value.hint
    assert caught.value.exit_code == 8


@pytest.mark.parametrize("delegate", ["/nowhere/libdelegate.so", "edgetpu;device=usb:0", Delegate("libc.so.6")])
def test_a_delegate_that_cannot_be_loaded_is_an_error(mobilenet, delegate):
    with pytest.raises(DelegateError, match="ai-edge-litert cannot load the delegate") as caught:
        load(mobilenet, delegates=[delegate])
    assert caught.value.hint


def test_delegates_are_read_from_text_and_json():
    parsed = Delegate.parse("lib.so;device=usb:0;level=3")
    assert parsed == Delegate("lib.so", {"device": "usb:0", "level": "3"})
    assert Delegate.parse(parsed.to_json()) == parsed
    assert Delegate.parse("edgetpu").here().library == "libedgetpu.so.1"
    for wrong in ("", "lib.so;device", {"options": {}}, {"library": 3}):
        with pytest.raises(DelegateError, match="cannot read the delegate"):
            Delegate.parse(wrong)


def test_native_code_never_sees_a_damaged_file(mobilenet, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(mobilenet.read_bytes()[:100_000])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        load(cut)


def test_an_operator_the_runtime_has_not_is_an_inference_error(shared_data):
    model = shared_data / "edgetpu_pairs" / "bodypix_mobilenet_v1_075_512_512_16_quant_decoder.tflite"
    with pytest.raises(InferenceError, match=r"ai-edge-litert .* refuses the model: .*custom op"):
        load(model)


def test_a_closed_model_says_so(mobilenet):
    with load(mobilenet) as loaded:
        loaded.prepare(PIXELS)
    for use in (lambda: loaded.run(PIXELS), loaded.invoke):
        with pytest.raises(InferenceError, match="closed"):
            use()
    with pytest.raises(ModelInputError, match="threads must be at least 1, got 0"):
        load(mobilenet, threads=0)
