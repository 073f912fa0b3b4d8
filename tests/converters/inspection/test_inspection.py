"""Inspection against figures that are known: real models, and a small CNN whose weights are at hand."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from converters.errors import ModelFileError, SourceError
from converters.inspection.inspect import inspect, inspect_model
from converters.tflite.reader import parse_model

MODELS = ("models/mobilenet_v2_1.0_224_quant", "models/tf2_mobilenet_v2_1.0_224_ptq")
PAIRED = (
    "bodypix_mobilenet_v1_075_512_512_16_quant_decoder",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "keras_lstm_mnist_ptq",
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_0.5_160_quant",
    "split_concat",
)
REAL = (*MODELS, *(f"edgetpu_pairs/{name}{end}" for name in PAIRED for end in ("", "_edgetpu")))
# MobileNetV2 1.0 at 224: 3,487,816 fused parameters and 300,774,272 multiply-accumulates with 1000 classes; a class
# more is a row of 1,280 weights and a bias.
MOBILENET_V2_PARAMETERS = 3_487_816 + 1_280 + 1
MOBILENET_V2_MACS = 300_774_272 + 1_280
_DEQUANTIZE, _LOGISTIC = 6, 14
SMALL_MACS = {
    "CONV_2D": [16 * 16 * 8 * 27, 8 * 8 * 16 * 8],
    "DEPTHWISE_CONV_2D": [8 * 8 * 8 * 9],
    "TRANSPOSE_CONV": [8 * 8 * 16 * 4 * 4],
    "FULLY_CONNECTED": [4 * 256, 256 * 10],
    "MEAN": [0],
}
RECIPES = ("fp32", "free-batch", "fp16", "dynamic", "int8", "int16x8", "sparse", "sparse-fp16")


@pytest.fixture(scope="module")
def inspected(small_files):
    return {recipe: inspect(small_files.path(recipe)) for recipe in RECIPES}


@pytest.mark.parametrize("name", REAL)
def test_every_real_file_is_told_whole(shared_data, name):
    path = shared_data / f"{name}.tflite"
    found = inspect(path)
    size = found.size
    told = size.weights_bytes + size.sparse_index_bytes + size.custom_options_bytes + size.other_bytes
    assert told == found.file.bytes == path.stat().st_size
    assert sum(found.operator_counts.values()) == len(found.operators) > 0
    assert found.edgetpu_compiled == name.endswith("_edgetpu")
    assert found.inputs
    assert found.outputs
    assert found.peak_activation_estimate.bytes >= max(item.bytes for item in found.activations)
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["schema"] == "edge-inspection/1"
    assert len(value["tensors"]) == len(found.tensors)


@pytest.mark.parametrize("name", MODELS)
def test_mobilenet_v2_counts_agree_with_its_layer_list(shared_data, name):
    found = inspect(shared_data / f"{name}.tflite")
    assert found.parameters.count == found.parameters.by_use == MOBILENET_V2_PARAMETERS
    assert found.macs.total == found.macs.known == MOBILENET_V2_MACS
    weighted = [layer for layer in found.operators if layer.weights]
    assert (weighted[0].macs, weighted[-2].macs, weighted[-1].macs) == (10_838_016, 20_070_400, 1_281_280)
    assert found.size.dense_fp32_bytes == 4 * MOBILENET_V2_PARAMETERS
    assert found.quantization.kind == "full-integer"
    assert found.quantization.weights == ("per-channel" if "tf2" in name else "per-tensor")


def test_mobilenet_v2_ends_and_activations(shared_data):
    found = inspect(shared_data / f"{MODELS[1]}.tflite")
    (image,), (scores,) = found.inputs, found.outputs
    assert (image.dtype, image.shape, image.zero_point) == ("uint8", (1, 224, 224, 3), 127)
    assert image.scale == pytest.approx(1 / 127.5, rel=1e-6)
    assert (scores.dtype, scores.shape, scores.scale, scores.zero_point) == ("uint8", (1, 1001), 1 / 256, 0)
    assert found.activations[0].bytes == 112 * 112 * 96
    # The second block's expansion and what its stride-2 convolution makes of it live together.
    assert found.peak_activation_estimate.bytes == 112 * 112 * 96 + 56 * 56 * 96
    assert found.file.min_runtime_version == "1.14.0"


def test_recurrent_and_custom_operators(shared_data):
    lstm = inspect(shared_data / "edgetpu_pairs/keras_lstm_mnist_ptq.tflite")
    # 28 steps through eight 20-wide matrices (28 or 20 columns), then 560 by 10.
    assert lstm.macs.total == 28 * 4 * 20 * (28 + 20) + 560 * 10
    assert lstm.parameters.count == 4 * 20 * (28 + 20) + 4 * 20 + 560 * 10 + 10
    assert lstm.file.signatures == ("serving_default",)
    assert lstm.inputs[0].signature_name == "x"
    # Its convolutions to one channel have one scale, which is as much per channel as the others are.
    decoder = inspect(shared_data / "edgetpu_pairs/bodypix_mobilenet_v1_075_512_512_16_quant_decoder.tflite")
    assert (decoder.quantization.kind, decoder.quantization.weights) == ("full-integer", "per-channel")
    assert "custom operators write float: 1 PosenetDecoderOp" in decoder.quantization.reason
    compiled = inspect(shared_data / "edgetpu_pairs/bodypix_mobilenet_v1_075_512_512_16_quant_decoder_edgetpu.tflite")
    assert compiled.macs.total is None
    assert compiled.macs.unknown == {"edgetpu-custom-op": 1, "PosenetDecoderOp": 1}
    assert compiled.size.custom_options_bytes > 1_600_000


@pytest.mark.parametrize(
    ("recipe", "kind", "weights", "dtypes"),
    [
        ("fp32", "float32", None, {"float32": 6}),
        ("fp16", "float16-weights", None, {"float16": 6}),
        ("dynamic", "dynamic-range", "per-channel", {"float32": 4, "int8": 2}),
        ("int8", "full-integer", "per-channel", {"int8": 6}),
        ("int16x8", "int16x8", "per-channel", {"int8": 6}),
        ("sparse", "float32", None, {"float32": 6}),
        ("sparse-fp16", "float16-weights", None, {"float16": 6}),
    ],
)
def test_quantization_is_named(inspected, recipe, kind, weights, dtypes):
    summary = inspected[recipe].quantization
    assert (summary.kind, summary.weights, dict(summary.weight_dtypes)) == (kind, weights, dtypes)
    assert summary.reason


def test_an_integer_model_with_an_operator_in_float_is_mixed(repack, tmp_path):
    def end_in_a_float_logistic(model):
        (code,) = [item for item in model.operatorCodes if item.builtinCode == _DEQUANTIZE]
        code.builtinCode = code.deprecatedBuiltinCode = _LOGISTIC

    summary = inspect_model(parse_model(repack(end_in_a_float_logistic, "int8")), tmp_path).quantization
    assert summary.kind == "mixed"
    assert "these in float: 1 LOGISTIC" in summary.reason


def test_float_ends_of_an_integer_model_are_said(inspected):
    assert "inputs or outputs are float" in inspected["int8"].quantization.reason


@pytest.mark.parametrize("recipe", RECIPES)
def test_parameters_and_work_do_not_depend_on_the_recipe(small_files, inspected, recipe):
    found = inspected[recipe]
    assert found.parameters.count == small_files.parameters
    for op, macs in SMALL_MACS.items():
        assert [layer.macs for layer in found.operators if layer.op == op] == macs
    assert found.macs.total == sum(sum(macs) for macs in SMALL_MACS.values())


@pytest.mark.parametrize("recipe", RECIPES)
def test_zeros_are_counted_however_they_are_stored(small_files, inspected, recipe):
    zeros = int((small_files.weights["hidden"][0] == 0).sum())
    (hidden,) = [layer for layer in inspected[recipe].operators if layer.macs == 4 * 256]
    (weights,) = hidden.main_weights
    # Quantizing to 8 bits makes a few small weights zero as well.
    assert zeros <= weights.zeros <= zeros + (20 if recipe in {"dynamic", "int8", "int16x8"} else 0)
    assert hidden.sparsity == weights.zeros / 1024
    assert weights.sparse_encoded == recipe.startswith("sparse")


def test_unpacked_weights_belong_to_the_layer_that_reads_them(inspected):
    found = inspected["sparse-fp16"]
    (hidden,) = [layer for layer in found.operators if any(item.sparse_encoded for item in layer.weights)]
    (weights,) = hidden.main_weights
    assert hidden.op == "FULLY_CONNECTED"
    assert weights.unpacked_by == ("DENSIFY", "DEQUANTIZE")
    assert (weights.dtype, weights.read_as) == ("float16", "float32")
    assert weights.unpacked_bytes == 1024 * 4 > weights.stored_bytes
    assert all(not layer.weights for layer in found.operators if layer.op in {"DENSIFY", "DEQUANTIZE"})


def test_sizes_stored_and_effective(small_files, inspected):
    parameters = small_files.parameters
    assert inspected["fp32"].size.weights_bytes_by_dtype == {"float32": 4 * parameters}
    assert inspected["fp16"].size.weights_bytes_by_dtype == {"float16": 2 * parameters}
    assert inspected["fp16"].size.unpacked_weights_bytes == 4 * parameters
    sparse, dense = inspected["sparse"].size, inspected["fp32"].size
    nonzero = np.count_nonzero(small_files.weights["hidden"][0])
    assert dense.weights_bytes - sparse.weights_bytes == 4 * (1024 - nonzero)
    assert sparse.sparse_index_bytes > 0
    assert sparse.unpacked_weights_bytes == sparse.dense_fp32_bytes == 4 * parameters


def test_peak_estimate_follows_the_order_of_execution(inspected):
    # The stem holds 16x16x3 and 16x16x8 at once; every later operator holds less.
    peak = inspected["fp32"].peak_activation_estimate
    assert peak.bytes == 4 * (16 * 16 * 3 + 16 * 16 * 8)
    assert peak.operator == 0
    assert "estimate" in peak.method


def test_an_open_batch_is_said_and_counts_as_one(inspected):
    assert inspected["fp32"].dynamic_tensors == 0
    found = inspected["free-batch"]
    assert found.dynamic_tensors > 0
    assert found.inputs[0].shape == (-1, 16, 16, 3)
    assert found.inputs[0].signature_name == "image"


def test_control_flow_is_told_by_subgraph(small_files):
    found = inspect(small_files.path("loop"))
    assert found.file.subgraphs == 3
    assert {layer.subgraph for layer in found.operators} == {0, 1, 2}
    assert found.macs.total is None
    assert found.macs.unknown == {"WHILE": 1}


def test_a_missing_and_a_foreign_file_are_messages(tmp_path):
    with pytest.raises(SourceError, match="cannot read"):
        inspect(tmp_path / "absent.tflite")
    picture = tmp_path / "picture.tflite"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelFileError, match="not a sound TFLite model"):
        inspect(picture)


def test_inspecting_loads_neither_tensorflow_nor_native_code(shared_data):
    path = shared_data / f"{MODELS[1]}.tflite"
    code = (
        "import sys; from pathlib import Path; from converters.inspection.inspect import inspect;"
        "inspect(Path(sys.argv[1]));"
        "assert not {'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules), 'imported';"
        "assert 'libLiteRt' not in Path('/proc/self/maps').read_text(), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
