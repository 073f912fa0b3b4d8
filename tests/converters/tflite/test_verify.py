"""Verification: what is sound passes, what native code would stumble over does not."""

from __future__ import annotations

import inspect
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as official

from converters.errors import ModelFileError
from converters.tflite import schema
from converters.tflite.flatbuffer import Damage, read_root
from converters.tflite.operator_table import ARITIES, OPTION_RANGES
from converters.tflite.table_fields import tables
from edge.runtime import verify_file
from edge.runtime.verified_model import verify_bytes

ANYWHERE = Path("model.tflite")
PAIRS = "edgetpu_pairs"


def real_models():
    folder = Path(__file__).resolve().parents[4] / "shared" / "data"
    return sorted(folder.glob("*/*.tflite")) or [pytest.param(None, marks=pytest.mark.skip("needs ../shared/data"))]


@pytest.mark.parametrize("path", real_models(), ids=lambda path: getattr(path, "stem", "none"))
def test_real_models_pass(path):
    verified = verify_file(path)
    assert verified.size_bytes == path.stat().st_size
    assert verified.operators
    assert verified.inputs
    assert verified.outputs


def test_everything_that_tensorflow_converts_passes(converted):
    for path in converted.values():
        assert verify_file(path).operators


def test_the_signature_is_read_from_the_file(shared_data, converted):
    verified = verify_file(shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite")
    (entry,) = verified.inputs
    assert (entry.dtype, entry.shape, entry.zero_point) == ("uint8", (1, 224, 224, 3), 127)
    assert entry.scale == pytest.approx(1 / 127.5, rel=1e-4)
    assert verify_file(converted["free_batch"]).inputs[0].shape == (-1, 16, 16, 3)
    assert verify_file(converted["fp32"]).inputs[0].scale is None


# --- the table of the schema ------------------------------------------------------------------------------------------


def official_fields(table):
    """Read slots, kinds and defaults of a table out of the generated code of the installed schema."""
    kinds = {
        "Bool": "bool", "Int8": "i8", "Uint8": "u8", "Int32": "i32", "Uint16": "u16", "Uint32": "u32", "Int64": "i64",
        "Uint64": "u64", "Float32": "f32",
    }  # fmt: skip
    found = {}
    for name, function in vars(table).items():
        source = inspect.getsource(function) if inspect.isfunction(function) else ""
        slot = re.search(r"Offset\((\d+)\)\)", source)
        about = re.sub(r"(Length|IsNone|AsNumpy)$", "", name)
        if slot is None or (about != name and about in vars(table)):
            continue
        scalar = re.search(r"Get\(flatbuffers\.number_types\.(\w+)Flags, (o|a) \+", source)
        inner = re.search(r"obj = (\w+)\(\)", source)
        if "_tab.Union(" in source:
            kind, of = "union", None
        elif "_tab.String(" in source:
            kind, of = "str", ""
        elif "_tab.Vector(o)" in source:
            kind, of = ("tables", inner[1]) if inner else ("vector", kinds[scalar[1]])
        elif inner:
            kind, of = "table", inner[1]
        else:
            kind, of = "scalar", kinds[scalar[1]]
        default = re.findall(r"return (\S+)", source)[-1]
        default = {"False": 0, "True": 1, "None": 0}.get(default, default)
        found[(int(slot[1]) - 4) // 2] = (kind, of, float(default) if kind == "scalar" else 0.0)
    return found


def test_the_table_is_the_installed_schema():
    theirs = {name: cls for name, cls in vars(official).items() if hasattr(cls, "GetRootAs")}
    assert set(tables()) <= set(theirs)
    for name, cls in theirs.items():
        expected = official_fields(cls)
        ours = {slot: field for slot, field in enumerate(tables().get(name, ())) if field is not None}
        assert sorted(ours) == sorted(expected), name
        for slot, field in ours.items():
            kind, of, default = expected[slot]
            assert (field.kind, field.default) == (kind, default), (name, field)
            assert of in (None, field.of), (name, field)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (schema.OPERATORS, "BuiltinOperator"),
        (schema.TENSOR_TYPES, "TensorType"),
        *[(words, name) for name, words in (schema.UNIONS | schema.ENUMS).items()],
    ],
)
def test_enumerations_are_the_installed_schema(ours, theirs):
    expected = {name: code for name, code in vars(getattr(official, theirs)).items() if not name.startswith("_")}
    assert {name: code for code, name in enumerate(ours)} == expected


def test_the_operators_that_are_described_exist():
    fields = {field.name for slots in tables().values() for field in slots if field is not None}
    assert set(ARITIES) <= set(schema.OPERATORS)
    assert {arity.options for arity in ARITIES.values()} - {None} <= set(schema.UNIONS["BuiltinOptions"])
    assert set(OPTION_RANGES) <= fields


# --- damage to the container ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(shared_data):
    return (shared_data / PAIRS / "split_concat.tflite").read_bytes()


@pytest.fixture(scope="module")
def mobilenet(shared_data):
    return (shared_data / PAIRS / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()


def refused(data, pattern):
    with pytest.raises(ModelFileError, match=pattern) as caught:
        verify_bytes(bytes(data), ANYWHERE)
    assert caught.value.exit_code == 4
    assert caught.value.hint
    return str(caught.value)


def test_every_truncation_is_refused(small):
    for length in range(len(small) - 64):
        refused(small[:length], "model.tflite is not a sound TFLite model")


def test_other_files_are_refused(tmp_path):
    refused(b"", "has 0 bytes")
    refused(b"\x89PNG\r\n\x1a\n" * 8, r"at byte 4: bytes 4 to 7 are .* b'TFL3' there")
    with pytest.raises(ModelFileError, match=r"cannot read the model .*No such file"):
        verify_file(tmp_path / "absent.tflite")
    with pytest.raises(ModelFileError, match=r"cannot read the model .*directory"):
        verify_file(tmp_path)


def test_a_message_says_where(small):
    root = read_root(small)
    operator = root.records("subgraphs")[0].records("operators")[1]
    vtable = operator.at - struct.unpack_from("<i", small, operator.at)[0]
    field = operator.at + struct.unpack_from("<H", small, vtable + 4 + 2 * 1)[0]  # slot 1: inputs
    data = bytearray(small)
    struct.pack_into("<I", data, field, len(small))
    text = refused(data, "points to byte")
    assert f"subgraphs[0].operators[1].inputs (at byte {field})" in text


def test_a_table_that_contains_itself_is_refused():
    # A model whose subgraphs vector holds the model table itself, read as a subgraph whose tensors are itself...
    data = bytearray(64)
    struct.pack_into("<I4s", data, 0, 24, b"TFL3")
    struct.pack_into("<6H", data, 8, 12, 16, 0, 0, 4, 0)  # vtable: slot 2 (subgraphs) at 4
    struct.pack_into("<iI", data, 24, 16, 12)  # the table, and the offset of the vector at 28 + 12
    struct.pack_into("<II", data, 40, 1, 1 << 31)
    refused(data, r"subgraphs\[0\].*points to byte")


def bomb(levels, width):
    """Return a flatbuffer of nested vectors, each naming one and the same table many times."""
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.StartObject(1)
    leaf = builder.EndObject()  # a Tensor
    for _ in range(levels):
        builder.StartVector(4, width, 4)
        for _ in range(width):
            builder.PrependUOffsetTRelative(leaf)
        vector = builder.EndVector()
        builder.StartObject(3)
        builder.PrependUOffsetTRelativeSlot(0, vector, 0)
        leaf = builder.EndObject()
    builder.StartVector(4, width, 4)
    for _ in range(width):
        builder.PrependUOffsetTRelative(leaf)
    vector = builder.EndVector()
    builder.StartObject(10)
    builder.PrependUint32Slot(0, 3, 0)
    builder.PrependUOffsetTRelativeSlot(2, vector, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_a_small_file_cannot_stand_for_millions_of_tables():
    assert read_root(bomb(1, 900)).tables > 800_000
    data = bomb(1, 2000)
    assert len(data) < 20_000
    with pytest.raises(Damage, match="more than 1000000 tables"):
        read_root(data)


# --- models that are whole, but wrong ---------------------------------------------------------------------------------


def altered(data, change):
    """Unpack a model with the official schema, change it, and pack it again."""
    import flatbuffers

    model = official.ModelT.InitFromPackedBuf(data, 0)
    change(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def graph(model):
    return model.subgraphs[0]


def first(model, code):
    """Return the first operator of a kind, with its tensors."""
    codes = [max(each.deprecatedBuiltinCode, each.builtinCode) for each in model.operatorCodes]
    operator = next(each for each in graph(model).operators if codes[each.opcodeIndex] == code)
    return operator, [graph(model).tensors[index] for index in (*operator.inputs, *operator.outputs)]


def set_in(get, name, value):
    def change(model):
        part = get(model)
        setattr(part, name, value(getattr(part, name)) if callable(value) else value)

    return change


OP = official.BuiltinOperator


def options_of(code):
    return lambda model: first(model, code)[0].builtinOptions


def tensor_of(code, place):
    return lambda model: first(model, code)[1][place]


def quantization_of(code, place):
    return lambda model: first(model, code)[1][place].quantization


def add_subgraph_call(model):
    options = official.CallOnceOptionsT()
    options.initSubgraphIndex = 0
    code = official.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = OP.CALL_ONCE, 127, 1
    model.operatorCodes.append(code)
    operator = official.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, [], []
    operator.builtinOptionsType, operator.builtinOptions = official.BuiltinOptions.CallOnceOptions, options
    graph(model).operators.append(operator)


def reversed_operators(model):
    graph(model).operators.reverse()


def twice_written(model):
    graph(model).operators[1].outputs = graph(model).operators[0].outputs


def writes_a_constant(model):
    operator, _ = first(model, OP.CONV_2D)
    operator.outputs = [operator.inputs[1]]


def other_options(model):
    operator, _ = first(model, OP.CONV_2D)
    operator.builtinOptionsType = official.BuiltinOptions.SoftmaxOptions
    operator.builtinOptions = official.SoftmaxOptionsT()


WRONG = {
    "version": (set_in(lambda m: m, "version", 4), "version .*is 4"),
    "no subgraph": (set_in(lambda m: m, "subgraphs", []), "has no subgraph"),
    "opcode index": (set_in(lambda m: graph(m).operators[3], "opcodeIndex", 99), r"operators\[3\].opcode_index"),
    "unknown operator": (set_in(lambda m: m.operatorCodes[0], "builtinCode", 4000), "operator code is 4000"),
    "delegate operator": (set_in(lambda m: m.operatorCodes[0], "builtinCode", 51), "DELEGATE"),
    "input index": (set_in(lambda m: graph(m).operators[3], "inputs", lambda v: [v[0], 977, *v[2:]]),
                    r"operators\[3\].inputs\[1\] .*names tensor 977"),
    "absent input": (set_in(lambda m: graph(m).operators[3], "inputs", lambda v: [-1, *v[1:]]),
                     r"operators\[3\].inputs\[0\]"),
    "too few inputs": (set_in(lambda m: graph(m).operators[3], "inputs", lambda v: v[:1]), "has 1 inputs"),
    "too many outputs": (set_in(lambda m: graph(m).operators[30], "outputs", lambda v: [*v, 5]), r"operators\[30\]"),
    "output index": (set_in(lambda m: graph(m).operators[3], "outputs", [-2]), r"operators\[3\].outputs\[0\]"),
    "graph input": (set_in(graph, "inputs", [977]), r"subgraphs\[0\].inputs\[0\]"),
    "graph output": (set_in(graph, "outputs", [-1]), r"subgraphs\[0\].outputs\[0\]"),
    "order": (reversed_operators, "before it is written"),
    "written twice": (twice_written, "already written"),
    "constant written": (writes_a_constant, "writes the constant"),
    "recursion": (add_subgraph_call, "calls itself"),
    "buffer index": (set_in(tensor_of(OP.CONV_2D, 1), "buffer", 4096), "refers to buffer 4096"),
    "external buffer": (set_in(tensor_of(OP.CONV_2D, 1), "externalBuffer", 1), "another file"),
    "type": (set_in(tensor_of(OP.CONV_2D, 1), "type", 77), "the type is 77"),
    "constant size": (set_in(tensor_of(OP.CONV_2D, 1), "shape", lambda v: [2 * v[0], *v[1:]]), "buffer .*holds"),
    "negative shape": (set_in(tensor_of(OP.CONV_2D, 0), "shape", [1, -5, 4, 4]), "dimensions are"),
    "overflow": (set_in(tensor_of(OP.CONV_2D, 0), "shape", [65536, 65536, 65536, 65536]), "take more than"),
    "huge": (set_in(tensor_of(OP.CONV_2D, 0), "shape", [1, 65536, 65536, 1]), "take more than"),
    "rank": (set_in(tensor_of(OP.CONV_2D, 0), "shape", [1] * 40), "40 dimensions"),
    "channels": (set_in(tensor_of(OP.CONV_2D, 0), "shape", [1, 128, 128, 5]), "5 channels do not fit"),
    "scale not a number": (set_in(quantization_of(OP.CONV_2D, 1), "scale", [float("nan")]), "scale"),
    "scale negative": (set_in(quantization_of(OP.CONV_2D, 1), "scale", [-1.0]), "scale"),
    "scale zero": (set_in(quantization_of(OP.CONV_2D, 1), "scale", [0.0]), "scale"),
    "no scale": (set_in(tensor_of(OP.CONV_2D, 1), "quantization", None), "has no scale"),
    "zero points": (set_in(quantization_of(OP.CONV_2D, 1), "zeroPoint", [1, 2]), "1 scales and 2 zero points"),
    "zero point range": (set_in(quantization_of(OP.CONV_2D, 1), "zeroPoint", [300]), "outside 0 to 255"),
    "channel count": (set_in(lambda m: quantization_of(OP.CONV_2D, 1)(m), "__dict__", lambda v: {
        **v, "scale": [0.1] * 3, "zeroPoint": [0] * 3}), "has 3 scales"),
    "quantized dimension": (set_in(quantization_of(OP.CONV_2D, 1), "quantizedDimension", 9), "quantized_dimension"),
    "stride": (set_in(options_of(OP.CONV_2D), "strideW", 0), r"stride_w = 0"),
    "negative stride": (set_in(options_of(OP.DEPTHWISE_CONV_2D), "strideH", -2), r"stride_h = -2"),
    "dilation": (set_in(options_of(OP.CONV_2D), "dilationHFactor", 0), "dilation_h_factor = 0"),
    "pool": (set_in(options_of(OP.AVERAGE_POOL_2D), "filterWidth", 0), "filter_width = 0"),
    "pool size": (set_in(options_of(OP.AVERAGE_POOL_2D), "filterWidth", 60000), "window of 60000"),
    "activation": (set_in(options_of(OP.CONV_2D), "fusedActivationFunction", 50), "fused_activation_function = 50"),
    "padding": (set_in(options_of(OP.CONV_2D), "padding", 7), "padding = 7"),
    "multiplier": (set_in(options_of(OP.DEPTHWISE_CONV_2D), "depthMultiplier", 3), "channels times 3"),
    "other options": (other_options, "its own are Conv2DOptions"),
    "no options": (set_in(lambda m: first(m, OP.CONV_2D)[0], "builtinOptionsType", 0), "stride_w = 0"),
    "output shape": (set_in(tensor_of(OP.CONV_2D, 3), "shape", [1, 64, 64, 9]), r"must be \[1, 64, 64, 8\]"),
    "reshape": (set_in(tensor_of(OP.RESHAPE, 2), "shape", [1, 7]), "elements"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_native_code_trusts_is_checked(name, mobilenet):
    change, pattern = WRONG[name]
    assert verify_bytes(altered(mobilenet, lambda model: None), ANYWHERE).operators == 31
    refused(altered(mobilenet, change), pattern)


def set_constant(code, place, values):
    def change(model):
        tensor = first(model, code)[1][place]
        dtype = np.int64 if tensor.type == official.TensorType.INT64 else np.int32
        model.buffers[tensor.buffer].data = list(np.asarray(values, dtype).tobytes())
        tensor.shape = list(np.shape(values))

    return change


def first_sparse(model):
    return next(tensor.sparsity for tensor in graph(model).tensors if tensor.sparsity is not None)


def change_sparse(change):
    def changed(model):
        change(first_sparse(model))

    return changed


def wild_index(sparsity):
    level = next(each for each in sparsity.dimMetadata if each.format == 1)
    level.arrayIndices.values = [*level.arrayIndices.values[:-1], 250]


def wild_segment(sparsity):
    level = next(each for each in sparsity.dimMetadata if each.format == 1)
    level.arraySegments.values = [*level.arraySegments.values[:-1], 255]


WRONG_CONVERTED = {
    "transpose twice the same": ("shapes", set_constant(OP.TRANSPOSE, 1, [0, 2, 2, 3]), "not an order of 4 dimensions"),
    "transpose out of range": ("shapes", set_constant(OP.TRANSPOSE, 1, [0, 2, 1, 9]), "axis 9"),
    "negative padding": ("shapes", set_constant(OP.PAD, 1, [[0, 0], [-1, 1], [2, 0], [0, 0]]), "not paddings"),
    "huge padding": ("shapes", set_constant(OP.PAD, 1, [[9999, 0], [9999, 1], [9999, 0], [0, 0]]), "would give"),
    "mirrored too far": ("shapes", set_constant(OP.MIRROR_PAD, 1, [[0, 0], [90, 1], [0, 2], [0, 0]]), "mirrored"),
    "stride of zero": ("shapes", set_constant(OP.STRIDED_SLICE, 3, [1, 0, 1, 1]), "stride of 0"),
    "slice outside": ("shapes", set_constant(OP.SLICE, 2, [1, 3, 99, 1]), "lies outside"),
    "tile": ("shapes", set_constant(OP.TILE, 1, [99999, 99999, 99999, 3]), "would give"),
    "split axis": ("shapes", set_constant(OP.SPLIT, 0, 7), "axis 7"),
    "split count": ("shapes", set_in(options_of(OP.SPLIT), "numSplits", 3), "num_splits = 3"),
    "pack axis": ("shapes", set_in(options_of(OP.PACK), "axis", 7), "axis 7"),
    "resize to nothing": ("space", set_constant(OP.RESIZE_BILINEAR, 1, [0, 5]), "cannot resize"),
    "block size": ("space", set_in(options_of(OP.SPACE_TO_DEPTH), "blockSize", 0), "block_size = 0"),
    "block shape": ("space", set_constant(OP.SPACE_TO_BATCH_ND, 1, [0, 2]), "blocks are"),
    "top k": ("choices", set_constant(OP.TOPK_V2, 1, 70000), "cannot take"),
    "gather axis": ("choices", set_in(options_of(OP.GATHER), "axis", 5), "axis 5"),
    "loop body": ("loop", set_in(options_of(OP.WHILE), "bodySubgraphIndex", 7), "names subgraph 7"),
    "loop of itself": ("loop", set_in(options_of(OP.WHILE), "bodySubgraphIndex", 0), "calls itself|passes"),
    "branch arguments": ("branch", set_in(lambda m: m.subgraphs[1], "inputs", []), "passes|read"),
    "sparse index": ("sparse", change_sparse(wild_index), "an index lies outside"),
    "sparse segments": ("sparse", change_sparse(wild_segment), "segments do not cover"),
    "sparse order": ("sparse", change_sparse(lambda s: setattr(s, "traversalOrder", [0, 0, 1, 2])), "traversal order"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_CONVERTED)
def test_constants_that_kernels_compute_with_are_checked(name, converted):
    model, change, pattern = WRONG_CONVERTED[name]
    data = converted[model].read_bytes()
    assert verify_bytes(altered(data, lambda model: None), ANYWHERE).operators
    refused(altered(data, change), pattern)
