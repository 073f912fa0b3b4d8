"""Models of every kind that TensorFlow's converter makes, small, converted once per run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def converted(tmp_path_factory) -> dict[str, Path]:
    """Small models by name: recipes of a CNN, recurrent layers, control flow, and many single operators."""
    tf = pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("converted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own, about its own ways
        made = {**recipes(tf), **functions(tf)}
    paths = {}
    for name, data in made.items():
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(data)
    return paths


def cnn(keras):
    """Return a small CNN with residual, pooling, depthwise and dense layers."""
    entry = keras.Input((16, 16, 3))
    value = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(entry)
    other = keras.layers.DepthwiseConv2D(3, padding="same")(value)
    value = keras.layers.Add()([value, keras.layers.BatchNormalization()(other)])
    value = keras.layers.Concatenate()([keras.layers.MaxPooling2D(2)(value), keras.layers.AveragePooling2D(2)(value)])
    value = keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same")(value)
    value = keras.layers.GlobalAveragePooling2D()(value)
    return keras.Model(entry, keras.layers.Dense(10, activation="softmax")(value))


def recipes(tf):
    """Return the CNN by recipe, and recurrent networks."""
    keras = tf.keras
    keras.utils.set_random_seed(0)
    network = cnn(keras)
    samples = np.random.default_rng(0).uniform(-1, 1, (8, 1, 16, 16, 3)).astype(np.float32)
    int16 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8

    def convert(function, **settings):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        for name, value in settings.items():
            setattr(converter, name, value)
        return converter.convert()

    def traced(model, *shape):
        return tf.function(model).get_concrete_function(tf.TensorSpec(shape, tf.float32))

    fixed, free = traced(network, 1, 16, 16, 3), traced(network, None, 16, 16, 3)
    quantized = {"optimizations": [tf.lite.Optimize.DEFAULT], "representative_dataset": lambda: ([x] for x in samples)}
    only = tf.lite.TargetSpec
    return {
        "fp32": convert(fixed),
        "free_batch": convert(free),
        "fp16": convert(fixed, optimizations=[tf.lite.Optimize.DEFAULT],
                        target_spec=only(supported_types=[tf.float16])),
        "dynamic": convert(fixed, optimizations=[tf.lite.Optimize.DEFAULT]),
        "int8": convert(fixed, **quantized, inference_input_type=tf.int8, inference_output_type=tf.int8,
                        target_spec=only(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8])),
        "int8_float": convert(fixed, **quantized),
        "int16x8": convert(fixed, **quantized, target_spec=only(supported_ops=[int16])),
        "sparse": convert(traced(sparse(keras), 1, 16, 16, 64),
                          optimizations=[tf.lite.Optimize.EXPERIMENTAL_SPARSITY]),
        "lstm": convert(traced(keras.Sequential([keras.Input((8, 4)), keras.layers.LSTM(6)]), 1, 8, 4)),
        "bidirectional": convert(traced(keras.Sequential([
            keras.Input((8, 4)), keras.layers.Bidirectional(keras.layers.LSTM(6, return_sequences=True)),
        ]), 1, 8, 4)),
        "gru": convert(traced(keras.Sequential([keras.Input((8, 4)), keras.layers.GRU(6)]), 1, 8, 4)),
    }  # fmt: skip


def sparse(keras):
    """Return a network whose weights are zero for the most part, in blocks that the converter recognizes."""
    network = keras.Sequential([keras.Input((16, 16, 64)), keras.layers.Conv2D(64, 1), keras.layers.Dense(32)])
    for layer in network.layers:
        kernel, *rest = layer.get_weights()
        mask = np.random.default_rng(1).random((kernel[..., :1].size, 1)).reshape(kernel[..., :1].shape) < 0.2
        layer.set_weights([kernel * mask, *rest])
    return network


def functions(tf):  # noqa: C901  (one small function per model, flat)
    """Return models of single operators and of control flow."""
    rng = np.random.default_rng(0)
    table = tf.constant(rng.uniform(-1, 1, (9, 6)).astype(np.float32))

    def loop(x):
        return tf.while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 1.5 + 1), (tf.constant(0), x))[1]

    def branch(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: tf.nn.relu(x) + 1)

    def shapes(x):
        left, right = tf.split(x, 2, axis=3)
        packed = tf.stack([left, right], axis=1)
        one, two = tf.unstack(packed, axis=1)
        padded = tf.pad(tf.transpose(one, (0, 2, 1, 3)), ((0, 0), (1, 1), (2, 0), (0, 0)))
        mirrored = tf.pad(two, ((0, 0), (2, 1), (0, 2), (0, 0)), mode="REFLECT")
        sliced = mirrored[:, 1:7:2, ::-1, :1] + tf.slice(padded, (0, 0, 0, 0), (1, 3, 10, 1))
        return tf.reshape(tf.tile(sliced, (1, 2, 1, 3)), (1, -1))

    def space(x):
        deep = tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2)
        batch = tf.batch_to_space(tf.space_to_batch(deep, (2, 2), ((0, 0), (0, 0))), (2, 2), ((0, 0), (0, 0)))
        return tf.image.resize(batch, (12, 10)), tf.image.resize(batch, (5, 7), method="nearest")

    def choices(x):
        flat = tf.reshape(x, (1, -1))
        values, places = tf.math.top_k(flat, 4)
        rows = tf.gather(table, places % 9)
        return (
            values,
            tf.argmax(flat, 1),
            rows,
            tf.one_hot(places, 5),
            tf.cumsum(flat, 1),
            tf.where(flat > 0, flat, -flat),
        )

    def arithmetic(x):
        y = tf.sqrt(tf.abs(x)) + tf.exp(-x) * tf.math.sigmoid(x) - tf.tanh(x) / (tf.square(x) + 1)
        z = tf.maximum(y, tf.minimum(x, 0.5)) + tf.math.floordiv(y, 2.0) + tf.nn.leaky_relu(x) + tf.nn.elu(x)
        return (
            tf.nn.log_softmax(z),
            tf.reduce_max(z, (1, 2)),
            tf.reduce_mean(z, -1),
            tf.cast(z, tf.int32),
            tf.nn.gelu(z),
        )

    def products(x):
        rows = tf.reshape(x, (1, 64, 4))
        return tf.matmul(rows, rows, transpose_b=True), tf.einsum("bij,jk->bik", rows, table[:4])

    def volume(x):
        return tf.nn.conv3d(x[:, :, :, :, None], tf.ones((2, 2, 2, 1, 3)), (1, 1, 1, 1, 1), "SAME")

    def words(x):
        return tf.constant(["cat", "dog"]), tf.gather(table, tf.argmax(tf.reshape(x, (1, -1)), 1) % 9)

    made = {}
    for function in (loop, branch, shapes, space, choices, arithmetic, products, volume, words):
        concrete = tf.function(function).get_concrete_function(tf.TensorSpec((1, 8, 8, 4), tf.float32))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        made[function.__name__] = converter.convert()
    return made
