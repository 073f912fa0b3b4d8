"""Magnitude masks in blocks, and which layers of a network they are for."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from edge.errors import InputError
from edge.models import build
from edge.training.pruning import block_mask, prunable_layers, prune_magnitude


@given(
    inputs=st.integers(1, 9), outputs=st.integers(1, 13), sparsity=st.floats(0, 1), block=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_mask_is_exact_to_one_block_and_keeps_the_largest(inputs, outputs, sparsity, block, seed):
    kernel = np.random.default_rng(seed).normal(size=(1, 1, inputs, outputs)).astype(np.float32)
    mask = block_mask(kernel, sparsity, block)
    assert mask.shape == kernel.shape
    assert abs(int((~mask).sum()) - sparsity * kernel.size) <= block / 2
    kept, dropped = [], []
    for row, weights in zip(mask[0, 0], np.abs(kernel[0, 0]), strict=True):
        for start in range(0, outputs, block):
            part = row[start : start + block]
            assert part.all() or not part.any(), "a block is whole or gone"
            (kept if part[0] else dropped).append(weights[start : start + block].mean(dtype=np.float64))
    assert not kept or not dropped or min(kept) >= max(dropped)


def test_a_block_is_neighbouring_output_channels_of_one_input_channel():
    kernel = np.array([[5, 1, 2, 2], [1, 1, 9, 0]], np.float32).reshape(1, 1, 2, 4)
    assert block_mask(kernel, 0.5, 2)[0, 0].tolist() == [[True, True, False, False], [False, False, True, True]]
    assert block_mask(kernel, 0.5, 4)[0, 0].tolist() == [[False] * 4, [True] * 4]
    assert block_mask(kernel, 0.5, 1)[0, 0].tolist() == [[True, False, True, True], [False, False, True, False]]


@pytest.mark.parametrize(
    ("shape", "sparsity", "block", "said"),
    [
        ((3, 3, 2, 2), 0.5, 1, r"shape \[3, 3, 2, 2\]"),
        ((1, 1, 2, 2), 80, 1, "sparsity is 80"),
        ((1, 1, 2, 2), float("nan"), 1, "sparsity is nan"),
        ((1, 1, 2, 2), 0.8, 3, "block is 3"),
    ],
)
def test_what_is_out_of_range_is_refused(shape, sparsity, block, said):
    with pytest.raises(InputError, match=said):
        block_mask(np.ones(shape, np.float32), sparsity, block)


def test_the_34_pointwise_convolutions_of_mobilenet_v2_are_prunable():
    for size in (32, 64):
        names = [layer.name for layer in prunable_layers(build("mobilenet_v2", alpha=0.35, image_size=size, classes=4))]
        assert len(names) == 34
        assert names[0] == "expanded_conv_project"
        assert names[-1] == "Conv_1"


def test_stem_depthwise_classifier_and_squeeze_and_excite_are_not_prunable():
    inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(8, 1, name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(8, 1, name="wanted")(x)
    x = layers.Conv2D(8, 1, strides=2, name="strided")(x)
    x = layers.Conv2D(8, 1, groups=2, name="grouped")(x)
    x = layers.ReLU()(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = keras.Model(inputs, layers.Flatten()(layers.Conv2D(5, 1, name="classifier")(x)))
    assert [layer.name for layer in prunable_layers(model)] == ["wanted"]
    assert model.count_params() > 0


def test_pruning_a_model_in_place():
    model = build("mobilenet_v2", alpha=0.35, image_size=32, classes=4)
    before = {layer.name: np.asarray(layer.kernel) for layer in prunable_layers(model)}
    classifier = np.asarray(model.get_layer("predictions").kernel)
    pruned = prune_magnitude(model, 0.9, 2)
    assert [layer.name for layer in pruned] == list(before)
    for layer in pruned:
        kernel = np.asarray(model.get_layer(layer.name).kernel)
        assert layer.zeros == np.count_nonzero(kernel == 0)
        assert abs(layer.zeros - 0.9 * layer.parameters) <= 1
        assert layer.sparsity == pytest.approx(0.9, abs=0.01)
        assert (kernel[kernel != 0] == before[layer.name][kernel != 0]).all()
    assert (np.asarray(model.get_layer("predictions").kernel) == classifier).all()


def test_a_model_without_pointwise_convolutions():
    model = keras.Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)], name="plain"
    )
    with pytest.raises(InputError, match="'plain' has no 1x1 convolution"):
        prune_magnitude(model, 0.5, 1)
