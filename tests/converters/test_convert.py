"""Variants of a trained classifier: right, whole, and the same as the public converter's."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from converters.artifact.sidecar import artifact_of, publish, record_text
from converters.capture_output import capture_output
from converters.convert import check_request, convert
from converters.edgetpu.compiler import Compiler
from converters.errors import CalibrationError, ConversionError, ParityError, WriteError
from converters.recipes import recipes_named
from converters.tflite.reader import parse_model
from converters.variant_comparison import HostModel

ALL_RECIPES = ("fp32", "fp16", "dynamic", "int8", "int8-float", "int16x8")


@pytest.mark.parametrize("recipe", ALL_RECIPES)
def test_every_variant_is_as_accurate_as_keras(artifacts, recipe):
    parity = artifacts[recipe].parity
    assert parity.samples == (20 if recipe == "int16x8" else 100)
    assert parity.accuracy.reference_correct >= 0.8 * parity.samples
    assert parity.accuracy.correct >= parity.accuracy.reference_correct - 0.03 * parity.samples
    assert parity.cosine > 0.99
    assert not parity.beyond(artifacts[recipe].recipe.tolerance)


def test_float_parity_is_float_noise(artifacts):
    assert artifacts["fp32"].parity.max_abs_error < 1e-5
    assert artifacts["fp32"].parity.max_abs_error < artifacts["fp16"].parity.max_abs_error < 0.02


@pytest.mark.parametrize("recipe", ALL_RECIPES)
def test_artifact_is_a_pair_of_files_that_agree(artifacts, recipe):
    artifact = artifacts[recipe]
    value = json.loads(artifact.json_path.read_text())
    data = artifact.path.read_bytes()
    assert value["schema"] == "edge-artifact/1"
    assert value["name"] == f"digits-{recipe}"
    assert value["file"] == f"digits-{recipe}.tflite"
    assert value["sha256"] == hashlib.sha256(data).hexdigest()
    assert value["bytes"] == len(data)
    assert value["recipe"]["name"] == recipe
    assert [end["name"] for end in value["inputs"] + value["outputs"]] == ["scan", "digit"]
    assert value["inputs"][0]["shape"] == [1, 16, 16, 1]
    assert value["parameters"] == 144 + 16 + 144 + 16 + 256 + 16 + 4608 + 32 + 2880 + 10
    assert value["macs"] == 9216 + 9216 + 256 + 41472 + 2880
    assert (value["calibration"] is None) == (recipe in ("fp32", "fp16", "dynamic"))
    assert value["parity"]["tolerance"] == value["recipe"]["tolerance"]
    assert value["tools"]["tensorflow"]


def test_interfaces_and_integers_are_as_promised(artifacts):
    ends = {name: artifact.to_json() for name, artifact in artifacts.items()}
    types = {name: (value["inputs"][0]["dtype"], value["outputs"][0]["dtype"]) for name, value in ends.items()}
    assert types.pop("int8") == ("int8", "int8")
    assert set(types.values()) == {("float32", "float32")}
    for name in ("int8", "int8-float", "int16x8"):
        graph = parse_model(artifacts[name].data).main
        floats = {
            operator.name
            for operator in graph.operators
            if any(graph.tensors[index].dtype == "float32" for index in operator.outputs)
        }
        assert floats <= {"DEQUANTIZE"}


def test_signature_names_inputs_and_outputs_as_keras_does(artifacts):
    from ai_edge_litert.interpreter import Interpreter

    with capture_output():
        interpreter = Interpreter(model_content=artifacts["int8-float"].data)
        assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["scan"], "outputs": ["digit"]}}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ALL_RECIPES)
def test_equals_the_public_converter(artifacts, digit_classifier, held_out, recipe):
    """The quick way (freeze once, calibrate once) computes bit for bit what the public way's model computes."""
    public = HostModel(_publicly_converted(digit_classifier, held_out, recipe))
    ours = HostModel(artifacts[recipe].data)
    for inputs in held_out.first(10).batches(1):
        np.testing.assert_array_equal(ours.run(inputs)[0], public.run(inputs)[0])


def _publicly_converted(model, samples, recipe):
    import tensorflow as tf

    with capture_output():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [] if recipe == "fp32" else [tf.lite.Optimize.DEFAULT]
        if recipe == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if recipe.startswith("int"):
            converter.representative_dataset = lambda: (list(inputs) for inputs in samples.batches(1))
            ops = tf.lite.OpsSet
            wanted = ops.TFLITE_BUILTINS_INT8
            if recipe == "int16x8":
                wanted = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [wanted]
        if recipe == "int8":
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()


def test_static_batch(asking, tmp_path):
    (artifact,) = convert(asking(tmp_path, "fp32", batch=8))
    assert artifact.to_json()["inputs"][0]["shape"] == [8, 16, 16, 1]
    assert artifact.parity.samples == 100


def test_integer_recipes_without_calibration_are_refused_before_the_work(asking, tmp_path):
    with pytest.raises(CalibrationError, match="int8: ranges must be measured") as caught:
        check_request(recipes_named(["fp32", "int8"]), has_calibration=False, compiler=Compiler())
    assert "--calibrate" in caught.value.hint
    with pytest.raises(CalibrationError, match="int8: ranges must be measured"):
        convert(asking(tmp_path, "int8", calibration=None))
    assert not list(tmp_path.iterdir())


def test_variant_beyond_tolerance_is_not_published_and_the_layer_is_named(asking, wrapped, tmp_path):
    """One channel a hundred thousand times larger than the others: eight bits for all of them cannot hold both."""
    import keras
    from keras import layers

    factors = np.ones(16, np.float32)
    factors[3] = 1e5
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(16, 3, activation="relu", kernel_initializer=keras.initializers.RandomNormal(seed=1))(inputs)
    x = layers.Multiply(name="grow")([x, factors.reshape(1, 1, 1, 16)])
    x = layers.Conv2D(16, 3, name="mix", kernel_initializer=keras.initializers.RandomNormal(seed=2))(x)
    shrink = layers.Dense(4, use_bias=False, name="read")
    outputs = shrink(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs, name="lopsided")
    kernel = model.get_layer("mix").kernel
    kernel.assign(kernel.numpy() / factors.reshape(1, 1, 16, 1) * np.where(factors > 1, 1e-3, 1).reshape(1, 1, 16, 1))
    with pytest.raises(ParityError) as caught:
        convert(asking(tmp_path, "fp32", "int8", model=wrapped(model), classes=False))
    message = str(caught.value)
    assert "int8: too far from the Keras model" in message
    assert "grows at layer '" in message
    assert "published: lopsided-fp32" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lopsided-fp32.json", "lopsided-fp32.tflite"]


def test_operator_without_integer_kernel_is_named(asking, wrapped, tmp_path):
    import keras
    from keras import layers

    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.Activation("sin" if hasattr(keras.activations, "sin") else keras.ops.sin, name="wave")(x)
    outputs = layers.Dense(3)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs, name="waves")
    with pytest.raises(ConversionError) as caught:
        convert(asking(tmp_path, "int8", model=wrapped(model), classes=False))
    assert "SIN" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_two_inputs_and_two_outputs_keep_their_order(asking, wrapped, tmp_path):
    import keras
    from keras import layers

    from converters.samples import draw_samples

    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((4,), name="right")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(left))
    both = layers.Concatenate()([pooled, right])
    outputs = [layers.Dense(3, activation="softmax", name="zebra")(both), layers.Dense(1, name="apple")(both)]
    model = wrapped(keras.Model({"left": left, "right": right}, outputs, name="pair"))
    inputs = model.with_static_inputs(batch=1, image_size=None)
    data = draw_samples(inputs, value_range=(-1, 1), count=12, seed=1)
    (made,) = convert(asking(tmp_path, "fp32", model=model, calibration=None, check=data, classes=False))
    value = made.to_json()
    assert [end["name"] for end in value["inputs"]] == ["left", "right"]
    assert [end["name"] for end in value["outputs"]] == ["zebra", "apple"]
    assert made.parity.max_abs_error < 1e-5
    assert made.parity.real is False


def test_model_is_not_put_in_place_before_its_description(artifacts, tmp_path):
    """A folder stands where the JSON belongs: the .tflite must not appear either, or it would look whole."""
    artifact = replace(artifacts["fp32"], folder=tmp_path)
    (artifact.json_path / "in the way").mkdir(parents=True)
    with pytest.raises(WriteError, match="could not write"):
        publish([artifact])
    assert [path.name for path in tmp_path.iterdir()] == [artifact.json_path.name]


def test_the_description_is_the_same_whenever_it_is_asked_for(artifacts):
    published = json.loads(artifacts["fp32"].json_path.read_text())
    second = datetime.now(timezone.utc).second
    while datetime.now(timezone.utc).second == second:  # a description that is made anew has another time by then
        time.sleep(0.02)
    assert artifacts["fp32"].to_json() == published


@pytest.mark.parametrize("recipe", ALL_RECIPES)
def test_a_record_that_is_read_is_the_one_that_was_written(artifacts, recipe):
    record = artifact_of(artifacts[recipe].path)
    assert record == artifacts[recipe].record
    assert record_text(record) == artifacts[recipe].json_path.read_text()
