"""Models as other people make them: every one ends as artifacts or as a message, never as a fault of the toolkit."""

from __future__ import annotations

import numpy as np
import pytest

from converters.convert import convert
from converters.errors import ConversionError, SourceError
from converters.samples import SampleSet, drawn
from converters.source import load_source


def sampled(model, count=8) -> SampleSet:
    inputs = model.with_static_inputs(batch=1, image_size=None)
    return drawn(inputs, value_range=(-1, 1), count=count, seed=1)


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
