"""Writing .tflite files: what is read back is what was there, for the schema's own classes and for the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as official

from converters.errors import ModelFileError
from converters.tflite.editor import ModelEditor
from converters.tflite.reader import parse_model, read_model
from converters.tflite.writer import SchemaTable, pack_model, unpack_model
from converters.variant_comparison import HostModel

RECIPES = ("fp32", "free-batch", "fp16", "dynamic", "int8", "int16x8", "sparse", "sparse-fp16", "loop")


def real_models():
    folder = Path(__file__).resolve().parents[4] / "shared" / "data"
    return sorted(folder.glob("*/*.tflite")) or [pytest.param(None, marks=pytest.mark.skip("needs ../shared/data"))]


def plain(value):
    """Return an unpacked object of the schema's own classes as comparable values."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {name: plain(item) for name, item in vars(value).items()} if hasattr(value, "__dict__") else value


def assert_same(written: bytes, original: bytes) -> None:
    ours, theirs = (plain(official.ModelT.InitFromPackedBuf(data, 0)) for data in (written, original))
    assert ours == theirs


@pytest.mark.parametrize("path", real_models(), ids=lambda path: getattr(path, "stem", "none"))
def test_real_models_come_back(path):
    model = read_model(path)
    written = pack_model(unpack_model(model))
    assert_same(written, model.content)
    assert len(written) <= len(model.content) + 16 * len(model.buffers)
    assert pack_model(unpack_model(parse_model(written))) == written


@pytest.mark.parametrize("recipe", RECIPES)
def test_small_models_of_all_kinds_come_back(small_files, recipe):
    content = small_files.path(recipe).read_bytes()
    written = pack_model(unpack_model(parse_model(content)))
    assert_same(written, content)
    if recipe != "free-batch":
        shape = (1, 4) if recipe == "loop" else (1, 16, 16, 3)
        values = [np.random.default_rng(1).normal(size=shape).astype(np.float32)]
        results = [HostModel(data).run(values)[0] for data in (content, written)]
        np.testing.assert_array_equal(*results)


def test_buffers_are_aligned(small_files):
    model = parse_model(pack_model(unpack_model(read_model(small_files.path("int8")))))
    start, *places = (
        np.frombuffer(data, np.uint8).__array_interface__["data"][0] for data in (model.content, *model.buffers) if data
    )
    assert len(places) > 10
    assert {(place - start) % 16 for place in places} == {0}


def test_buffers_behind_the_flatbuffer_stay_there(small_files):
    inside = read_model(small_files.path("fp32"))
    tree = unpack_model(inside)
    for buffer in tree["buffers"]:
        if buffer["data"] is not None:
            buffer["offset"] = 2
    model = parse_model(pack_model(tree))
    sizes = [record["data"] for record in model.record.records("buffers")]
    assert all(data is None for data in sizes)
    assert [bytes(buffer) for buffer in model.buffers] == [bytes(buffer) for buffer in inside.buffers]
    assert all(record["offset"] % 16 == 0 for record in model.record.records("buffers"))
    assert pack_model(unpack_model(model)) == model.content
    assert HostModel(model.content)


def test_shared_parts_are_written_once():
    scales = SchemaTable("QuantizationParameters", scale=np.ones(1000, np.float32), zero_point=np.zeros(1000, np.int64))
    tensors = [SchemaTable("Tensor", name="t", quantization=scales) for _ in range(3)]
    model = SchemaTable("Model", version=3, subgraphs=[SchemaTable("SubGraph", tensors=tensors)])
    data = pack_model(model)
    assert len(data) < 13_000
    assert [len(tensor.scales) for tensor in parse_model(data).main.tensors] == [1000] * 3


def test_fields_of_a_newer_schema_are_not_lost_silently(small_files):
    data = bytearray(small_files.path("fp32").read_bytes())
    graph = parse_model(bytes(data)).main.record
    # A vtable of 12 slots after the file, for the subgraph that has 6: the last one refers to the first field.
    old = graph.at - int.from_bytes(data[graph.at : graph.at + 4], "little", signed=True)
    length = int.from_bytes(data[old : old + 2], "little")
    vtable = bytearray(data[old : old + length].ljust(28, b"\0"))
    vtable[0], vtable[26:28] = 28, vtable[4:6]
    data += bytes(-len(data) % 4)
    data[graph.at : graph.at + 4] = (graph.at - len(data)).to_bytes(4, "little", signed=True)
    model = parse_model(bytes(data + vtable))
    assert len(model.main.operators) == len(parse_model(small_files.path("fp32").read_bytes()).main.operators)
    with pytest.raises(ModelFileError, match="newer schema"):
        unpack_model(model)


def test_unknown_fields_of_a_table_are_refused():
    with pytest.raises(KeyError, match="Buffer has no field size_bytes; it has data, offset, size"):
        SchemaTable("Buffer", size_bytes=3)


def test_what_nothing_refers_to_is_left_out(small_files):
    editor = ModelEditor(read_model(small_files.path("fp32")))
    constant = next(tensor for tensor in editor.tensors if tensor["buffer"])
    old = constant["buffer"]
    editor.set_values(editor.tensors.index(constant), np.zeros(8, np.float32))
    editor.find_code("PAD", 1)
    model = parse_model(editor.pack())
    assert not model.buffers[old]
    codes = {(operator.name, operator.version) for operator in model.operators()}
    assert len(model.record.records("operator_codes")) == len(codes)
