"""Small networks that meet or break XNNPACK's sparse rules, one rule each, converted as other people convert."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = 32


@dataclass(frozen=True)
class Entry:
    """A network, how it is pruned and converted, and what is expected on a Pi 4 with LiteRT 2.1.6.

    `build` makes the model; `ran` sparse kernels of `of` 1x1 convolutions; `corrupts` as in
    a prediction; `says` is part of the first reason; `packed` takes Optimize.DEFAULT beside
    the sparsity, without calibration; `stored` is what our recipes make of the
    converted weights: indices of blocks (blockMap), or blocks and int8.
    """

    build: Callable[[], Any]
    ran: int
    of: int
    says: str = ""
    corrupts: bool = False
    zeros: Sequence[float] = (0.85,)
    sparse: bool = True
    half: bool = False
    integer: bool = False
    packed: bool = False
    stored: str = "as converted"
    batch: int | None = 1


def stem(x: Any, how: str = "symmetric", kernel: int = 3) -> Any:
    """First convolution."""
    from keras import layers

    if how == "symmetric":
        x = layers.ZeroPadding2D(kernel // 2)(x)
    mode = "valid" if how == "symmetric" else "same"
    return layers.Conv2D(16, kernel, strides=2, padding=mode, activation="relu")(x)


def pw(x: Any, channels: int = CHANNELS, activation: Any = "relu", **more: Any) -> Any:
    """1x1 convolution."""
    from keras import layers

    return layers.Conv2D(channels, 1, activation=activation, **more)(x)


def dw(x: Any, kernel: int = 3, strides: int = 1, *, symmetric: bool = False, **more: Any) -> Any:
    """Depthwise convolution."""
    from keras import layers

    if symmetric:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    mode = "valid" if symmetric else "same"
    return layers.DepthwiseConv2D(kernel, strides=strides, padding=mode, activation="relu", **more)(x)


def head(x: Any, *, keepdims: bool = False) -> Any:
    """Mean over height and width, and a classifier."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(keepdims=keepdims)(x)
    return layers.Dense(10, activation="softmax")(layers.Flatten()(x) if keepdims else x)


def net(layers_of: Callable[[Any], Any], *, size: int = 24, channels: int = 3) -> Callable[[], Any]:
    """Return what builds a network on images of that size."""

    def build() -> Any:
        import keras

        inputs = keras.Input((size, size, channels))
        return keras.Model(inputs, layers_of(inputs))

    return build


def _between(middle: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a network with something between two 1x1 convolutions of a cluster."""
    return net(lambda i: head(pw(middle(pw(stem(i))))))


def _layer(name: str, *args: Any, **more: Any) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        from keras import layers

        return getattr(layers, name)(*args, **more)(x)

    return call


def _joined(name: str) -> Callable[[Any], Any]:
    return lambda x: _layer(name)([x, dw(x)])


def _excited(x: Any) -> Any:
    from keras import layers

    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, pw(pw(gate, 8), CHANNELS, "sigmoid")])


def _also_pooled(i: Any) -> Any:
    x = pw(stem(i))
    return [head(pw(dw(x))), _layer("Flatten")(_layer("MaxPooling2D", 2)(x))]


def _also_output(i: Any) -> Any:
    x = pw(stem(i))
    return [head(pw(dw(x))), x]


def _shuffled(i: Any) -> Any:
    import keras

    return keras.layers.Lambda(lambda x: __import__("tensorflow").nn.depth_to_space(x, 2))(pw(dw(pw(stem(i))), 12))


def _shuffled_inside(i: Any) -> Any:
    return head(pw(_lambda(lambda tf, x: tf.nn.depth_to_space(x, 2))(pw(dw(pw(stem(i)))))))


def _classifier_behind(i: Any) -> Any:
    x = _layer("GlobalAveragePooling2D", keepdims=True)(pw(dw(pw(stem(i)))))
    return _layer("Flatten")(pw(x, 10, None))


def _kept_dense(i: Any) -> Any:
    x = _layer("GlobalAveragePooling2D", keepdims=True)(pw(dw(pw(stem(i)))))
    return _layer("Flatten")(_layer("Dense", 10)(x))


def _lambda(of: Callable[[Any, Any], Any], shape: tuple[int, ...] | None = None) -> Callable[[Any], Any]:
    """Return a layer of TensorFlow's own: `of` gets the module and the value."""
    return lambda x: _layer("Lambda", lambda value: of(__import__("tensorflow"), value), output_shape=shape)(x)


def _reduced(how: str, axes: list[int], shape: tuple[int, ...]) -> Callable[[], Any]:
    reduce = _lambda(lambda tf, x: getattr(tf, how)(x, axes), shape)
    return net(lambda i: _layer("Dense", 10)(_layer("Flatten")(reduce(pw(dw(pw(stem(i))))))))


def _of_computed_size(i: Any) -> Any:
    """Give rows whose number is computed from the batch, so that the interpreter learns it only when it runs."""
    return _lambda(lambda tf, x: tf.reshape(x, tf.stack([tf.shape(x)[0] * 5, 2])), (2,))(head(pw(dw(pw(stem(i))))))


def _stock() -> Any:
    import keras

    return keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)


def _symmetric() -> Any:
    from edge.models import build

    return build("mobilenet_v2", alpha=0.35, image_size=96, classes=10, padding="symmetric")


_PLAIN = _between(dw)
_WRONG = "WRONG"
ZOO: dict[str, Entry] = {
    "plain": Entry(_PLAIN, 2, 2),
    "plain-fp16": Entry(_PLAIN, 2, 2, half=True),
    "plain-blocks": Entry(_PLAIN, 2, 2, stored="blocks"),
    "plain-fp16-blocks": Entry(_PLAIN, 2, 2, half=True, stored="blocks"),
    "plain-int8-weights": Entry(_PLAIN, 2, 2, stored="int8"),
    "stem-same-int8-weights": Entry(net(lambda i: head(pw(dw(pw(stem(i, "same")))))), 0, 2, "(0,1)", stored="int8"),
    "plain-free-batch": Entry(_PLAIN, 2, 2, batch=None),
    "flatten-free-batch": Entry(net(lambda i: head(pw(dw(pw(stem(i)))), keepdims=True)), 2, 2, batch=None),
    "ordinary": Entry(_PLAIN, 0, 2, "stored dense", sparse=False),
    "never-pruned": Entry(_PLAIN, 0, 2, "not pruned", zeros=(), sparse=False),
    "zeros-60": Entry(_PLAIN, 0, 2, "more than two thirds", zeros=(0.6,)),
    "zeros-two-thirds": Entry(_PLAIN, 0, 2, "more than two thirds", zeros=(340 / 512, 684 / 1024)),
    "zeros-a-block-more": Entry(_PLAIN, 2, 2, zeros=(340 / 512, 686 / 1024)),
    "zeros-70": Entry(_PLAIN, 2, 2, zeros=(0.7,)),
    "integer": Entry(_PLAIN, 0, 2, "int8", integer=True),
    "stem-same": Entry(net(lambda i: head(pw(dw(pw(stem(i, "same")))))), 0, 2, "(0,1)"),
    "stem-same-odd": Entry(net(lambda i: head(pw(dw(pw(stem(i, "same"))))), size=25), 0, 2, "(1,1) (SAME"),
    "stem-5x5": Entry(net(lambda i: head(pw(dw(pw(stem(i, kernel=5)))))), 0, 2, "5x5 convolution"),
    "gray": Entry(net(lambda i: head(pw(dw(pw(stem(i))))), channels=1), 0, 2, "1 input channel"),
    "scaled-input": Entry(net(lambda i: head(pw(dw(pw(stem(_layer("Rescaling", 0.1, -1)(i))))))), 2, 2),
    "depthwise-5x5": Entry(_between(lambda x: dw(x, 5, 2, symmetric=True)), 2, 2),
    "depthwise-7x7": Entry(_between(lambda x: dw(pw(x), 7)), 1, 3, _WRONG, corrupts=True),
    "depthwise-same": Entry(_between(lambda x: dw(pw(x), strides=2)), 1, 3, _WRONG, corrupts=True),
    "depthwise-multiplied": Entry(_between(lambda x: dw(x, depth_multiplier=2)), 0, 2, _WRONG, corrupts=True),
    "pointwise-stride": Entry(_between(lambda x: pw(x, strides=2)), 0, 3, _WRONG, corrupts=True),
    "convolution-inside": Entry(_between(_layer("Conv2D", 16, 3, padding="same")), 0, 2, _WRONG, corrupts=True),
    "residual": Entry(_between(_joined("Add")), 2, 2),
    "subtract": Entry(_between(_joined("Subtract")), 0, 2, "SUB"),
    "concatenate": Entry(_between(_joined("Concatenate")), 0, 2, "CONCATENATION"),
    "excited": Entry(_between(_excited), 4, 4),
    "hard-swish": Entry(_between(lambda x: _layer("Activation", "hard_swish")(dw(x))), 2, 2),
    "tanh": Entry(_between(lambda x: _layer("Activation", "tanh")(dw(x))), 2, 2),
    "prelu": Entry(_between(_layer("PReLU", shared_axes=[1, 2], alpha_initializer="glorot_uniform")), 0, 2, "MUL"),
    "resized": Entry(_between(_layer("UpSampling2D", 2, interpolation="bilinear")), 2, 2),
    "pooled": Entry(_between(_layer("MaxPooling2D", 2)), 0, 2, _WRONG, corrupts=True),
    "read-outside": Entry(net(_also_pooled), 0, 2, "from outside"),
    "read-as-output": Entry(net(_also_output), 0, 2, _WRONG, corrupts=True),
    "shuffled": Entry(net(_shuffled), 2, 2),
    "shuffled-inside": Entry(net(_shuffled_inside), 2, 3, "where a cluster ends"),
    "no-mean": Entry(net(lambda i: _layer("Dense", 10)(_layer("Flatten")(pw(dw(pw(stem(i))), 4)))), 0, 2, "no mean"),
    "classifier-1x1": Entry(net(_classifier_behind), 2, 3, _WRONG, corrupts=True),
    "dense-behind-kept-mean": Entry(net(_kept_dense), 2, 2, _WRONG, corrupts=True),
    "dense-inside": Entry(_between(_layer("Dense", CHANNELS, activation="relu")), 0, 2, "two thirds"),
    "mean-of-columns": Entry(_reduced("reduce_mean", [1], (12, CHANNELS)), 2, 2, _WRONG, corrupts=True),
    "mean-of-channels": Entry(_reduced("reduce_mean", [3], (12, 12)), 2, 2),
    "sum": Entry(_reduced("reduce_sum", [1, 2], (CHANNELS,)), 2, 2),
    "bounded": Entry(_between(_lambda(lambda tf, x: tf.minimum(x, 0.3))), 2, 2),
    "exponential": Entry(_between(_lambda(lambda tf, x: tf.exp(x))), 2, 2),
    "added-to-itself": Entry(_between(lambda x: _layer("Add")([x, x])), 0, 2, "reads one value twice"),
    "computed-size": Entry(net(_of_computed_size), 2, 2, batch=None),
    "dynamic-range": Entry(_PLAIN, 0, 2, "will NOT LOAD", packed=True),
    "mobilenet": Entry(_symmetric, 34, 34),
    "mobilenet-integer": Entry(_symmetric, 0, 34, "int8", integer=True),
    "stock-mobilenet": Entry(_stock, 0, 34, "(0,1)"),
    "stock-mobilenet-ordinary": Entry(_stock, 0, 34, "stored dense", sparse=False),
}


def write(name: str, folder: Path) -> Path:
    """Build, prune and convert one network of the zoo."""
    import keras
    import tensorflow as tf

    entry = ZOO[name]
    keras.utils.set_random_seed(3)
    model = entry.build()
    prune(model, entry.zeros)
    archive, exported = keras.export.ExportArchive(), folder / f"{name}.saved"
    archive.track(model)
    spec = tf.TensorSpec((entry.batch, *model.input_shape[1:]), tf.float32)
    archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=[spec])
    archive.write_out(exported, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(exported))
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if entry.sparse else []
    if entry.half:
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
        converter.target_spec.supported_types = [tf.float16]
    if entry.packed:
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if entry.integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        pictures = np.random.default_rng(1).uniform(-1, 1, (4, 1, *model.input_shape[1:])).astype(np.float32)
        converter.representative_dataset = lambda: ([picture] for picture in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    path = folder / f"{name}.tflite"
    path.write_bytes(_stored(converter.convert(), entry.stored))
    shutil.rmtree(exported)
    return path


def _stored(data: bytes, how: str) -> bytes:
    from converters.sparse.passes import encode_blocks, store_int8
    from converters.tflite.reader import parse_model

    change = {"as converted": lambda model: model, "blocks": encode_blocks, "int8": store_int8}[how]
    return change(parse_model(data)).content


def prune(model: Any, shares: Sequence[float]) -> None:
    """Set the smallest pairs of neighbouring output channels to zero: one share for all 1x1 layers, or one for each."""
    found = [layer for layer in model.layers if getattr(layer, "kernel_size", None) == (1, 1)]
    for layer, share in zip(found, list(shares) * (len(found) if len(shares) == 1 else 1), strict=False):
        kernel, *rest = layer.get_weights()
        pairs = kernel.reshape(-1, 2)
        order = np.argsort(np.abs(pairs).sum(axis=1), kind="stable")
        pairs[order[: round(len(pairs) * share)]] = 0
        layer.set_weights([pairs.reshape(kernel.shape), *rest])
