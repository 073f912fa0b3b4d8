"""Models of which the compiler's result was published, by structure: what stays on the CPU, and nothing else.

Each is as deep as the rules need it; sizes are those of the models. Sources: the logs named at each, and what others
tell of the outputs that the vendor's compiled files have (docs/HARDWARE_ANALYSIS.md of ricardodeazambuja/LibrEdgeTPU).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sketch import Sketch

from converters.edgetpu import predict_mapping
from converters.edgetpu.operator_view import LIMIT, RANK, SUBGRAPH, TYPE

JOIN, POOL = "ConcatenationOptions", "Pool2DOptions"


def depthwise(sketch, source, shape, dilation=1):
    inputs = [source, sketch.weights((1, 3, 3, shape[-1])), sketch.constant(np.zeros(shape[-1]), "int32")]
    options = {"dilationHFactor": dilation, "dilationWFactor": dilation, "depthMultiplier": 1}
    return sketch.add("DEPTHWISE_CONV_2D", inputs, shape, version=3, options=("DepthwiseConv2DOptions", options))


def reshape(sketch, source, shape):
    return sketch.add("RESHAPE", [source, sketch.constant(shape)], shape)


def left(found):
    """What stays on the CPU, by operator and the compiler's word."""
    return [(each.op, each.status) for each in found.on_cpu]


@pytest.mark.parametrize(("height", "width"), [(353, 481), (481, 641), (721, 1281)])
def test_posenet(height, width):
    """Three outputs of the Edge TPU into the decoder, which alone stays (LibrEdgeTPU; google-coral/edgetpu#117)."""
    sketch = Sketch()
    x = sketch.input((1, height, width, 3), "uint8")
    for stride, channels in ((2, 24), (4, 96), (8, 192), (16, 384)):
        shape = (1, -(-height // stride), -(-width // stride), channels)
        x = sketch.convolution(depthwise(sketch, sketch.convolution(x, shape), shape), shape)
    rows, columns = -(-height // 16), -(-width // 16)
    heat, short, forward, backward = (sketch.convolution(x, (1, rows, columns, each)) for each in (17, 34, 32, 32))
    middle = sketch.add("CONCATENATION", [forward, backward], (1, rows, columns, 64), options=(JOIN, {"axis": 3}))
    out = sketch.add("PosenetDecoderOp", [heat, short, middle], (), "float32", outputs=4)
    found = predict_mapping(sketch.model(*range(out, out + 4)))
    assert left(found) == [("PosenetDecoderOp", TYPE)]
    assert all(each.certain for each in found.operators)


def test_deeplab_v3():
    """The vendor's file: from the Edge TPU come 33x33x256 and 1x1x256, the rest runs behind it (LibrEdgeTPU)."""
    sketch = Sketch()
    grid = (1, 33, 33)
    x = sketch.convolution(sketch.input((*grid, 160), "uint8"), (*grid, 960))
    x = sketch.convolution(depthwise(sketch, x, (*grid, 960), dilation=2), (*grid, 320))
    pooled = sketch.add("AVERAGE_POOL_2D", [x], (1, 1, 1, 320), options=(POOL, {"filterWidth": 33, "filterHeight": 33}))
    aspp, image = sketch.convolution(x, (*grid, 256)), sketch.convolution(pooled, (1, 1, 1, 256))
    image = sketch.add("RESIZE_BILINEAR", [image, sketch.constant([33, 33])], (*grid, 256))
    joined = sketch.add("CONCATENATION", [image, aspp], (*grid, 512), options=(JOIN, {"axis": 3}))
    x = sketch.convolution(sketch.convolution(joined, (*grid, 256)), (*grid, 21))
    x = sketch.add("RESIZE_BILINEAR", [x, sketch.constant([33, 33])], (*grid, 21))
    x = sketch.add("RESIZE_BILINEAR", [x, sketch.constant([513, 513])], (1, 513, 513, 21))
    found = predict_mapping(sketch.model(sketch.add("ARG_MAX", [x, sketch.constant(3)], (1, 513, 513), "int64")))
    assert found.mapped == 6
    assert [each.op for each in found.on_cpu] == [
        "RESIZE_BILINEAR", "CONCATENATION", "CONV_2D", "CONV_2D", "RESIZE_BILINEAR", "RESIZE_BILINEAR", "ARG_MAX",
    ]  # fmt: skip


def detector(levels, classes, *, floats):
    """Box and class heads on maps of some sizes with so many anchors each, joined, and the operator behind them."""
    sketch = Sketch()
    source = sketch.input((1, 320, 320, 3))
    boxes, scores = [], []
    for size, anchors in levels:
        x = sketch.convolution(source, (1, size, size, 64))
        count = size * size * anchors
        boxes.append(reshape(sketch, sketch.convolution(x, (1, size, size, 4 * anchors)), (1, count, 4)))
        raw = sketch.convolution(x, (1, size, size, classes * anchors))
        scores.append(reshape(sketch, raw, (1, count, classes)))
    total = sum(size * size * anchors for size, anchors in levels)
    box = sketch.add("CONCATENATION", boxes, (1, total, 4), options=(JOIN, {"axis": 1}))
    score = sketch.add("CONCATENATION", scores, (1, total, classes), options=(JOIN, {"axis": 1}))
    ends = [box, sketch.add("LOGISTIC", [score], (1, total, classes))]
    if floats:
        shapes = ((1, total, 4), (1, total, classes))
        ends = [sketch.add("DEQUANTIZE", [end], shape, "float32") for end, shape in zip(ends, shapes, strict=True)]
    out = sketch.add("TFLite_Detection_PostProcess", ends, (1, 10, 4), "float32", outputs=4)
    return predict_mapping(sketch.model(*range(out, out + 4)))


SSD_300 = ((19, 3), (10, 6), (5, 6), (3, 6), (2, 6), (1, 6))
SSD_320 = ((20, 3), (10, 6), (5, 6), (3, 6), (2, 6), (1, 6))
EFFICIENTDET = ((40, 9), (20, 9), (10, 9), (5, 9), (3, 9))


@pytest.mark.parametrize(
    ("levels", "classes", "floats"),
    [
        (SSD_300, 91, False),  # google-coral/edgetpu#62
        (SSD_320, 91, False),  # the same with MobileDet: outputs of 2034x4 and 2034x92 bytes (LibrEdgeTPU)
        (SSD_320, 91, True),  # AxisCommunications/acap3-examples#47
        (EFFICIENTDET, 5, True),  # google-coral/edgetpu#560, #587
    ],
)
def test_detectors_that_are_mapped_but_for_their_end(levels, classes, floats):
    found = detector(levels, classes, floats=floats)
    assert left(found) == [("DEQUANTIZE", TYPE)] * 2 * floats + [("TFLite_Detection_PostProcess", TYPE)]


def test_scores_of_too_many_boxes_stay():
    """19,206 boxes of 9 classes (google-coral/edgetpu#490)."""
    found = detector(EFFICIENTDET, 9, floats=True)
    stayed = Counter(each.op for each in found.on_cpu)
    assert stayed == {"CONCATENATION": 1, "LOGISTIC": 1, "DEQUANTIZE": 2, "TFLite_Detection_PostProcess": 1}
    boxes = next(each for each in found.operators if each.op == "CONCATENATION")
    assert boxes.runs_on == "edgetpu"


def test_a_feature_pyramid_that_enlarges_by_stacking():
    """The object detection API's FPN: 112 mapped and 50 not of ssd_mobilenet_v2_fpnlite_320 (google-coral/edgetpu#210).

    It doubles a map by PACK along two further axes. What does not need the enlarged maps is mapped: heads of the
    coarsest levels behind the first refused operator.
    """
    sketch = Sketch()
    fine = sketch.convolution(sketch.input((1, 20, 20, 32)), (1, 20, 20, 128))
    coarse = sketch.convolution(depthwise(sketch, fine, (1, 10, 10, 128)), (1, 10, 10, 128))
    x = sketch.add(
        "PACK", [coarse, coarse], (1, 10, 10, 2, 128), options=("PackOptions", {"valuesCount": 2, "axis": 3})
    )
    x = sketch.add("PACK", [x, x], (1, 10, 2, 10, 2, 128), options=("PackOptions", {"valuesCount": 2, "axis": 2}))
    x = sketch.add("ADD", [reshape(sketch, x, (1, 20, 20, 128)), fine], (1, 20, 20, 128))
    x = sketch.convolution(depthwise(sketch, x, (1, 20, 20, 128)), (1, 20, 20, 24))
    low = reshape(sketch, sketch.convolution(depthwise(sketch, coarse, (1, 10, 10, 128)), (1, 10, 10, 24)), (1, 600, 4))
    top = reshape(sketch, x, (1, 2400, 4))
    found = predict_mapping(
        sketch.model(sketch.add("CONCATENATION", [top, low], (1, 3000, 4), options=(JOIN, {"axis": 1})))
    )
    assert left(found) == [
        ("PACK", RANK), ("PACK", RANK), ("RESHAPE", RANK), ("ADD", SUBGRAPH), ("DEPTHWISE_CONV_2D", SUBGRAPH),
        ("CONV_2D", SUBGRAPH), ("RESHAPE", SUBGRAPH), ("CONCATENATION", SUBGRAPH),
    ]  # fmt: skip
    assert found.mapped == 6


def test_floats_in_and_out_cost_their_two_operators():
    """As in the logs of a depthwise filter alone (compiler 2.0) and of google-coral/edgetpu#659."""
    sketch = Sketch()
    x = sketch.add("QUANTIZE", [sketch.input((1, 224, 224, 3), "float32")], (1, 224, 224, 3))
    x = sketch.convolution(depthwise(sketch, x, (1, 112, 112, 3)), (1, 1, 1, 1000))
    x = sketch.add("SOFTMAX", [reshape(sketch, x, (1, 1000))], (1, 1000), options=("SoftmaxOptions", {"beta": 1.0}))
    found = predict_mapping(sketch.model(sketch.add("DEQUANTIZE", [x], (1, 1000), "float32")))
    assert left(found) == [("QUANTIZE", LIMIT), ("DEQUANTIZE", TYPE)]


def test_a_classifier_behind_normalized_features():
    """The imprinting model, uncompiled; the vendor joined the compiled features and an uncompiled end by hand."""
    sketch = Sketch()
    x = sketch.add("L2_NORMALIZATION", [sketch.input((1, 1, 1, 1024), "uint8")], (1, 1, 1, 1024), "uint8")
    x = sketch.convolution(x, (1, 1, 1, 1001))
    x = sketch.add("MUL", [x, sketch.constant(np.array(3), "int8")], (1, 1, 1, 1001), options=("MulOptions", {}))
    found = predict_mapping(sketch.model(sketch.add("SOFTMAX", [reshape(sketch, x, (1, 1001))], (1, 1001))))
    assert found.fully_mapped
