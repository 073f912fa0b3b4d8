"""One rule of the Edge TPU's compiler each: a small file that breaks it, and one that just does not."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from sketch import Sketch

from converters.edgetpu import predict_mapping
from converters.edgetpu.gate import remarks
from converters.edgetpu.operator_view import CONSTANT, LIMIT, RANK, SUBGRAPH, TYPE, UNSUPPORTED
from converters.edgetpu.parameters import predict_parameters
from converters.edgetpu.versions import NEWEST
from converters.errors import ModelFileError
from converters.tflite.reader import parse_model

MAP = (1, 8, 8, 16)


def placed(sketch, *outputs):
    return [(each.op, each.runs_on) for each in predict_mapping(sketch.model(*outputs)).operators]


def single(name, shapes, result, *, options=None, constants=(), dtype="int8", **more):
    """The forecast of one operator: inputs by shape, then constants."""
    sketch = Sketch()
    inputs = [sketch.input(shape) for shape in shapes] + [sketch.constant(values) for values in constants]
    out = sketch.add(name, inputs, result, dtype, options=options, **more)
    return predict_mapping(sketch.model(out))


JOIN, CUT, POOL, SQUEEZE = "ConcatenationOptions", "StridedSliceOptions", "Pool2DOptions", "SqueezeOptions"
BILINEAR, NEAREST = "ResizeBilinearOptions", "ResizeNearestNeighborOptions"
RELU = {"fusedActivationFunction": 1}
PADS = [[0, 0], [1, 1], [1, 1], [0, 0]]
# operator, shapes of its inputs, its result, constants, options; the first list is mapped, the second refused.
MAPPED = [
    ("ADD", [MAP, MAP], MAP, [], None),
    ("MUL", [MAP, (1, 1, 1, 16)], MAP, [], None),
    ("PAD", [MAP], (1, 10, 10, 16), [PADS], None),
    ("MEAN", [MAP], (1, 16), [[1, 2]], None),
    ("MEAN", [(1, 64, 128, 3)], (1, 3), [[1, 2]], None),
    ("MEAN", [MAP], (1, 16), [[-3, -2]], None),
    ("SUM", [MAP], (1, 8, 8), [[3]], None),
    ("SOFTMAX", [(1, 1001)], (1, 1001), [], None),
    ("L2_NORMALIZATION", [(1, 1, 1, 64)], (1, 1, 1, 64), [], None),
    ("RESHAPE", [(1, 1, 1, 1001)], (1, 1001), [[1, 1001]], None),
    ("RESIZE_BILINEAR", [(1, 64, 64, 32)], (1, 128, 128, 32), [[128, 128]], None),
    ("RESIZE_BILINEAR", [(1, 33, 33, 19)], (1, 33, 33, 19), [[33, 33]], (BILINEAR, {"alignCorners": True})),
    ("RESIZE_NEAREST_NEIGHBOR", [MAP], (1, 16, 16, 16), [[16, 16]], (NEAREST, {"halfPixelCenters": True})),
    ("TILE", [(1, 1, 1, 128)], (1, 33, 33, 128), [[1, 33, 33, 1]], None),
    ("STRIDED_SLICE", [MAP], (1, 8, 8, 4), [[0, 0, 0, 0], [1, 8, 8, 4], [1, 1, 1, 1]], (CUT, {})),
    ("SQUEEZE", [(1, 1, 1, 16)], (1, 16), [], (SQUEEZE, {"squeezeDims": np.array([1, 2])})),
    ("CONCATENATION", [MAP, MAP], (1, 8, 8, 32), [], (JOIN, {"axis": 3})),
    ("CONCATENATION", [(1, 1917, 91), (1, 117, 91)], (1, 2034, 91), [], (JOIN, {"axis": 1})),
    ("MAX_POOL_2D", [MAP], (1, 4, 4, 16), [], (POOL, {"filterWidth": 2, "filterHeight": 2})),
    ("QUANTIZE", [MAP], MAP, [], None),
    ("LOGISTIC", [MAP], MAP, [], None),
    ("TRANSPOSE", [MAP], (1, 8, 16, 8), [[0, 1, 3, 2]], None),
]  # fmt: skip
REFUSED = [
    ("LEAKY_RELU", [MAP], MAP, [], ("LeakyReluOptions", {"alpha": 0.1}), UNSUPPORTED, "PReLU"),
    ("HARD_SWISH", [MAP], MAP, [], None, UNSUPPORTED, "ReLU6"),
    ("DEPTH_TO_SPACE", [MAP], (1, 16, 16, 4), [], None, UNSUPPORTED, "resize"),
    ("BATCH_MATMUL", [(1, 8, 16), (1, 16, 8)], (1, 8, 8), [], None, UNSUPPORTED, "replace"),
    ("PAD", [MAP], (1, 8, 8, 18), [[[0, 0], [0, 0], [0, 0], [1, 1]]], None, LIMIT, "height and width"),
    ("MEAN", [MAP], (1, 8, 8), [[3]], None, LIMIT, "height and width"),
    ("MEAN", [(1, 256, 128, 3)], (1, 3), [[1, 2]], None, LIMIT, "smaller"),
    ("SOFTMAX", [(1, 20000)], (1, 20000), [], None, LIMIT, "CPU"),
    ("RESIZE_BILINEAR", [(1, 33, 33, 19)], (1, 513, 513, 19), [[513, 513]], None, LIMIT, "CPU"),
    ("RESIZE_BILINEAR", [(1, 256, 256, 32)], (1, 512, 512, 32), [[512, 512]], None, LIMIT, "CPU"),
    ("RESIZE_BILINEAR", [(1, 1, 1, 256)], (1, 33, 33, 256), [[33, 33]], None, LIMIT, "TILE"),
    ("STRIDED_SLICE", [MAP], (1, 4, 4, 16), [[0] * 4, [1, 8, 8, 16], [1, 2, 2, 1]], (CUT, {}), LIMIT, "strides"),
    ("STRIDED_SLICE", [MAP], MAP, [[0] * 4, [1, 8, 8, 16], [1] * 4], (CUT, {"newAxisMask": 1}), LIMIT, "slice"),
    ("CONCATENATION", [MAP, MAP], (1, 8, 8, 32), [], (JOIN, {"axis": 3} | RELU), LIMIT, "edgetpu"),
    ("CONCATENATION", [(1, 8400, 64), (1, 8400, 1)], (1, 8400, 65), [], (JOIN, {"axis": 2}), LIMIT, "anchors"),
    ("MAX_POOL_2D", [MAP], (1, 4, 4, 16), [], (POOL, RELU), LIMIT, "edgetpu"),
    ("AVERAGE_POOL_2D", [MAP], (1, 4, 4, 16), [], (POOL, RELU), LIMIT, "edgetpu"),
    ("TRANSPOSE", [(1, 3, 224, 224)], (1, 224, 224, 3), [[0, 2, 3, 1]], None, LIMIT, "channels last"),
    ("ADD", [(2, 8, 8, 16), (2, 8, 8, 16)], (2, 8, 8, 16), [], None, RANK, "batch of 1"),
    ("RESHAPE", [(1, 8, 8, 16)], (2, 4, 8, 16), [[2, 4, 8, 16]], None, RANK, "batch of 1"),
]  # fmt: skip


@pytest.mark.parametrize("row", MAPPED, ids=lambda row: f"{row[0]}-{row[2]}")
def test_what_the_compiler_was_seen_to_map(row):
    name, shapes, result, constants, options = row
    found = single(name, shapes, result, constants=constants, options=options)
    assert [each.runs_on for each in found.operators] == ["edgetpu"], found.operators[0].reason


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row[0]}-{row[2]}")
def test_what_the_compiler_was_seen_to_refuse(row):
    name, shapes, result, constants, options, status, change = row
    found = single(name, shapes, result, constants=constants, options=options)
    (placement,) = found.operators
    assert (placement.runs_on, placement.status) == ("cpu", status)
    assert change in found.advice[0].change


@pytest.mark.parametrize(
    ("name", "shape", "result", "options"),
    [
        ("SQUEEZE", (1, 1917, 1, 4), (1, 1917, 4), (SQUEEZE, {"squeezeDims": np.array([2])})),
        ("SOFTMAX", (1, 4, 1029, 16), (1, 4, 1029, 16), None),
        ("RESIZE_BILINEAR", (1, 8, 8, 16), (1, 64, 64, 16), None),
    ],
)
def test_where_logs_say_other_than_the_table_the_operator_is_mapped_with_a_doubt(name, shape, result, options):
    constants = [[64, 64]] if name == "RESIZE_BILINEAR" else []
    (found,) = single(name, [shape], result, constants=constants, options=options).operators
    assert (found.runs_on, found.certain) == ("edgetpu", False)
    assert found.reason.startswith("not certain: ")


def test_dense_layers_give_one_row():
    for rows, runs_on in ((1, "edgetpu"), (4, "cpu")):
        sketch = Sketch()
        x = sketch.input((rows, 32))
        out = sketch.add(
            "FULLY_CONNECTED", [x, sketch.weights((10, 32)), sketch.constant([0] * 10)], (rows, 10), version=4
        )
        assert placed(sketch, out) == [("FULLY_CONNECTED", runs_on)]


def test_a_dense_layer_with_a_scale_per_output_is_newer_than_the_compiler():
    sketch = Sketch()
    x = sketch.input((1, 32))
    kernel = sketch.weights((10, 32), scales=[0.1] * 10)
    out = sketch.add("FULLY_CONNECTED", [x, kernel, sketch.constant([0] * 10)], (1, 10), version=4)
    (found,) = predict_mapping(sketch.model(out)).operators
    assert (found.runs_on, found.certain) == ("cpu", False)


@pytest.mark.parametrize(("rows", "columns", "runs_on"), [(2, 2, "edgetpu"), (1, 2, "cpu")])
def test_dilation_is_the_same_in_both_directions(rows, columns, runs_on):
    sketch = Sketch()
    out = sketch.convolution(sketch.input(MAP), MAP, dilationHFactor=rows, dilationWFactor=columns)
    assert placed(sketch, out) == [("CONV_2D", runs_on)]


def test_computed_weights_are_refused():
    sketch = Sketch()
    out = sketch.add("FULLY_CONNECTED", [sketch.input((1, 32)), sketch.input((10, 32))], (1, 10), version=4)
    (found,) = predict_mapping(sketch.model(out)).operators
    assert (found.runs_on, found.status) == ("cpu", CONSTANT)


@pytest.mark.parametrize(("values", "runs_on"), [(np.zeros((1, 8, 8, 4)), "edgetpu"), (np.ones((1, 8, 8, 4)), "cpu")])
def test_a_joined_constant_is_zero(values, runs_on):
    sketch = Sketch()
    inputs = [sketch.input(MAP), sketch.constant(values, "int8")]
    out = sketch.add("CONCATENATION", inputs, (1, 8, 8, 20), options=("ConcatenationOptions", {"axis": 3}))
    assert placed(sketch, out) == [("CONCATENATION", runs_on)]


@pytest.mark.parametrize(("shape", "runs_on"), [((1, 1, 16), "edgetpu"), ((8, 8, 16), "cpu")])
def test_prelu_has_one_slope_per_channel(shape, runs_on):
    sketch = Sketch()
    out = sketch.add("PRELU", [sketch.input(MAP), sketch.weights(shape)], MAP)
    assert placed(sketch, out) == [("PRELU", runs_on)]


@pytest.mark.parametrize("dtype", ["float32", "int16", "int32"])
def test_only_eight_bits_are_mapped(dtype):
    sketch = Sketch()
    x = sketch.input(MAP)
    first = sketch.add("RELU", [x], MAP)
    out = sketch.add("ADD", [sketch.input(MAP, dtype), sketch.input(MAP, dtype)], MAP, dtype)
    found = predict_mapping(sketch.model(first, out)).operators
    assert [(each.runs_on, each.status) for each in found][1] == ("cpu", TYPE)
    assert found[0].runs_on == "edgetpu"


def test_a_float_input_costs_its_quantize_and_no_more():
    sketch = Sketch()
    x = sketch.add("QUANTIZE", [sketch.input(MAP, "float32")], MAP)
    y = sketch.convolution(x, (1, 8, 8, 4))
    out = sketch.add("DEQUANTIZE", [y], (1, 8, 8, 4), "float32", version=2)
    found = predict_mapping(sketch.model(out))
    assert [(each.op, each.runs_on) for each in found.operators] == [
        ("QUANTIZE", "cpu"), ("CONV_2D", "edgetpu"), ("DEQUANTIZE", "cpu"),
    ]  # fmt: skip
    assert [each.status for each in found.on_cpu] == [LIMIT, TYPE]


def test_all_that_depends_on_a_refused_operator_stays_and_the_rest_does_not():
    sketch = Sketch()
    x = sketch.convolution(sketch.input(MAP), MAP)
    refused = sketch.add("HARD_SWISH", [x], MAP)
    side = sketch.convolution(x, MAP)
    behind = sketch.convolution(refused, MAP)
    later = sketch.convolution(side, MAP)
    joined = sketch.add("ADD", [behind, later], MAP)
    out = sketch.add("ELU", [joined], MAP)
    found = predict_mapping(sketch.model(out))
    assert [each.runs_on for each in found.operators] == ["edgetpu", "cpu", "edgetpu", "cpu", "edgetpu", "cpu", "cpu"]
    assert [each.status for each in found.on_cpu] == [UNSUPPORTED, SUBGRAPH, SUBGRAPH, UNSUPPORTED]
    assert [(each.operators, each.strands) for each in found.advice] == [((1,), 2), ((6,), 0)]


def test_the_first_piece_is_mapped_even_if_a_later_one_is_larger():
    sketch = Sketch()
    x = sketch.convolution(sketch.input((1, 8, 8, 4)), MAP)
    x = sketch.add("HARD_SWISH", [x], MAP)
    for _ in range(5):
        x = sketch.convolution(x, MAP)
    found = predict_mapping(sketch.model(x))
    assert (found.mapped, len(found.on_cpu)) == (1, 6)


@pytest.mark.parametrize(
    ("name", "version"), [("CONV_2D", 6), ("QUANTIZE", 3), ("EXP", 2), ("TRANSPOSE_CONV", 4), ("GELU", 1)]
)
def test_one_operator_newer_than_the_compiler_and_nothing_is_mapped(name, version):
    sketch = Sketch()
    x = sketch.convolution(sketch.input(MAP), MAP)
    out = sketch.add(name, [x], MAP, version=version)
    found = predict_mapping(sketch.model(out))
    assert [each.runs_on for each in found.operators] == ["cpu", "cpu"]
    assert name in found.failures[0].text
    assert found.advice[0].strands is None
    assert found.mapped == found.parameters.estimated_bytes == 0
    assert version > NEWEST.get(name, 0)


def test_an_operator_of_another_graph_is_not_called_one_of_the_main_graph():
    """Its number is that of another operator there."""
    sketch, other = Sketch(), Sketch()
    out = sketch.convolution(sketch.convolution(sketch.input(MAP), MAP), MAP)
    branch = other.model(other.add("GELU", [other.input(MAP)], MAP)).main
    model = sketch.model(out)
    found = predict_mapping(dataclasses.replace(model, subgraphs=(model.main, dataclasses.replace(branch, index=1))))
    assert [each.operators for each in found.failures] == [()]
    assert "GELU" in found.failures[0].text
    assert found.advice[0].operators == ()


@pytest.mark.parametrize(
    ("custom", "refused"), [("TFLite_Detection_PostProcess", False), ("FlexErf", True), ("MyOp", True)]
)
def test_custom_operators_the_compiler_knows_stay_on_the_cpu_others_stop_it(custom, refused):
    sketch = Sketch()
    x = sketch.convolution(sketch.input(MAP), MAP)
    out = sketch.add(custom, [x], MAP, "float32")
    found = predict_mapping(sketch.model(out))
    assert bool(found.failures) == refused
    assert [each.runs_on for each in found.operators] == ["cpu" if refused else "edgetpu", "cpu"]


def test_a_model_in_floating_point_is_not_quantized():
    sketch = Sketch()
    out = sketch.add("ADD", [sketch.input(MAP, "float32"), sketch.input(MAP, "float32")], MAP, "float32")
    found = predict_mapping(sketch.model(out))
    assert "not quantized" in found.failures[0].text
    assert found.mapped == 0


def test_a_shape_without_dimensions_is_no_computed_one():
    sketch = Sketch()
    x = sketch.convolution(sketch.input((1, 1, 1, 4)), (1, 1, 1, 1))
    out = sketch.add("RESHAPE", [x, sketch.constant(np.zeros(0))], ())
    found = predict_mapping(sketch.model(out))
    assert not found.failures
    assert found.fully_mapped


def test_a_computed_shape_stops_the_compiler():
    sketch = Sketch()
    x = sketch.convolution(sketch.input(MAP), MAP)
    shape = sketch.add("SHAPE", [x], (4,), "int32")
    out = sketch.add("RESHAPE", [x, shape], (1, 1024))
    found = predict_mapping(sketch.model(out))
    assert "known only when it runs" in found.failures[0].text


def test_a_transposed_convolution_with_an_open_batch_stops_the_compiler():
    """Keras computes its size: SHAPE, STRIDED_SLICE, PACK."""
    sketch = Sketch()
    x = sketch.convolution(sketch.input(MAP), MAP)
    shape = sketch.add("SHAPE", [x], (4,), "int32")
    batch = sketch.add("STRIDED_SLICE", [shape, *(sketch.constant([n]) for n in (0, 1, 1))], (), "int32")
    size = sketch.add("PACK", [batch, *(sketch.constant(n) for n in (16, 16, 8))], (4,), "int32")
    inputs = [size, sketch.weights((8, 3, 3, 16)), x]
    out = sketch.add("TRANSPOSE_CONV", inputs, (1, 16, 16, 8), options=("TransposeConvOptions", {}))
    found = predict_mapping(sketch.model(out))
    assert found.mapped == 0
    assert "known only when it runs" in found.failures[0].text
    assert "batch of 1" in found.advice[0].change


def test_parameters_beyond_the_chip_are_streamed():
    sketch = Sketch()
    x = sketch.input((1, 1, 1, 4096))
    for _ in range(2):
        x = sketch.convolution(x, (1, 1, 1, 4096))
    sizes = predict_mapping(sketch.model(x)).parameters
    assert sizes.fits is False
    assert 24e6 < sizes.streamed_bytes < 2 * 4096 * 4096 < sizes.estimated_bytes


@pytest.mark.parametrize(("channels", "words"), [(2700, "may not fit"), (4096, "do not fit")])
def test_near_the_limit_nothing_is_promised_or_denied(channels, words):
    sketch = Sketch()
    out = sketch.convolution(sketch.input((1, 1, 1, channels)), (1, 1, 1, channels))
    assert [words in line for line in remarks(predict_mapping(sketch.model(out)))] == [True]


def test_a_tensor_without_rank_keeps_its_operator_off():
    sketch = Sketch()
    source = sketch.input(MAP)
    out = sketch.convolution(sketch.convolution(source, MAP), MAP)
    unknown = sketch._graph.tensors[source]
    unknown.shape, unknown.hasRank = None, False
    first, _ = predict_mapping(sketch.model(out)).operators
    assert (first.runs_on, first.reason) == ("cpu", "has a tensor of unknown rank")


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "UNIDIRECTIONAL_SEQUENCE_LSTM"])
def test_weights_and_data_without_dimensions_are_no_fault(name):
    sketch = Sketch()
    inputs = [sketch.input(()), *(sketch.constant(3) for _ in range(5))]
    model = sketch.model(sketch.add(name, inputs, MAP))
    predict_mapping(model).to_json()
    sizes = predict_parameters(model, [0])
    assert 4 * sizes.estimated_bytes == sizes.stored_bytes > 0


def test_a_convolution_of_a_scalar_is_not_called_a_grouped_one():
    sketch = Sketch()
    out = sketch.add("CONV_2D", [sketch.input(()), sketch.weights((16, 1, 1, 16))], MAP)
    assert predict_mapping(sketch.model(out)).operators[0].reason == "reads a tensor without dimensions"


def test_a_damaged_file_is_forecast_or_refused_never_a_fault():
    generator = random.Random(11)
    judged = 0
    rows = [*MAPPED, *(row[:5] for row in REFUSED)]
    for _ in range(400):
        name, shapes, result, constants, options = generator.choice(rows)
        sketch = Sketch()
        inputs = [sketch.input(shape) for shape in shapes] + [sketch.constant(values) for values in constants]
        data = bytearray(sketch.data(sketch.add(name, inputs, result, options=options)))
        for _ in range(generator.choice([1, 2, 5])):
            data[generator.randrange(8, len(data))] = generator.choice([0, 1, 127, 128, 255])
        try:
            model = parse_model(bytes(data))
            predict_mapping(model).to_json()
            judged += 1
        except ModelFileError:
            continue
    assert judged > 40
