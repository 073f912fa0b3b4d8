"""Reading .tflite files into values: real ones, rearranged ones and damaged ones."""

from __future__ import annotations

import random

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ModelFileError
from converters.inspection.inspect import inspect_model
from converters.tflite.reader import parse_model, read_model
from converters.tflite.tensor_data import count_zeros, read_dense_values, read_real_values, read_stored_values
from converters.tflite.tensor_storage import QuantizationInfo, SparseDimension, SparsityInfo
from converters.tflite.values import ModelInfo, TensorInfo

QUANTIZED = "models/tf2_mobilenet_v2_1.0_224_ptq.tflite"
RECIPES = ("fp32", "sparse", "sparse-fp16")
MUTATIONS = 400


@pytest.fixture(scope="module")
def quantized(shared_data):
    return read_model(shared_data / QUANTIZED)


def constants(model: ModelInfo):
    return [tensor for tensor in model.main.tensors if tensor.is_constant]


def test_operators_in_the_schemas_words(quantized):
    first, depthwise = quantized.main.operators[1:3]
    assert (first.name, first.version, first.custom_code) == ("CONV_2D", 3, None)
    assert first.options.kind == "Conv2DOptions"
    assert (first.options.padding, first.options.activation) == ("SAME", "RELU6")
    assert (first.options.strides, first.options.dilations) == ((2, 2), (1, 1))
    assert depthwise.options.depth_multiplier == 1
    assert quantized.main.producers()[depthwise.inputs[0]] is first
    assert quantized.main.consumers()[first.outputs[0]] == [depthwise]


def test_tensors_with_their_quantization(quantized):
    weights = quantized.main.tensors[quantized.main.operators[1].inputs[1]]
    assert (weights.dtype, weights.shape, weights.stored_bytes) == ("int8", (32, 3, 3, 3), 864)
    assert weights.quantization.per_channel
    assert (len(weights.quantization.scales), weights.quantization.axis) == (32, 0)
    image = quantized.main.tensors[quantized.main.inputs[0]]
    assert not image.is_constant
    assert image.dense_bytes == 224 * 224 * 3


def test_real_values_agree_with_the_runtimes_reading(shared_data, quantized):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    runtime = interpreter.Interpreter(
        model_path=str(shared_data / QUANTIZED),
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for tensor in constants(quantized)[:40]:
        assert np.array_equal(read_dense_values(quantized, tensor), runtime.get_tensor(tensor.index))
        scales = runtime.get_tensor_details()[tensor.index]["quantization_parameters"]["scales"]
        assert np.allclose(tensor.quantization.scales if tensor.quantization else [], scales)


def test_custom_operators_keep_their_code_and_options(shared_data):
    model = read_model(shared_data / "edgetpu_pairs/split_concat_edgetpu.tflite")
    (operator,) = model.main.operators
    assert (operator.name, operator.custom_code, operator.is_custom) == ("edgetpu-custom-op", "edgetpu-custom-op", True)
    assert len(operator.custom_options) == 57_380
    assert model.is_edgetpu_compiled


def test_signatures_and_metadata(small_files):
    model = read_model(small_files.path("fp32"))
    (signature,) = model.signatures
    assert (signature.key, signature.subgraph) == ("serving_default", 0)
    assert signature.inputs == {"image": model.main.inputs[0]}
    assert "min_runtime_version" in {item.name for item in model.metadata}


def test_control_flow_names_its_subgraphs(small_files):
    model = read_model(small_files.path("loop"))
    (loop,) = [operator for operator in model.main.operators if operator.name == "WHILE"]
    assert sorted(loop.options.subgraphs) == [1, 2]


@pytest.mark.parametrize("recipe", RECIPES)
def test_sparse_and_half_precision_weights_unpack_to_the_models_own(small_files, recipe):
    model = read_model(small_files.path(recipe))
    (stored,) = [tensor for tensor in constants(model) if tensor.shape == (256, 4)]
    assert (stored.sparsity is not None) == recipe.startswith("sparse")
    own = small_files.weights["hidden"][0].T
    assert np.array_equal(read_dense_values(model, stored), own.astype(stored.dtype))
    assert count_zeros(model, stored) == np.count_nonzero(own == 0)


def hand_made(tensor_values: bytes, **fields) -> tuple[ModelInfo, TensorInfo]:
    plain = {
        "index": 0, "name": "t", "dtype": "int8", "shape": (4,), "shape_signature": None, "has_rank": True, "buffer": 0,
        "stored_bytes": len(tensor_values), "is_variable": False, "quantization": None, "sparsity": None,
    }  # fmt: skip
    model = ModelInfo("model", "", 3, (), (), (), tensor_values, (memoryview(tensor_values),))
    return model, TensorInfo(**(plain | fields))


def blocks_of_two_rows(indices=(0, 1, 1)) -> SparsityInfo:
    # Rows in blocks of 2; of the three blocks kept, one is in the first block row and two in the second.
    return SparsityInfo(
        traversal_order=(0, 1, 2),
        block_map=(0,),
        dimensions=(
            SparseDimension(compressed=False, dense_size=2),
            SparseDimension(
                compressed=True, dense_size=3, segments=np.array([0, 2, 3]), indices=np.array(indices, np.int64)
            ),
            SparseDimension(compressed=False, dense_size=2),
        ),
    )


def test_blocks_of_output_channels_unpack_where_they_belong():
    sparsity = blocks_of_two_rows()
    model, tensor = hand_made(bytes([1, 2, 3, 4, 5, 6]), shape=(4, 3), sparsity=sparsity)
    assert sparsity.block_shape == (2,)
    assert read_dense_values(model, tensor).tolist() == [[1, 3, 0], [2, 4, 0], [0, 5, 0], [0, 6, 0]]
    assert count_zeros(model, tensor) == 6


@pytest.mark.parametrize("indices", [(0, 1, 9), (0, 1, -1)])
def test_sparse_indices_outside_the_shape_are_refused(indices):
    model, tensor = hand_made(bytes(6), shape=(4, 3), sparsity=blocks_of_two_rows(indices))
    with pytest.raises(ModelFileError, match="damaged"):
        read_dense_values(model, tensor)


@pytest.mark.parametrize(
    ("dtype", "stored", "values"),
    [
        ("int4", bytes([0x21, 0x8F]), [1, 2, -1, -8]),
        ("uint4", bytes([0x21, 0x8F]), [1, 2, 15, 8]),
        ("int2", bytes([0b11_10_01_00]), [0, 1, -2, -1]),
        ("bfloat16", np.array([0x3F80, 0xBF80, 0, 0x4000], "<u2").tobytes(), [1.0, -1.0, 0.0, 2.0]),
    ],
)
def test_packed_elements(dtype, stored, values):
    model, tensor = hand_made(stored, dtype=dtype)
    assert tensor.dense_bytes == len(stored)
    assert read_stored_values(model, tensor).tolist() == values


def test_zeros_lie_at_the_zero_point_of_each_channel():
    two = QuantizationInfo(scales=(0.5, 2.0), zero_points=(3, -1), axis=0)
    model, tensor = hand_made(np.array([3, 4, -1, 0], np.int8).tobytes(), shape=(2, 2), quantization=two)
    assert count_zeros(model, tensor) == 2
    assert read_real_values(model, tensor).tolist() == [[0.0, 0.5], [0.0, 2.0]]
    one = QuantizationInfo(scales=(0.5,), zero_points=(3,), axis=0)
    model, tensor = hand_made(np.array([3, 3, 3, 0], np.int8).tobytes(), quantization=one)
    assert count_zeros(model, tensor) == 3


def test_too_few_elements_are_refused():
    model, tensor = hand_made(bytes(3))
    with pytest.raises(ModelFileError, match="needs 4 elements of int8, the file stores 3"):
        read_stored_values(model, tensor)


def test_buffers_behind_the_flatbuffer_read_like_those_inside(small_files, repack):
    inside = read_model(small_files.path("fp32"))
    taken = []

    def place(model, start=0):
        taken.clear()
        for buffer in model.buffers:
            if buffer.data is not None and len(buffer.data):
                taken.append(bytes(buffer.data))
                # A first packing with a large offset of the same width tells how long the flatbuffer becomes.
                buffer.offset, buffer.size = (start or 1 << 20) + sum(map(len, taken[:-1])), len(taken[-1])
                buffer.data = None

    start = len(repack(place))
    packed = repack(lambda model: place(model, start))
    assert len(packed) == start
    outside = parse_model(packed + b"".join(taken))
    for old, new in zip(inside.main.tensors, outside.main.tensors, strict=True):
        assert bytes(outside.content_of(new)) == bytes(inside.content_of(old))
    with pytest.raises(ModelFileError, match="the file has"):
        parse_model((packed + b"".join(taken))[:-1])


def test_weights_in_a_file_beside_the_model(small_files, repack, tmp_path):
    inside = read_model(small_files.path("fp32"))
    place = constants(inside)[0].index
    moved = []

    def move(model, name):
        tensor = model.subgraphs[0].tensors[place]
        moved[:] = [bytes(model.buffers[tensor.buffer].data)]
        tensor.buffer, tensor.externalBuffer = 0, 1
        group, item = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
        group.name = name
        item.id, item.group, item.offset, item.length = 1, 0, 4, len(moved[0])
        model.externalBufferGroups, model.externalBuffers = [group], [item]

    file = tmp_path / "model.tflite"
    file.write_bytes(repack(lambda model: move(model, "weights.bin")))
    with pytest.raises(ModelFileError, match=r"weights\.bin"):
        read_model(file)
    (tmp_path / "weights.bin").write_bytes(b"head" + moved[0])
    model = read_model(file)
    assert bytes(model.content_of(model.main.tensors[place])) == moved[0]
    file.write_bytes(repack(lambda model: move(model, "../weights.bin")))
    with pytest.raises(ModelFileError, match="not a plain file name"):
        read_model(file)


@pytest.mark.parametrize("recipe", ["fp32", "int8", "sparse-fp16"])
def test_damage_ends_in_one_error_and_nothing_else(small_files, tmp_path, recipe):
    content = small_files.path(recipe).read_bytes()
    dice = random.Random(20)
    refused = 0
    for number in range(MUTATIONS):
        damaged = bytearray(content)
        place = dice.randrange(8, len(content) - 4)
        if number % 3 == 0:
            damaged = damaged[:place]
        elif number % 3 == 1:
            damaged[place] ^= 1 << dice.randrange(8)
        else:
            damaged[place : place + 4] = dice.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"])
        try:
            inspect_model(parse_model(bytes(damaged)), tmp_path).to_json()
        except ModelFileError:
            refused += 1
    assert MUTATIONS / 4 < refused < MUTATIONS


def test_references_outside_the_graph_are_refused(repack):
    def lead_astray(model):
        model.subgraphs[0].operators[0].inputs = [9999, 1, 2]

    with pytest.raises(ModelFileError, match=r"operators\[0\].inputs\[0\] .*names tensor 9999"):
        parse_model(repack(lead_astray))


def test_an_unknown_operator_is_named_by_its_number(repack):
    def renumber(model):
        code = model.operatorCodes[0]
        code.builtinCode = 5000

    assert "BUILTINOPERATOR_5000" in {item.name for item in parse_model(repack(renumber)).main.operators}
