"""Models as other people make them: every one ends as artifacts or as a message, never as a fault of the toolkit."""

from __future__ import annotations

import numpy as np
import pytest

from converters.convert import convert
from converters.error_location import layer_errors
from converters.errors import CalibrationError, ConversionError, SourceError
from converters.freezing import Port, freeze
from converters.lowering import Lowering
from converters.recipes import RECIPES
from converters.samples import SampleSet, draw_samples
from converters.source_files import load_source
from edge.data.conversion_samples import read_arrays

TWO = tuple(Port(name=name, shape=(1, 2), dtype="float32") for name in ("a", "b_c"))


def sampled(model, count=8) -> SampleSet:
    inputs = model.with_static_inputs(batch=1, image_size=None)
    return draw_samples(inputs, value_range=(-1, 1), count=count, seed=1)


def test_operator_unknown_to_tensorflow_lite_is_named_once_for_all_recipes(asking, wrapped, tmp_path):
    import keras

    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 3, activation="tanh", name="conv")(inputs)
    model = wrapped(keras.Model(inputs, keras.ops.erfinv(x), name="odd"))
    data = sampled(model)
    with pytest.raises(ConversionError) as caught:
        convert(asking(tmp_path, "fp32", "fp16", "int8", model=model, calibration=data, check=data, classes=False))
    message = str(caught.value)
    assert message.startswith("fp32, fp16, int8: TensorFlow Lite cannot convert the operator tf.Erfinv in ")
    assert message.count("Erfinv'") == 1
    assert "\n" not in message
    assert "nothing was published" in message


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_is_converted_in_single(policy, asking, tmp_path):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.SeparableConv2D(4, 3), keras.layers.ReLU()])
        model = keras.Sequential(
            [
                keras.Input((10, 10, 1)),
                keras.layers.Conv2D(4, 3),
                keras.layers.BatchNormalization(),
                inner,
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
    finally:
        keras.config.set_dtype_policy(before)
    model.save(tmp_path / "half.keras")
    source = load_source(tmp_path / "half.keras")
    assert "converted, and compared, in single precision" in source.notes[0]
    data = sampled(source)
    expected = np.asarray(model(data.inputs[0]), np.float32)
    (made,) = convert(asking(tmp_path / "out", "fp32", model=source, calibration=None, check=data))
    assert [end["dtype"] for end in made.to_json()["outputs"]] == ["float32"]
    np.testing.assert_allclose(source.predict(data.inputs)[0], expected, atol=0.02)


def test_labels_do_not_fit_an_output_that_is_a_picture(asking, wrapped, tmp_path):
    import keras

    inputs = keras.Input((8, 8, 1))
    model = wrapped(keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="sigmoid")(inputs), name="mask"))
    assert model.classes is None
    data = sampled(model)
    labelled = SampleSet(source="x", seed=0, inputs=data.inputs, labels=np.zeros(data.count, np.int64), real=True)
    (made,) = convert(asking(tmp_path, "fp32", model=model, calibration=None, check=labelled, classes=True))
    assert made.parity.accuracy is None
    assert made.parity.top1_agreement is None


def test_model_that_does_not_run_on_the_asked_size_is_refused(wrapped):
    import keras

    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(inputs))
    model = wrapped(keras.Model(inputs, pooled, name="free"))
    with pytest.raises(SourceError, match=r"free does not run on inputs .* \[4, 1, 1, 1\]: .*negative") as caught:
        model.predict([np.zeros((4, 1, 1, 1), np.float32)])
    assert "--image-size" in caught.value.hint
    assert "{{" not in str(caught.value)


def test_classes_of_a_savedmodel_are_known(tmp_path, digit_classifier):
    digit_classifier.export(tmp_path / "digits", verbose=False)
    assert load_source(tmp_path / "digits").classes == 10


def test_a_loop_is_not_given_to_the_calibrator(asking, wrapped, tmp_path):
    import keras

    inputs = keras.Input((4, 3))
    model = wrapped(keras.Model(inputs, keras.layers.GRU(2)(inputs), name="recurrent"))
    data = sampled(model)
    with pytest.raises(ConversionError, match=r"int8: the model has loops or branches \(WHILE\)") as caught:
        convert(asking(tmp_path, "fp32", "int8", model=model, calibration=data, check=data, classes=False))
    assert "published: recurrent-fp32" in str(caught.value)
    assert "unroll" in caught.value.hint


def test_the_operator_that_the_runtime_refuses_is_named(asking, wrapped, tmp_path):
    """The six of a ReLU6 in steps of activations that are a hundred million times smaller exceeds 32 bits."""
    import keras

    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(2, 3, name="faint", kernel_initializer=keras.initializers.Constant(1e-8))(inputs)
    x = keras.layers.Flatten()(keras.layers.ReLU(6.0, name="six")(x))
    model = wrapped(keras.Model(inputs, keras.layers.Dense(2)(x), name="overflow"))
    data = sampled(model)
    with pytest.raises(ConversionError, match=r"LiteRT cannot load the converted model: at '[^']*six") as caught:
        convert(asking(tmp_path, "int16x8", model=model, calibration=data, check=data, classes=False))
    assert "CONV_2D" in str(caught.value)


BAD_ARRAYS = {
    "text": (b"junk", "is not an array file"),
    "empty": (b"", "is not an array file"),
    "cut": (b"PK\x03\x04", "is not an array file"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_files_that_are_no_arrays_are_refused(case, suffix, tmp_path):
    content, words = BAD_ARRAYS[case]
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=words):
        list(read_arrays(path, (Port(name="x", shape=(1, 2), dtype="float32"),), count=200, seed=0))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros((3, 2)), "b_c": np.zeros((4, 2))}, "hold 3, 4 samples for a, b_c"),
        ({"a": np.float32(1), "b_c": np.zeros((4, 2))}, r"float32 of shape \[\]"),
        ({"a": np.array(["x"]), "b_c": np.zeros((4, 2))}, "<U1"),
        ({"a": np.zeros((3, 2))}, "the model's inputs are a, b_c"),
    ],
)
def test_arrays_that_do_not_fit_two_inputs_are_refused(arrays, words, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(CalibrationError, match=words):
        list(read_arrays(tmp_path / "data.npz", TWO, count=200, seed=0))


def test_arrays_may_have_the_names_that_keras_shows(tmp_path):
    np.savez(tmp_path / "data.npz", **{"a": np.zeros((3, 2)), "b c": np.ones((3, 2))})
    pairs = [sample for sample, _ in read_arrays(tmp_path / "data.npz", TWO, count=200, seed=0)]
    assert [[float(array[0]) for array in pair] for pair in pairs] == [[0.0, 1.0]] * 3


def test_a_faithful_variant_has_an_error_at_no_layer(wrapped):
    """Activations are operators of their own, and the layers of a nested model are found too."""
    import keras
    from keras import layers

    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(4, 3, activation="swish", name="deep"), layers.ReLU(name="behind")],
        name="backbone",
    )
    inputs = keras.Input((8, 8, 1))
    x = inner(layers.Conv2D(4, 3, activation="sigmoid", name="shallow")(inputs))
    x = layers.Dense(3, activation="softmax", name="head")(layers.Flatten()(x))
    model = wrapped(keras.Model(inputs, x))
    ports = model.with_static_inputs(batch=1, image_size=None)
    frozen = freeze(model.call, inputs=ports, output_names=model.output_names)
    data = Lowering(frozen, samples=None).lower(RECIPES["fp32"])
    errors = {each.layer: each.error for each in layer_errors(model, data, check=sampled(model), batch=1)}
    assert {"shallow", "behind", "head"} <= set(errors)  # "deep" ends fused into "behind"
    assert max(errors.values()) < 1e-5
