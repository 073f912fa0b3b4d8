"""The recipes sparse, sparse-fp16 and sparse-int8: from a pruned Keras model to checked artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from converters.artifact.record import SourceRecord
from converters.convert import Conversion, Provenance, Variant, convert
from converters.errors import ConversionError
from converters.recipes import recipe_named, recipes_named
from converters.samples import gather
from converters.source import from_keras
from converters.sparse.pointwise import find_packed_constant, find_pointwise_weights, require_sparse_weights
from converters.tflite.reader import parse_model
from converters.tflite.tensor_data import read_dense_values, read_real_values
from edge.models import build
from edge.runtime.kernels import XNNPACK, profile_kernels
from edge.runtime.verified_model import verify_bytes
from edge.training.pruning import prunable_layers, prune_magnitude

COMPUTING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
SPARSE = ("sparse", "sparse-fp16", "sparse-int8")


@dataclass(frozen=True)
class Pruned:
    """A pruned model and its artifacts by recipe name."""

    model: Any
    artifacts: dict[str, Variant]


def trained_like(model: Any) -> Any:
    """Give a model values as after training: activations of size 1, scores that tell pictures apart."""
    random = np.random.default_rng(4)
    for variable in model.weights:
        name = variable.path.split("/")[-1]
        if name in {"gamma", "moving_variance"}:
            variable.assign(random.uniform(0.8, 1.25, variable.shape))
        elif name in {"beta", "moving_mean", "bias"}:
            variable.assign(random.normal(0, 0.2, variable.shape))
        elif name == "kernel":
            fan_in = np.prod(variable.shape[:2]) if len(variable.shape) == 4 and variable.shape[3] == 1 else (
                np.prod(variable.shape[:-1]))  # fmt: skip
            variable.assign(random.normal(0, np.sqrt(2 / fan_in), variable.shape))
    return model


def rescaled(model: Any, factor: float) -> None:
    """Undo what pruning took from the size of activations."""
    for layer in prunable_layers(model):
        layer.kernel.assign(np.asarray(layer.kernel) * factor)


def asked(model: Any, folder: Path, *recipes: str, count: int = 24, **fields: Any) -> Conversion:
    source = from_keras(model, name="pruned", kind="keras")
    inputs = source.with_static_inputs(batch=1, image_size=None)
    random = np.random.default_rng(8)
    samples = gather(
        [([random.uniform(-1, 1, inputs[0].shape[1:])], None) for _ in range(count)],
        inputs=inputs, source="drawn", seed=8,
    )  # fmt: skip
    record = SourceRecord(name="pruned", kind="keras", arguments={}, sha256=None, weights=None, weights_sha256=None)
    provenance = Provenance(source=record)
    return Conversion(model=source, inputs=inputs, recipes=recipes_named(recipes), calibration=None, check=samples,
                      classes=True, provenance=provenance, name="pruned", folder=folder, **fields)  # fmt: skip


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    model = trained_like(build("mobilenet_v2", alpha=0.35, image_size=64, classes=10, padding="symmetric"))
    prune_magnitude(model, 0.8, 2)
    rescaled(model, 1.5)
    made = convert(asked(model, tmp_path_factory.mktemp("sparse"), "fp32", *SPARSE))
    return Pruned(model, {artifact.recipe.name: artifact for artifact in made})


@pytest.mark.parametrize("recipe", SPARSE)
def test_parity_and_description(pruned, recipe):
    artifact = pruned.artifacts[recipe]
    assert artifact.parity.beyond(artifact.recipe.tolerance) == ()
    assert artifact.parity.top1_agreement is not None
    record = artifact.to_json()
    assert record["recipe"]["sparse"] is True
    assert record["recipe"]["weights"] == {"sparse": "float32", "sparse-fp16": "float16", "sparse-int8": "int8"}[recipe]
    assert verify_bytes(artifact.data, artifact.path).size_bytes == len(artifact.data)


def test_the_scores_of_the_model_differ_from_picture_to_picture(pruned):
    random = np.random.default_rng(8)
    scores = np.asarray(pruned.model(random.uniform(-1, 1, (8, 64, 64, 3))))
    assert np.std(scores, axis=0).max() > 0.003, "otherwise agreement would prove nothing"


@pytest.mark.parametrize("recipe", SPARSE)
def test_the_34_kernels_are_stored_sparse_in_blocks_of_two(pruned, recipe):
    model = parse_model(pruned.artifacts[recipe].data)
    kernels = find_pointwise_weights(model)
    assert len(kernels) == 34
    assert all(kernel.stored_sparse and kernel.share >= 0.79 for kernel in kernels)
    graph = model.main
    for kernel in kernels:
        constant = find_packed_constant(graph, graph.producers(), graph.operators[kernel.operator].inputs[1])
        assert constant.sparsity.block_shape == (2,)


@pytest.mark.parametrize("recipe", SPARSE)
def test_zeros_of_the_mask_are_zeros_of_the_file_and_no_others(pruned, recipe):
    model = parse_model(pruned.artifacts[recipe].data)
    graph, producers = model.main, model.main.producers()
    for kernel, layer in zip(find_pointwise_weights(model), prunable_layers(pruned.model), strict=True):
        constant = find_packed_constant(graph, producers, graph.operators[kernel.operator].inputs[1])
        mask = np.asarray(layer.kernel)[0, 0].T != 0
        stored = read_dense_values(model, constant)[:, 0, 0, :]
        assert (stored[~mask] == 0).all()
        lost = np.count_nonzero(stored[mask] == 0)
        assert lost <= (0.02 * mask.sum() if recipe == "sparse-int8" else 0), "only the smallest round to zero"


def test_int8_weights_stand_behind_densify_and_dequantize(pruned):
    model = parse_model(pruned.artifacts["sparse-int8"].data)
    graph, producers = model.main, model.main.producers()
    for kernel in find_pointwise_weights(model):
        dequantize = producers[graph.operators[kernel.operator].inputs[1]]
        densify = producers[dequantize.inputs[0]]
        assert (dequantize.name, dequantize.version, densify.name) == ("DEQUANTIZE", 2, "DENSIFY")
        sparse, dense = graph.tensors[densify.inputs[0]], graph.tensors[dequantize.inputs[0]]
        assert (sparse.dtype, dense.dtype) == ("int8", "int8")
        assert sparse.quantization == dense.quantization
        assert (sparse.quantization.axis, len(sparse.quantization.scales)) == (0, sparse.shape[0])
        assert set(sparse.quantization.zero_points) == {0}


def test_what_each_kernel_is_stored_as_and_how_close_it_is(pruned):
    ours, wanted = (parse_model(pruned.artifacts[recipe].data) for recipe in ("sparse-int8", "fp32"))
    computing = [[op for op in model.main.operators if op.name in COMPUTING] for model in (ours, wanted)]
    producers = ours.main.producers()
    stored = []
    for operator, other in zip(*computing, strict=True):
        kernel, bias = (find_packed_constant(ours.main, producers, operator.inputs[place]) for place in (1, 2))
        stored.append((operator.name, kernel.dtype, bias.dtype))
        reference = read_real_values(wanted, wanted.main.tensors[other.inputs[1]])
        found = read_real_values(ours, kernel).reshape(reference.shape)
        allowed = 2**-11 * np.abs(reference) + 1e-7
        if kernel.dtype == "int8":
            steps = np.asarray(kernel.quantization.scales)
            allowed = 0.5001 * steps.reshape(-1, *[1] * (reference.ndim - 1))
        assert (np.abs(found - reference) <= allowed).all()
    assert stored[0] == ("CONV_2D", "float16", "float16")
    assert set(stored[1:]) == {
        ("DEPTHWISE_CONV_2D", "float16", "float16"),
        ("CONV_2D", "int8", "float32"),
        ("FULLY_CONNECTED", "int8", "float32"),
    }


def test_nothing_is_stored_twice_or_unread(pruned):
    graph = parse_model(pruned.artifacts["sparse-int8"].data).main
    read = {index for operator in graph.operators for index in operator.inputs}
    assert [tensor.name for tensor in graph.tensors if tensor.is_constant and tensor.index not in read] == []
    assert sum(tensor.stored_bytes for tensor in graph.tensors if tensor.dtype == "float32") < 4 * 20_000


@pytest.mark.parametrize("recipe", SPARSE)
def test_xnnpack_takes_the_whole_graph(pruned, recipe):
    profile = profile_kernels(pruned.artifacts[recipe].path, runs=1)
    assert {operator.runs_in for operator in profile.operators} == {XNNPACK}


def test_a_shared_bias_and_numbers_beyond_float16(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(16, 3, strides=2, activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="huge")(x)
    x = layers.Conv2D(16, 1, name="one")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(4)(x))
    kernel = np.asarray(model.get_layer("huge").kernel)
    model.get_layer("huge").kernel.assign(kernel * 1e6)
    prune_magnitude(model, 0.8, 2)
    (artifact,) = convert(asked(model, tmp_path, "sparse-int8", count=2))
    file = parse_model(artifact.data)
    producers = file.main.producers()
    stem, one = (op for op in file.main.operators if op.name == "CONV_2D")
    (huge,) = (op for op in file.main.operators if op.name == "DEPTHWISE_CONV_2D")
    found = [
        find_packed_constant(file.main, producers, op.inputs[place]).dtype
        for op in (stem, huge, one)
        for place in (1, 2)
    ]
    assert found == ["float16", "float16", "float32", "float32", "int8", "float32"]


def test_each_recipe_is_smaller_than_the_last(pruned):
    sizes = [len(pruned.artifacts[recipe].data) for recipe in ("fp32", *SPARSE)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_mobilenet_v2_of_1000_classes_at_90_percent(tmp_path):
    model = build("mobilenet_v2", padding="symmetric")
    prune_magnitude(model, 0.9, 2)
    made = convert(asked(model, tmp_path, "fp32", *SPARSE, count=1))
    sizes = {artifact.recipe.name: len(artifact.data) for artifact in made}
    assert sizes["fp32"] == pytest.approx(13.92e6, rel=0.01)
    assert sizes["sparse-int8"] <= 2.6e6
    assert sizes["sparse-fp16"] <= 3.6e6
    assert sizes["sparse"] <= 6.7e6


@pytest.mark.parametrize("recipe", SPARSE)
def test_a_dense_model_is_refused_and_nothing_is_written(tmp_path, recipe):
    model = trained_like(build("mobilenet_v1", alpha=0.25, image_size=32, classes=3, padding="symmetric"))
    with pytest.raises(
        ConversionError, match=r"of the 196,224 weights in 13 1x1 convolutions are zero \(0\.\d%\)"
    ) as caught:
        convert(asked(model, tmp_path, recipe, count=2))
    assert "prune the model first" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_two_thirds_are_not_enough(tmp_path):
    model = trained_like(build("mobilenet_v1", alpha=0.25, image_size=32, classes=3, padding="symmetric"))
    prune_magnitude(model, 0.66, 1)
    with pytest.raises(ConversionError, match=r"\(66\.0%\), more than two thirds must be"):
        convert(asked(model, tmp_path, "sparse", count=2))
    prune_magnitude(model, 0.7, 1)
    assert [artifact.name for artifact in convert(asked(model, tmp_path, "sparse", count=2))] == ["pruned-sparse"]


def test_what_is_refused_can_be_decided_elsewhere(tmp_path):
    model = trained_like(build("mobilenet_v1", alpha=0.25, image_size=32, classes=3, padding="symmetric"))
    (artifact,) = convert(asked(model, tmp_path, "sparse-int8", count=2, require_sparse=lambda model: None))
    assert artifact.path.exists()
    assert artifact.parity.beyond(artifact.recipe.tolerance) == ()


def test_a_file_that_stores_its_zeros_is_told_apart(pruned):
    with pytest.raises(ConversionError, match="the file stores all of them"):
        require_sparse_weights(parse_model(pruned.artifacts["fp32"].data))


def test_a_model_without_1x1_convolutions(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    model = keras.Model(inputs, layers.Flatten()(layers.Conv2D(4, 1, name="classifier")(pooled)))
    with pytest.raises(ConversionError, match="no 1x1 convolution"):
        convert(asked(model, tmp_path, "sparse", count=2))


def test_blocks_of_four_and_layers_without_a_single_weight(tmp_path):
    model = trained_like(build("mobilenet_v1", alpha=0.25, image_size=32, classes=3, padding="symmetric"))
    prune_magnitude(model, 0.75, 4)
    model.get_layer("conv_pw_3").kernel.assign(np.zeros(model.get_layer("conv_pw_3").kernel.shape))
    for artifact in convert(asked(model, tmp_path, *SPARSE, count=3)):
        file = parse_model(artifact.data)
        shares = {kernel.name: kernel.share for kernel in find_pointwise_weights(file)}
        assert max(shares.values()) == 1.0
        blocks = {t.sparsity.block_shape for t in file.main.tensors if t.sparsity is not None}
        assert (4,) in blocks
        verify_bytes(artifact.data, artifact.path)


def test_names():
    assert recipe_named("sparse-int8").sparse
    assert not recipe_named("fp16").sparse
