"""Pixels become exactly what the model was trained on, or a message."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters.artifact.preprocessing import Preprocessing
from converters.errors import PreprocessingError


def ramp(height=2, width=2, channels=3):
    size = height * width * channels
    return np.linspace(0, 255, size).astype(np.uint8).reshape(height, width, channels)


@pytest.mark.parametrize(
    ("mode", "low", "high"),
    [("tf", -1.0, 1.0), ("unit", 0.0, 1.0), ("raw", 0.0, 255.0), ("torch", -2.1179, 2.64), ("caffe", -123.68, 151.061)],
)
def test_each_mode_maps_black_and_white_to_its_range(mode, low, high):
    preprocessing = Preprocessing.for_mode(mode, 2, 2, 3)
    assert preprocessing.value_range == pytest.approx((low, high), abs=1e-3)
    black = preprocessing.apply(np.zeros((2, 2, 3), np.uint8))
    white = preprocessing.apply(np.full((2, 2, 3), 255, np.uint8))
    assert black.min() == pytest.approx(low, abs=1e-3)
    assert white.max() == pytest.approx(high, abs=1e-3)
    assert black.dtype == np.float32


def test_caffe_swaps_to_bgr_before_it_subtracts_the_mean():
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 200
    result = Preprocessing.for_mode("caffe", 1, 1, 3).apply(red)
    assert result[0, 0] == pytest.approx([-103.939, -116.779, 200 - 123.68], abs=1e-3)


def test_torch_is_the_published_normalization():
    picture = ramp()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (picture / 255.0 - mean) / std
    assert Preprocessing.for_mode("torch", 2, 2, 3).apply(picture) == pytest.approx(expected, abs=1e-5)


def test_gray_is_repeated_for_a_colour_model():
    gray = ramp(channels=1)[:, :, 0]
    result = Preprocessing.for_mode("unit", 2, 2, 3).apply(gray)
    assert result.shape == (2, 2, 3)
    assert (result[..., 0] == result[..., 2]).all()
    assert Preprocessing.for_mode("unit", 2, 2, 1).apply(gray).shape == (2, 2, 1)


def test_json_round_trip_keeps_every_number():
    for mode in ("tf", "torch", "caffe", "unit", "raw"):
        preprocessing = Preprocessing.for_mode(mode, 224, 192, 3, resize="stretch")
        assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


def test_custom_numbers_are_taken_as_they_are():
    value = {**Preprocessing.for_mode("raw", 2, 2, 3).to_json(), "mode": "custom", "scale": [1, 2, 3]}
    assert Preprocessing.from_json(value).apply(ramp())[1, 1, 2] == 765


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"height": 0}, "height must be"),
        ({"height": 2.0}, "height: expected a whole number"),
        ({"height": True}, "height: expected a whole number"),
        ({"channels": 4}, "channels must be 1"),
        ({"channels": 1}, "does not go with 1 channel"),
        ({"color": "cmyk"}, "color must be one of rgb, bgr, gray"),
        ({"color": "bgr"}, "channel order 'bgr'"),
        ({"resize": "pad"}, "resize must be one of crop, stretch"),
        ({"mode": "tensorflow"}, "mode must be one of tf"),
        ({"mode": "unit"}, "mode 'unit' means scale"),
        ({"mode": ["tf"]}, "mode: expected a text"),
        ({"scale": [1.0]}, "3 finite numbers"),
        ({"scale": "abc"}, "scale: expected a list"),
        ({"scale": [1.0, None, 1.0]}, r"scale\[1\]: expected a finite number"),
        ({"offset": [float("nan")] * 3}, "finite"),
        ({"gamma": 2}, "no field 'gamma'"),
    ],
)
def test_from_json_refuses_what_could_not_be_applied(change, told):
    with pytest.raises(PreprocessingError, match=told):
        Preprocessing.from_json({**Preprocessing.for_mode("tf", 2, 2, 3).to_json(), **change})


def test_from_json_names_missing_fields_and_wrong_types():
    value = Preprocessing.for_mode("tf", 2, 2, 3).to_json()
    del value["mode"]
    with pytest.raises(PreprocessingError, match="field 'mode' is missing"):
        Preprocessing.from_json(value)
    with pytest.raises(PreprocessingError, match=r"expected an object, got \[\]"):
        Preprocessing.from_json([])


@pytest.mark.parametrize("pixels", [ramp(height=3), ramp()[0, 0], ramp()[np.newaxis], np.zeros((2, 2, 4), np.uint8)])
def test_apply_refuses_other_sizes_with_both_shapes(pixels):
    with pytest.raises(PreprocessingError, match="takes 2x2x3 pixels, got"):
        Preprocessing.for_mode("tf", 2, 2, 3).apply(pixels)


def test_apply_refuses_pixels_that_were_scaled_already():
    with pytest.raises(PreprocessingError, match=r"must be uint8 .* got float32"):
        Preprocessing.for_mode("tf", 2, 2, 3).apply(ramp().astype(np.float32))


def test_colour_is_not_silently_turned_to_gray():
    with pytest.raises(PreprocessingError, match="takes 2x2x1 pixels, got 2x2x3"):
        Preprocessing.for_mode("tf", 2, 2, 1).apply(ramp())


@pytest.mark.parametrize("mode", ["torch", "caffe"])
def test_colour_statistics_do_not_fit_gray(mode):
    with pytest.raises(PreprocessingError, match="three colours"):
        Preprocessing.for_mode(mode, 2, 2, 1)


def test_custom_has_no_numbers_of_its_own():
    with pytest.raises(PreprocessingError, match="raw, got 'custom'"):
        Preprocessing.for_mode("custom", 2, 2, 3)
