"""Cutting models: every cut of real models computes the same, bit for bit; what cannot be cut says why."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ModelFileError, NotCuttable, ParityError, WriteError
from converters.segments.cuts import OperatorSequence, balance_cuts
from converters.segments.extract import Extractor
from converters.segments.split import cpu_part, segment, segment_at
from converters.tflite.reader import parse_model
from edge.runtime.model import load_model
from edge.runtime.tensor_spec import plausible_array
from edge.runtime.verified_model import verify_bytes
from edge.workflows.splitting import segment_file

# Skip connections, a branch with a mean and a resize, 3 inputs and 5 outputs, a recurrent layer with state.
WHOLE = (
    "models/tf2_mobilenet_v2_1.0_224_ptq", "edgetpu_pairs/deeplabv3_mnv2_dm05_pascal_quant",
    "edgetpu_pairs/mobilenet_v1_0.25_128_quant", "edgetpu_pairs/keras_lstm_mnist_ptq", "edgetpu_pairs/split_concat",
)  # fmt: skip
SMALL = WHOLE[2:]


def outputs(data: bytes, arrays, folder: Path):
    """Verify a file and run it, as it would be run anywhere."""
    path = folder / "piece.tflite"
    path.write_bytes(data)
    with load_model(path, runtime=None, threads=1, delegates=()) as model:
        return [each.name for each in model.inputs], model.run(*arrays)


def arrays_of(data: bytes):
    given = verify_bytes(data, Path("model")).inputs
    shapes = [[max(size, 1) for size in each.shape] for each in given]
    return [
        plausible_array(shape, each.dtype, seed=i) for i, (shape, each) in enumerate(zip(shapes, given, strict=True))
    ]


def chained(found, arrays, folder):
    """Run the pieces one after another and return the whole model's outputs, by the names of the manifest."""
    values = dict(zip(found.inputs, arrays, strict=True))
    for piece in found.segments:
        names, results = outputs(piece.data, [values[each.name] for each in piece.inputs], folder)
        assert names == [each.name for each in piece.inputs]
        assert [len(result.shape) for result in results] == [len(each.shape) for each in piece.outputs]
        values.update(zip((each.name for each in piece.outputs), results, strict=True))
    return [values[name] for name in found.outputs]


def same(one, other):
    return len(one) == len(other) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def whole(shared_data, tmp_path_factory):
    """Each model's bytes, plausible inputs and outputs, by name."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    for name in WHOLE:
        data = (shared_data / f"{name}.tflite").read_bytes()
        arrays = arrays_of(data)
        found[name] = data, arrays, outputs(data, arrays, folder)[1]
    return found


@pytest.mark.parametrize(("name", "count"), [*itertools.product(WHOLE, (2, 3, 4, 5, 6))])
def test_the_chain_computes_what_the_whole_model_does(whole, tmp_path, name, count):
    data, arrays, right = whole[name]
    if name.endswith("split_concat") and count > 3:
        with pytest.raises(NotCuttable, match="there are 2 places to cut at"):
            segment(parse_model(data), count)
        return
    found = segment(parse_model(data), count)
    assert len(found.segments) == count
    assert same(chained(found, arrays, tmp_path), right)


@pytest.mark.parametrize("name", SMALL)
def test_every_single_cut(whole, tmp_path, name):
    data, arrays, right = whole[name]
    for place in OperatorSequence(parse_model(data)).places:
        assert same(chained(segment_at(parse_model(data), [place]), arrays, tmp_path), right), place


def test_one_operator_per_piece(whole, tmp_path):
    data, arrays, right = whole[WHOLE[2]]
    places = OperatorSequence(parse_model(data)).places
    assert same(chained(segment_at(parse_model(data), places), arrays, tmp_path), right)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE[:2])
def test_cuts_of_larger_models(whole, tmp_path, name):
    """Every third cut, where skip connections make several tensors cross."""
    data, arrays, right = whole[name]
    chain = OperatorSequence(parse_model(data))
    assert max(len(chain.crossing(place)) for place in chain.places) >= 2
    for place in chain.places[::3]:
        assert same(chained(segment_at(parse_model(data), [place]), arrays, tmp_path), right), place


@pytest.mark.parametrize("name", WHOLE)
def test_pieces_keep_what_belongs_to_them(whole, name):
    data = whole[name][0]
    model, found = parse_model(data), segment(parse_model(data), 2)
    parts = [parse_model(each.data) for each in found.segments]
    assert sum(len(part.main.operators) for part in parts) == len(model.main.operators)
    got = [(o.name, o.version, dict(o.options.fields)) for part in parts for o in part.main.operators]
    assert got == [(o.name, o.version, dict(o.options.fields)) for o in model.main.operators]
    by_name = {tensor.name: tensor for tensor in model.main.tensors}
    for part in parts:
        for tensor in part.main.tensors:
            old = by_name[tensor.name]
            assert (tensor.dtype, tensor.shape, tensor.is_variable) == (old.dtype, old.shape, old.is_variable)
            assert bytes(part.content_of(tensor)) == bytes(model.content_of(old))
            assert vars(tensor.quantization) == vars(old.quantization) if tensor.quantization else True
    kept = {item.name for item in model.metadata} - {"TFLITE_METADATA"}
    assert all({item.name for item in part.metadata} == kept for part in parts)


def test_constants_begin_on_16_bytes(whole):
    for piece in segment(parse_model(whole[WHOLE[0]][0]), 3).segments:
        part = parse_model(piece.data)
        assert all(address(buffer) % 16 == address(part.content) % 16 for buffer in part.buffers if buffer)


@pytest.mark.parametrize(("name", "count"), [(WHOLE[0], 2), (WHOLE[0], 3), (WHOLE[1], 4), (WHOLE[2], 3)])
def test_the_largest_piece_is_as_small_as_it_can_be(whole, name, count):
    """Against all possible cuts, within the 2 % that evenness may cost."""
    chain = OperatorSequence(parse_model(whole[name][0]))
    sizes = [0, *itertools.accumulate(chain.parameter_bytes)]
    bounds = [0, len(chain.operators)]

    def largest(places):
        ends = sorted((*bounds, *places))
        return max(sizes[b] - sizes[a] for a, b in itertools.pairwise(ends))

    least = min(map(largest, itertools.combinations(chain.places, count - 1)))
    found = balance_cuts(chain, count)
    assert least <= found.largest_bytes == largest(found.places) <= 1.02 * least


def test_the_other_pieces_are_even_beside_one_that_cannot_be_smaller(whole):
    """The last layer alone is the largest piece; what is left is not one large piece and a few bytes."""
    chain = OperatorSequence(parse_model(whole[WHOLE[0]][0]))
    places = (0, *balance_cuts(chain, 4).places, len(chain.operators))
    sizes = [chain.bytes_of(begin, end) for begin, end in itertools.pairwise(places)]
    assert max(sizes) == sizes[-1]
    assert max(sizes[:-1]) < 1.25 * min(sizes[:-1])


def address(content) -> int:
    return np.frombuffer(content, np.uint8).__array_interface__["data"][0]


def rebuilt(data, change):
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_boundaries_without_names_or_with_the_same_get_their_own(whole, tmp_path):
    data, arrays, right = whole[WHOLE[2]]

    def same_names(model):
        for tensor in model.subgraphs[0].tensors:
            tensor.name = b"x"

    found = segment(parse_model(rebuilt(data, same_names)), 3)
    names = [each.name for piece in found.segments for each in piece.outputs]
    assert len(set(names)) == len(names) == 3
    assert same(chained(found, arrays, tmp_path), right)


@pytest.mark.slow
def test_weights_that_are_unpacked_at_run_time_go_with_their_reader(tmp_path):
    """fp16 weights behind DEQUANTIZE would cross every cut; each piece has its own."""
    tf = pytest.importorskip("tensorflow")
    keras = tf.keras
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(8, 3, activation="relu") for _ in range(4)]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential([keras.Input((16, 16, 3)), *layers]))
    converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
    data = converter.convert()
    assert OperatorSequence(parse_model(data)).fixed
    found = segment(parse_model(data), 3)
    assert [len(piece.inputs) for piece in found.segments] == [1, 1, 1]
    arrays = arrays_of(data)
    assert same(chained(found, arrays, tmp_path), outputs(data, arrays, tmp_path)[1])


def while_loop():
    tf = pytest.importorskip("tensorflow")

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    def loop(x):
        return tf.nn.relu(tf.while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 1.5), (tf.constant(0), x))[1])

    return tf.lite.TFLiteConverter.from_concrete_functions([loop.get_concrete_function()]).convert()


@pytest.mark.slow
def test_control_flow_is_refused():
    with pytest.raises(NotCuttable, match=r"\(WHILE\) runs other graphs"):
        segment(parse_model(while_loop()), 2)


def test_state_is_not_torn_apart(whole):
    """A recurrent layer's state that a second operator uses keeps both on one side."""
    data = whole["edgetpu_pairs/keras_lstm_mnist_ptq"][0]
    states = [each.index for each in parse_model(data).main.tensors if each.is_variable]
    assert states

    def shared(model):
        last = model.subgraphs[0].operators[-1]
        last.inputs = np.array([*last.inputs, states[0]], np.int32)

    chain = OperatorSequence(parse_model(rebuilt(data, shared)))
    first = next(p for p, each in enumerate(chain.operators) if states[0] in each.inputs)
    assert all(place <= first for place in chain.places)
    assert "used on both sides" in chain.obstacle(first + 1)


@pytest.mark.parametrize("count", [-1, 0, 1, 5, 31, 32, 10**9])
def test_hostile_counts(whole, shared_data, tmp_path, count):
    path = shared_data / "edgetpu_pairs" / "split_concat.tflite"
    with pytest.raises(NotCuttable, match=f"cannot cut into {count} parts"):
        segment_file(path, count, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("places", [(), (0,), (31,), (-1,), (3, 3), (5, 2)])
def test_hostile_places(whole, places):
    with pytest.raises(NotCuttable):
        segment_at(parse_model(whole[WHOLE[2]][0]), places)


def test_compiled_models_and_other_files_are_refused(shared_data):
    for path in sorted((shared_data / "edgetpu_pairs").glob("*_edgetpu.tflite")):
        with pytest.raises(NotCuttable, match="has been compiled") as caught:
            segment(parse_model(path.read_bytes()), 2)
        assert "compile each part" in caught.value.hint
    with pytest.raises(ModelFileError):
        segment(parse_model(b"no model at all"), 2)


def test_what_a_compiled_model_leaves_to_the_cpu(shared_data, tmp_path):
    """The tail of a compiled model alone, fed with what the Edge TPU would give."""
    name = "deeplab_mobilenet_edgetpu_slim_cityscapes_quant_edgetpu.tflite"
    data, operators = cpu_part(parse_model((shared_data / "edgetpu_pairs" / name).read_bytes()), "edgetpu-custom-op")
    assert [each.name for each in operators] == ["RESIZE_BILINEAR", "ARG_MAX"]
    names, (classes,) = outputs(data, arrays_of(data), tmp_path)
    assert len(names) == 1
    assert classes.shape == (1, 513, 513)
    assert len(np.unique(classes)) > 5
    whole = (shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite").read_bytes()
    assert cpu_part(parse_model(whole), "edgetpu-custom-op") is None


def test_constants_outside_the_tables_are_refused(whole):
    def outside(model):
        model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 64, 4

    with pytest.raises(NotCuttable, match="after the flatbuffer"):
        Extractor(parse_model(rebuilt(whole[WHOLE[2]][0], outside)))


def edge(*args):
    return subprocess.run(
        [sys.executable, "-m", "edge", "coral", *map(str, args)], capture_output=True, text=True, check=False
    )


def test_the_command_writes_pieces_and_a_manifest(shared_data, tmp_path):
    path = shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    ended = edge("segment", path, "--count", 2, "--out", tmp_path / "out", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    said = json.loads(ended.stdout)
    assert said["same_bits"]["values"] == 1001
    written = json.loads((tmp_path / "out" / f"{path.stem}-segments.json").read_text())
    assert written["segments"] == said["segments"]
    files = sorted(each.name for each in (tmp_path / "out").glob("*.tflite"))
    assert files == [each["file"] for each in written["segments"]]
    assert files == [f"{path.stem}_segment_{index}_of_2.tflite" for index in (0, 1)]
    assert written["segments"][0]["outputs"] == written["segments"][1]["inputs"]


def test_the_command_says_what_it_cut_and_what_it_cannot(shared_data, tmp_path):
    pairs = shared_data / "edgetpu_pairs"
    ended = edge("segment", pairs / "mobilenet_v1_0.25_128_quant.tflite", "--count", 2, "--out", tmp_path)
    assert ended.returncode == 0
    assert "gives the whole model's outputs bit for bit (1,001 values compared)" in ended.stdout
    for name, count, code in (
        ("mobilenet_v1_0.25_128_quant_edgetpu.tflite", 2, 5), ("split_concat.tflite", 9, 5), ("none.tflite", 2, 3),
        ("", 2, 3),
    ):  # fmt: skip
        ended = edge("segment", pairs / name, "--count", count, "--out", tmp_path / "other")
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.startswith("error: ")
    assert not (tmp_path / "other").exists()


def test_a_model_that_does_not_run_here_is_cut_and_the_chain_not_claimed(shared_data, tmp_path):
    path = shared_data / "edgetpu_pairs" / "bodypix_mobilenet_v1_075_512_512_16_quant_decoder.tflite"
    found = segment_file(path, 2, tmp_path)
    assert found.checked is None
    assert "does not run here" in found.unchecked
    shown = edge("segment", path, "--count", 2, "--out", tmp_path).stdout.splitlines()
    assert shown[3].startswith("the chain was not compared with the whole model:")
    assert max(len(line) for line in shown[3:] if str(tmp_path) not in line) <= 80


def test_a_chain_that_computes_something_else_is_refused_and_nothing_written(whole, shared_data, tmp_path, monkeypatch):
    """One weight is changed in the pieces only: the check must see it."""

    def other(model):
        weights = next(each for each in model.buffers if each.data is not None and len(each.data) > 1000)
        weights.data = np.asarray(weights.data) ^ 64

    spoilt = rebuilt(whole[WHOLE[2]][0], other)
    monkeypatch.setattr("edge.workflows.splitting.segment", lambda model, count: segment(parse_model(spoilt), count))
    with pytest.raises(ParityError, match=r"differs from the whole model: \d+ of 1001 values"):
        segment_file(shared_data / f"{WHOLE[2]}.tflite", 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(shared_data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        segment_file(shared_data / "edgetpu_pairs" / "split_concat.tflite", 2, tmp_path / "file" / "out")


def tree(folder):
    return {each.name: each.is_dir() or each.read_bytes() for each in folder.iterdir()}


@pytest.mark.parametrize("name", ["_segment_0_of_2.tflite", "_segment_1_of_2.tflite", "-segments.json"])
@pytest.mark.parametrize("earlier", [False, True])
def test_pieces_are_written_together_or_not_at_all(shared_data, tmp_path, name, earlier):
    """A folder has the name of one of the files; in the others' places stays what stood there."""
    path, blocked = shared_data / "edgetpu_pairs" / "split_concat.tflite", tmp_path / f"split_concat{name}"
    if earlier:
        found = segment_file(path, 2, tmp_path, check=False)
        for each in (*found.files, found.manifest):
            each.write_text("of an earlier time")
        blocked.unlink()
    blocked.mkdir()
    before = tree(tmp_path)
    with pytest.raises(WriteError, match=blocked.name) as caught:
        segment_file(path, 2, tmp_path, check=False)
    assert "unchanged" in caught.value.hint
    assert tree(tmp_path) == before
    blocked.rmdir()
    found = segment_file(path, 2, tmp_path, check=False)
    assert set(tmp_path.iterdir()) == {*found.files, found.manifest}
    assert not any(each.read_bytes() == b"of an earlier time" for each in tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(shared_data, tmp_path, monkeypatch):
    """The second piece finds no space."""
    write, places = Path.write_bytes, []

    def write_bytes(path, data):
        places.append(path)
        if len(places) == 2:
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(WriteError, match="No space left on device"):
        segment_file(shared_data / "edgetpu_pairs" / "split_concat.tflite", 2, tmp_path, check=False)
    assert not list(tmp_path.iterdir())
