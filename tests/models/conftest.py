"""A small CNN with every kind of weighted layer, and its conversions by TensorFlow Lite."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers


def small_cnn(*, classes=5, width=8, strides=2, activation=6.0, padding="same"):
    """Build three kinds of convolution, with and without normalization, and a classifier."""
    inputs = layers.Input((16, 16, 3))
    x = inputs
    if padding == "symmetric":
        x = layers.ZeroPadding2D(1)(x)
    mode = "valid" if padding == "symmetric" else "same"
    x = layers.Conv2D(width, 3, strides=strides, padding=mode, use_bias=False, name="stem")(x)
    x = layers.ReLU(activation)(layers.BatchNormalization(epsilon=1e-3, name="stem_bn")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="depthwise")(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name="depthwise_bn")(x))
    x = layers.Conv2D(12, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="classifier")(x), name="small_cnn")


def shaken(model, seed=7):
    """Give a model values as after training: nothing is 0 or 1 by construction."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = (0.5, 2.0) if variable.path.endswith(("gamma", "moving_variance")) else (-0.5, 0.5)
        variable.assign(random.uniform(low, high, variable.shape).astype(np.float32))
    return model


def pictures(count=16):
    """Random pictures for the small CNN."""
    return np.random.default_rng(3).uniform(-1, 1, (count, 16, 16, 3)).astype(np.float32)


def _samples():
    for picture in pictures():
        yield [picture[None]]


@pytest.fixture(scope="session")
def trained():
    """The small CNN the files below were converted from."""
    return shaken(small_cnn())


@pytest.fixture(scope="session")
def tflite_files(trained, tmp_path_factory):
    """The small CNN as float32, float16 and full 8-bit files."""
    folder = tmp_path_factory.mktemp("tflite")
    return {how: _converted(trained, folder / f"{how}.tflite", how) for how in ("fp32", "fp16", "int8")}


def _converted(model, path, how):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if how != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if how == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if how == "int8":
        converter.representative_dataset = _samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        # The converter says that float inputs are calibrated: that is what the samples are for.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected", UserWarning)
        path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="session")
def dynamic_file(tmp_path_factory):
    """A wider small CNN (kernels below 1024 values stay float) and its file with 8-bit weights and float biases."""
    model = shaken(small_cnn(width=64))
    return model, _converted(model, tmp_path_factory.mktemp("tflite") / "dynamic.tflite", "dynamic")


@pytest.fixture
def small():
    """The functions `small_cnn`, `shaken` and `pictures`."""
    return small_cnn, shaken, pictures
