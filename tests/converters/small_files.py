"""Small .tflite files of every kind, made once."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class SmallFiles:
    """Variants of one small Keras CNN by recipe name, the CNN's own weights by layer, and its parameter count."""

    folder: Path
    weights: dict[str, list[Any]]
    parameters: int

    def path(self, recipe: str) -> Path:
        return self.folder / f"small-{recipe}.tflite"


@pytest.fixture(scope="session")
def small_files(tmp_path_factory) -> SmallFiles:
    """Convert a small CNN (all weighted operator kinds; one layer pruned to 75 %) by TensorFlow's own converter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        # The converter's own warnings are about its internals, not about what is tested here.
        warnings.simplefilter("ignore")
        return _convert(tmp_path_factory.mktemp("small"))


@pytest.fixture
def repack(small_files):
    """A function that unpacks a file with the schema's classes, lets a function change it, and packs it again."""

    def changed(change, recipe="fp32"):
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        unpacked = schema.ModelT.InitFromPackedBuf(small_files.path(recipe).read_bytes())
        change(unpacked)
        builder = flatbuffers.Builder(1024)
        builder.Finish(unpacked.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return changed


def _convert(folder: Path) -> SmallFiles:
    import tensorflow as tf

    model = _model()
    (folder / "saved").mkdir()
    fixed, free = folder / "fixed", folder / "free"
    _export(model, fixed, 1)
    _export(model, free, None)
    optimize, opset = tf.lite.Optimize, tf.lite.OpsSet
    half, sparse = [tf.float16], optimize.EXPERIMENTAL_SPARSITY
    int16 = opset.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    variants = {
        "fp32": (fixed, [], [], None),
        "free-batch": (free, [], [], None),
        "fp16": (fixed, [optimize.DEFAULT], half, None),
        "dynamic": (fixed, [optimize.DEFAULT], [], None),
        "int8": (fixed, [optimize.DEFAULT], [], opset.TFLITE_BUILTINS_INT8),
        "int16x8": (fixed, [optimize.DEFAULT], [], int16),
        "sparse": (fixed, [sparse], [], None),
        "sparse-fp16": (fixed, [optimize.DEFAULT, sparse], half, None),
    }
    for name, (source, optimizations, types, ops) in variants.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
        converter.optimizations = optimizations
        converter.target_spec.supported_types = types
        if ops is not None:
            converter.target_spec.supported_ops = [ops]
            converter.representative_dataset = _samples
        (folder / f"small-{name}.tflite").write_bytes(converter.convert())
    (folder / "small-loop.tflite").write_bytes(_loop())
    return SmallFiles(folder, {layer.name: layer.get_weights() for layer in model.layers}, model.count_params())


def _model() -> Any:
    import keras
    import numpy as np

    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(x)
    x = layers.Conv2D(16, 1, name="pointwise")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(256, activation="relu", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(10, name="head")(x))
    generator = np.random.default_rng(7)
    for layer in model.layers:
        layer.set_weights([generator.normal(size=array.shape).astype("float32") for array in layer.get_weights()])
    kernel, bias = model.get_layer("hidden").get_weights()
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.75)] = 0
    model.get_layer("hidden").set_weights([kernel, bias])
    return model


def _export(model: Any, folder: Path, batch: int | None) -> None:
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec((batch, 16, 16, 3), name="image")]
    archive.add_endpoint("serve", lambda image: model(image, training=False), input_signature=signature)
    archive.write_out(str(folder), verbose=False)


def _samples() -> Any:
    import numpy as np

    generator = np.random.default_rng(1)
    for _ in range(4):
        yield [generator.random((1, 16, 16, 3), dtype=np.float32)]


def _loop() -> bytes:
    import tensorflow as tf

    def double_until_large(value: Any) -> Any:
        return tf.while_loop(lambda item: tf.reduce_sum(item) < 100.0, lambda item: [item * 2.0], [value])[0]

    function = tf.function(double_until_large).get_concrete_function(tf.TensorSpec((1, 4)))
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
