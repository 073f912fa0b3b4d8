"""What can be converted, and what each kind of unusable source is answered with."""

from __future__ import annotations

import numpy as np
import pytest

from converters.capture_output import capture_output
from converters.convert import convert
from converters.errors import SourceError
from converters.source_files import load_source


@pytest.mark.parametrize("kind", ["h5", "savedmodel"])
def test_other_formats_give_the_same_numbers(kind, digit_classifier, asking, held_out, tmp_path):
    path = tmp_path / ("digits.h5" if kind == "h5" else "digits")
    with capture_output():
        digit_classifier.save(path) if kind == "h5" else digit_classifier.export(path, verbose=False)
    model = load_source(path)
    assert (model.name, model.kind) == ("digits", kind)
    (inputs,) = next(iter(held_out.batches(5)))
    expected = np.asarray(digit_classifier(inputs))
    np.testing.assert_allclose(model.predict([inputs])[0], expected, atol=1e-6)
    (made,) = convert(asking(tmp_path / "out", "fp32", model=model))
    assert made.parity.max_abs_error < 1e-5
    assert made.parity.accuracy.correct == made.parity.accuracy.reference_correct


def test_savedmodel_beyond_tolerance_names_a_tensor_of_the_float_conversion(digit_classifier, asking, tmp_path):
    from dataclasses import replace

    from converters.errors import ParityError
    from converters.recipes import RECIPES, Tolerance

    with capture_output():
        digit_classifier.export(tmp_path / "digits", verbose=False)
    strict = replace(RECIPES["int8"], tolerance=Tolerance(relative_rms_error=1e-6))
    asked = asking(tmp_path / "out", "int8", model=load_source(tmp_path / "digits"), recipes=(strict,))
    with pytest.raises(ParityError, match="the error first grows at layer '"):
        convert(asked)


def test_free_size_needs_an_image_size(wrapped):
    import keras
    from keras import layers

    inputs = keras.Input((None, None, 3), name="photo")
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs)))
    model = wrapped(keras.Model(inputs, outputs, name="free"))
    with pytest.raises(SourceError, match=r"input 'photo' has free sizes: \[None, None, None, 3\]") as caught:
        model.with_static_inputs(batch=1, image_size=None)
    assert "--image-size" in caught.value.hint
    assert model.with_static_inputs(batch=2, image_size=64)[0].shape == (2, 64, 64, 3)


def test_image_size_against_a_fixed_input_is_refused(source_model):
    with pytest.raises(SourceError, match="fixed to 16x16, an image size of 32 was asked for"):
        source_model.with_static_inputs(batch=1, image_size=32)


def test_custom_layer_is_named(tmp_path):
    import keras

    class Doubling(keras.layers.Layer):
        def call(self, x):
            return x * 2

    inputs = keras.Input((4,))
    keras.Model(inputs, Doubling()(inputs)).save(tmp_path / "custom.keras")
    with pytest.raises(SourceError, match="custom class Doubling") as caught:
        load_source(tmp_path / "custom.keras")
    assert "model.export" in caught.value.hint


def test_lambda_layer_is_refused_without_running_its_code(tmp_path):
    import keras

    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs)).save(tmp_path / "code.keras")
    with pytest.raises(SourceError, match="Lambda layer"):
        load_source(tmp_path / "code.keras")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.keras", b"not a zip", "is not a .keras file"),
        ("model.h5", b"not hdf5", "is not an HDF5 file"),
        ("model.tflite", b"TFL3", "is not a name of"),
        ("model.onnx", b"", "is not a name of"),
    ],
)
def test_wrong_files_are_refused(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        load_source(tmp_path / name)
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_missing_file_and_empty_folder_are_refused(tmp_path):
    with pytest.raises(SourceError, match="there is no model at"):
        load_source(tmp_path / "nothing.keras")
    with pytest.raises(SourceError, match=r"no SavedModel: it has no saved_model\.pb"):
        load_source(tmp_path)
