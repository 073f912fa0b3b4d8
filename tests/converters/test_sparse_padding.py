"""Maps of odd size: what the converter folds into SAME is told apart again, and sparse kernels take it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.freezing import freeze
from converters.lowering import Lowering
from converters.recipes import recipe_named
from converters.source import from_keras
from converters.sparse.passes import make_padding_explicit
from converters.targets.analysis import analyse
from converters.targets.boards import target_named
from converters.tflite.reader import parse_model
from converters.variant_comparison import HostModel
from edge.models import build
from edge.runtime.verified_model import verify_bytes
from edge.training.pruning import prune_magnitude

SIZE = 48  # block 13 of MobileNetV2 halves a map of 3x3


def lowering_of(model) -> Lowering:
    source = from_keras(model, name="odd", kind="keras")
    inputs = source.with_static_inputs(batch=1, image_size=None)
    frozen = freeze(source.call, inputs=inputs, output_names=source.output_names)
    return Lowering(frozen, samples=None)


@pytest.fixture(scope="module")
def lowering():
    model = build("mobilenet_v2", alpha=0.35, image_size=SIZE, classes=10, padding="symmetric")
    prune_magnitude(model, 0.8, 2)
    return lowering_of(model)


def strided(data: bytes) -> list[str]:
    """How each strided convolution of a file pads."""
    graph = parse_model(data).main
    makers = graph.producers()
    found = []
    for operator in graph.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and operator.options.strides == (2, 2):
            maker = makers.get(operator.inputs[0])
            found.append(f"{operator.options.padding}{' behind PAD' if maker and maker.name == 'PAD' else ''}")
    return found


@pytest.mark.parametrize("recipe", ["sparse", "sparse-fp16", "sparse-int8"])
def test_all_34_kernels_will_run_sparse(lowering, tmp_path, recipe):
    data = lowering.lower(recipe_named(recipe)).content
    assert strided(data) == ["VALID behind PAD"] * 5
    prediction = analyse(parse_model(data), target_named("pi4"), "ai-edge-litert==2.1.6").sparse
    assert (prediction.ran, prediction.of, prediction.reasons) == (34, 34, ())
    assert verify_bytes(data, tmp_path / "odd.tflite").size_bytes == len(data)


def test_the_answers_stay_the_same(lowering):
    model = parse_model(lowering.float_model)
    plain = model.content
    assert Counter(strided(plain))["SAME"] == 1  # else this would prove nothing
    explicit = make_padding_explicit(model)
    assert "SAME" not in strided(explicit.content)
    picture = np.random.default_rng(3).uniform(-1, 1, (1, SIZE, SIZE, 3)).astype(np.float32)
    before, after = (HostModel(data).run([picture])[0] for data in (plain, explicit.content))
    assert np.abs(before - after).max() <= 1e-6 * np.abs(before).max()
    assert make_padding_explicit(explicit) is explicit


def test_padding_of_an_open_size_is_left_alone(lowering):
    import flatbuffers

    plain = lowering.float_model
    model = schema.ModelT.InitFromPackedBuf(plain, 0)
    for tensor in model.subgraphs[0].tensors:
        if tensor.shape is not None and len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
            tensor.shapeSignature = np.array([1, -1, -1, tensor.shape[3]], np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    data = bytes(builder.Output())
    assert Counter(strided(data)) == Counter(strided(plain))
    model = parse_model(data)
    assert make_padding_explicit(model) is model


def test_padding_of_one_side_is_left_alone():
    model = build("mobilenet_v2", alpha=0.35, image_size=32, classes=10, padding="same")
    plain = parse_model(lowering_of(model).float_model)
    assert make_padding_explicit(plain) is plain
