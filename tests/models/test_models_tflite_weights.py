"""Weights read back from .tflite files: exact where floats were stored, whole or not at all."""

from __future__ import annotations

import csv
import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from converters.errors import ModelFileError
from edge.errors import InputError
from edge.models import build
from edge.models.tflite_weights import read_tflite_weights
from edge.models.transfer import unit_variance
from edge.models.weights import load_weights


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1.001e-5, 1e-7, 2e-5, 0.01, 0.3])
def test_the_variance_that_makes_a_normalization_an_identity(epsilon):
    total = tf.constant(unit_variance(epsilon)) + tf.constant(epsilon, tf.float32)
    assert float(total) == 1.0
    assert float(tf.math.rsqrt(total)) == 1.0


def test_no_variance_for_an_epsilon_above_one():
    with pytest.raises(ValueError, match=r"epsilon 1\.5"):
        unit_variance(1.5)


def _values(model):
    return [variable.numpy() for variable in model.variables]


def test_float_weights_come_back_folded(small, trained, tflite_files):
    small_cnn, shaken, pictures = small
    model = shaken(small_cnn(), seed=8)
    report = load_weights(model, tflite_files["fp32"])
    kernel, normalization = trained.get_layer("stem").kernel, trained.get_layer("stem_bn")
    factor = normalization.gamma / np.sqrt(normalization.moving_variance + normalization.epsilon)
    np.testing.assert_allclose(model.get_layer("stem").kernel, kernel * factor, rtol=1e-6)
    np.testing.assert_array_equal(model.get_layer("classifier").kernel, trained.get_layer("classifier").kernel)
    np.testing.assert_array_equal(model.get_layer("pointwise").bias, trained.get_layer("pointwise").bias)
    assert not np.any(model.get_layer("depthwise").bias)
    np.testing.assert_allclose(model(pictures()), trained(pictures()), atol=1e-6)
    assert (report.kind, report.quantization, report.classes, report.notes) == ("tflite", "float32", 5, ())
    assert report.tensors == len(model.weights)
    assert report.sha256 == hashlib.sha256(tflite_files["fp32"].read_bytes()).hexdigest()


def test_a_folded_normalization_adds_its_bias_exactly(small, tflite_files):
    small_cnn, _, pictures = small
    model = small_cnn()
    load_weights(model, tflite_files["fp32"])
    operators = {
        "stem": (layers.Conv2D(8, 3, strides=2, padding="same"), 0),
        "depthwise": (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 1),
    }
    stored = read_tflite_weights(tflite_files["fp32"]).operators
    for name, (plain, index) in operators.items():
        inputs = keras.Model(model.input, model.get_layer(name).input)(pictures())
        plain.build(inputs.shape)
        plain.set_weights([model.get_layer(name).kernel, stored[index].bias])
        assert np.any(stored[index].bias)
        normalized = keras.Model(model.input, model.get_layer(f"{name}_bn").output)
        np.testing.assert_array_equal(normalized(pictures()), plain(inputs))
        np.testing.assert_array_equal(normalized.predict(pictures(), verbose=0), plain(inputs))


@pytest.mark.parametrize(("how", "storage", "error"), [("fp16", "float16", 2e-3), ("int8", "int8 per channel", 2e-2)])
def test_rounded_weights_come_back_near(small, trained, tflite_files, how, storage, error):
    small_cnn, _, pictures = small
    model = small_cnn()
    assert load_weights(model, tflite_files[how]).quantization == storage
    np.testing.assert_allclose(model(pictures()), trained(pictures()), atol=error)


def test_dynamic_range_files_mix_8_bit_and_float(small, dynamic_file):
    small_cnn, _, pictures = small
    trained, path = dynamic_file
    model = small_cnn(width=64)
    assert load_weights(model, path).quantization == "float32, int8 per channel"
    np.testing.assert_allclose(model(pictures()), trained(pictures()), atol=2e-2)


def test_per_channel_weights_are_within_half_a_step(trained, tflite_files):
    stored = read_tflite_weights(tflite_files["int8"]).operators
    kernel = np.transpose(trained.get_layer("pointwise").kernel, (3, 0, 1, 2))
    steps = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(stored[2].kernel - kernel) <= steps * 0.5001).all()
    assert stored[2].storage == "int8 per channel"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"classes": 6},
            r"layer 4, 'classifier' \(Dense\) expects a kernel of shape \[12, 6\]; the file has \[12, 5\]",
        ),
        ({"width": 16}, r"layer 1, 'stem' \(Conv2D\) expects a kernel of shape \[3, 3, 3, 16\]; the file has \[3, 3"),
        ({"strides": 1}, r"'stem' .* has strides \(1, 1\); in the file they are \(2, 2\)"),
        ({"activation": None}, r"'stem' .* is followed by relu; in the file by relu6"),
    ],
)
def test_another_architecture_leaves_the_model_as_it_was(small, tflite_files, options, message):
    small_cnn, shaken, _ = small
    model = shaken(small_cnn(**options))
    before = _values(model)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(model, tflite_files["fp32"])
    assert str(tflite_files["fp32"]) in str(caught.value)
    assert caught.value.hint
    for old, new in zip(before, _values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_wrong_number_of_classes_says_what_to_build(small, tflite_files):
    with pytest.raises(InputError) as caught:
        load_weights(small[0](classes=6), tflite_files["fp32"])
    assert "--classes 5" in caught.value.hint


def test_other_padding_is_noted(small, tflite_files):
    report = load_weights(small[0](padding="symmetric"), tflite_files["fp32"])
    assert len(report.notes) == 1
    assert "stem: zeros top, bottom, left, right (1, 1, 1, 1), in the file (0, 1, 0, 1)" in report.notes[0]


def test_a_model_with_more_layers(small, tflite_files):
    base = small[0]()
    longer = keras.Model(base.input, layers.Dense(2)(base.output), name="longer")
    with pytest.raises(InputError, match="'longer' has 5 convolution and dense layers, the file 4"):
        load_weights(longer, tflite_files["fp32"])


def test_layers_a_file_does_not_hold_are_named(small, tflite_files):
    base = small[0]()
    model = keras.Model(base.input, layers.LayerNormalization(name="odd")(base.output))
    with pytest.raises(InputError, match=r"'odd' \(LayerNormalization\) has values that cannot be read back"):
        load_weights(model, tflite_files["fp32"])


def test_a_normalization_that_was_not_folded_is_refused(tmp_path, small):
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    source = small[1](keras.Model(inputs, layers.Dense(2)(layers.MaxPooling2D(6)(layers.BatchNormalization()(x)))))
    path = tmp_path / "unfolded.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(source).convert())
    plain = keras.Model(inputs, layers.Dense(2)(layers.MaxPooling2D(6)(layers.Conv2D(4, 3, activation="relu")(inputs))))
    with pytest.raises(InputError, match=r"scales or shifts values by constants of its own: (MUL|ADD) \(operator 1\)"):
        load_weights(plain, path)


def test_sparse_weights_are_refused_with_a_way_out(tmp_path, small, trained):
    source = small[0]()
    source.set_weights([np.where(np.abs(value) < 0.45, 0, value) for value in trained.get_weights()])
    converter = tf.lite.TFLiteConverter.from_keras_model(source)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    path = tmp_path / "sparse.tflite"
    path.write_bytes(converter.convert())
    with pytest.raises(ModelFileError, match=r"sparse\.tflite: the weights .* stored sparse") as caught:
        load_weights(small[0](), path)
    assert "dense" in caught.value.hint


def test_damaged_files_end_as_messages(tmp_path, tflite_files):
    data = tflite_files["int8"].read_bytes()
    random = np.random.default_rng(5)
    damaged = [data[:length] for length in (9, 100, len(data) // 2, len(data) - 5)]
    for _ in range(60):
        mutant = bytearray(data)
        for place in random.integers(8, len(data), 20):
            mutant[place] = random.integers(256)
        damaged.append(bytes(mutant))
    messages = [_refusal(tmp_path / f"{number}.tflite", content) for number, content in enumerate(damaged)]
    refused = [message for message in messages if message is not None]
    assert len(refused) > len(damaged) // 4
    assert all(str(tmp_path) in message for message in refused)


def _refusal(path, content):
    path.write_bytes(content)
    try:
        read_tflite_weights(path)
    except (ModelFileError, InputError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.tflite", b"this is not a model", "not a .tflite file"),
        ("weights.pth", b"PK", r"ends in '\.pth'; wanted: \.keras"),
        ("absent.keras", None, "are not a file; wanted: .keras"),
    ],
)
def test_sources_refused(tmp_path, small, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_weights(small[0](), path)


@pytest.fixture(scope="module")
def imagenet200(shared_data):
    """The pictures of imagenet200 in [-1, 1] and their classes counted from 1 (0 is background)."""
    with (shared_data / "imagenet200" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [np.asarray(Image.open(shared_data / "imagenet200" / row["file"]).convert("RGB")) for row in rows]
    classes = np.array([int(row["class_index"]) + 1 for row in rows])
    return (np.stack(found) / 127.5 - 1).astype(np.float32), classes


@pytest.fixture(scope="module")
def mobilenet_v2():
    """MobileNetV2 with a background class."""
    return build("mobilenet_v2", classes=1001)


# The first file's own 8-bit run gets 166 to 170, depending on which way half pixel levels are rounded; other weights
# that round to the same 8 bits get 161 to 170. 166 is what the exact dequantized weights give.
@pytest.mark.parametrize(
    ("file", "storage", "at_least"),
    [
        ("tf2_mobilenet_v2_1.0_224_ptq.tflite", "int8 per channel", 166),
        ("mobilenet_v2_1.0_224_quant.tflite", "uint8 per tensor", 168),
    ],
)
def test_mobilenet_v2_classifies_real_pictures(shared_data, imagenet200, mobilenet_v2, file, storage, at_least):
    report = load_weights(mobilenet_v2, shared_data / "models" / file)
    assert (report.quantization, report.tensors, report.classes, report.notes) == (storage, 262, 1001, ())
    inputs, classes = imagenet200
    predicted = mobilenet_v2.predict(inputs, batch_size=25, verbose=0).argmax(axis=-1)
    assert (predicted == classes).sum() >= at_least


def test_mobilenet_v2_with_1000_classes_refuses_the_file_with_background(shared_data):
    model = build("mobilenet_v2")
    with pytest.raises(InputError, match=r"'predictions' .* \[1280, 1000\]; the file has \[1280, 1001\]") as caught:
        load_weights(model, shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite")
    assert "--classes 1001" in caught.value.hint
