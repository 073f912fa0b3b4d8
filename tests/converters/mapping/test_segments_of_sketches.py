"""Cuts of graphs that no converter would write: the chain gives the same bits, or a reason is told."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from sketch import Sketch

from converters.errors import NotCuttable
from converters.segments.cuts import OperatorSequence
from converters.segments.split import segment, segment_at
from converters.tflite.reader import parse_model
from edge.runtime.model import load_model
from edge.runtime.tensor_spec import plausible_array
from edge.runtime.verified_model import verify_bytes
from edge.workflows.splitting import segment_file

SHAPE, FLOAT = (1, 4, 4, 4), "float32"
SEED = ("RandomOptions", {"seed": 3, "seed2": 4})


def add(sketch, *inputs):
    return sketch.add("ADD", inputs, SHAPE, FLOAT, options=("AddOptions", {}))


def relu(sketch, source):
    return sketch.add("RELU", [source], SHAPE, FLOAT)


def negative_of_a_constant(sketch, options=("NegOptions", {})):
    return sketch.add("NEG", [sketch.constant(np.ones(SHAPE), FLOAT)], SHAPE, FLOAT, options=options)


def random_numbers(sketch, options=SEED):
    return sketch.add("RANDOM_UNIFORM", [sketch.constant(SHAPE)], SHAPE, FLOAT, options=options)


def halves(sketch, source):
    sides = ("SplitOptions", {"numSplits": 2})
    first = sketch.add("SPLIT", [sketch.constant(3), source], (1, 4, 4, 2), FLOAT, outputs=2, options=sides)
    return sketch.add("CONCATENATION", [first, first], SHAPE, FLOAT, options=("ConcatenationOptions", {"axis": 3}))


def run(data, arrays, folder):
    path = folder / "piece.tflite"
    path.write_bytes(data)
    with load_model(path, runtime=None, threads=1, delegates=()) as model:
        return [each.name for each in model.inputs], model.run(*arrays)


def arrays_of(data):
    given = verify_bytes(data, Path("model")).inputs
    return [plausible_array(each.shape, each.dtype, seed=index) for index, each in enumerate(given)]


def chained(found, arrays, folder):
    assert len(set(found.inputs)) == len(found.inputs) == len(arrays)
    values = dict(zip(found.inputs, arrays, strict=True))
    for piece in found.segments:
        verify_bytes(piece.data, Path("piece"))
        names, results = run(piece.data, [values[each.name] for each in piece.inputs], folder)
        assert names == [each.name for each in piece.inputs]
        values.update(zip((each.name for each in piece.outputs), results, strict=True))
    return [values[name] for name in found.outputs]


def compare_every_cut(data, folder):
    """Cut at every place alone and at all of them, and compare with the whole model."""
    arrays, places = arrays_of(data), OperatorSequence(parse_model(data)).places
    _, right = run(data, arrays, folder)
    for cut in [*([place] for place in places), list(places)]:
        got = chained(segment_at(parse_model(data), cut), arrays, folder)
        assert [(each.dtype, each.shape, each.tobytes()) for each in got] == [
            (each.dtype, each.shape, each.tobytes()) for each in right
        ], cut
    return places


def test_outputs_that_no_operator_writes(tmp_path):
    """An input, once and twice, and a constant."""
    sketch = Sketch()
    source, constant = sketch.input(SHAPE, FLOAT), sketch.constant(np.full(SHAPE, 7), FLOAT)
    end = relu(sketch, add(sketch, relu(sketch, source), constant))
    assert compare_every_cut(sketch.data(source, end, constant, source), tmp_path)


def test_outputs_that_are_read_on_and_named_twice(tmp_path):
    sketch = Sketch()
    first = relu(sketch, sketch.input(SHAPE, FLOAT))
    second = halves(sketch, first)
    assert compare_every_cut(sketch.data(first, relu(sketch, second), second, first), tmp_path)


def test_inputs_that_nothing_reads_or_only_the_last(tmp_path):
    sketch = Sketch()
    source, _, late = (sketch.input(SHAPE, FLOAT) for _ in range(3))
    assert compare_every_cut(sketch.data(add(sketch, relu(sketch, relu(sketch, source)), late)), tmp_path)


def test_what_is_computed_from_constants_is_an_output_too(tmp_path):
    sketch = Sketch()
    fixed = negative_of_a_constant(sketch)
    end = add(sketch, relu(sketch, add(sketch, sketch.input(SHAPE, FLOAT), fixed)), fixed)
    assert compare_every_cut(sketch.data(end, fixed), tmp_path)
    assert compare_every_cut(sketch.data(end), tmp_path)


def test_random_numbers_are_drawn_in_one_piece(tmp_path):
    sketch = Sketch()
    numbers = random_numbers(sketch)
    end = add(sketch, relu(sketch, add(sketch, sketch.input(SHAPE, FLOAT), numbers)), numbers)
    data = sketch.data(end)
    places = compare_every_cut(data, tmp_path)
    pieces = [parse_model(each.data).main.operators for each in segment_at(parse_model(data), places).segments]
    assert [each.name for piece in pieces for each in piece].count("RANDOM_UNIFORM") == 1


def test_random_numbers_without_a_seed_are_refused():
    sketch = Sketch()
    end = add(sketch, relu(sketch, sketch.input(SHAPE, FLOAT)), random_numbers(sketch, ("RandomOptions", {})))
    with pytest.raises(NotCuttable, match=r"\(RANDOM_UNIFORM\) draws different numbers in each run") as caught:
        segment(sketch.model(end), 2)
    assert "seed" in caught.value.hint


def test_names_that_look_like_those_of_boundaries(tmp_path):
    sketch = Sketch()
    sources = [sketch.input(SHAPE, FLOAT) for _ in range(2)]
    first = relu(sketch, sources[0])
    end = add(sketch, add(sketch, first, sources[1]), sources[0])
    for tensor, name in ((sources[0], f"x#{first}"), (sources[1], "x"), (first, "x")):
        sketch._graph.tensors[tensor].name = name.encode()
    assert compare_every_cut(sketch.data(end, first), tmp_path)


def drawn(generator):
    """A graph of a few operators; every choice is the generator's."""
    sketch = Sketch()
    tensors = [sketch.input(SHAPE, FLOAT) for _ in range(generator.randint(1, 3))]
    constant = sketch.constant(np.linspace(-1, 1, 4), FLOAT)
    for _ in range(generator.randint(2, 9)):
        source = generator.choice(tensors)
        make = generator.choice([
            lambda one: relu(sketch, one), lambda one: halves(sketch, one), lambda one: add(sketch, one, constant),
            lambda one: add(sketch, one, generator.choice(tensors)), lambda _: random_numbers(sketch),
            lambda one: add(sketch, one, negative_of_a_constant(sketch)),
        ])  # fmt: skip
        tensors.append(make(source))
    outputs = [each for each in tensors if generator.random() < 0.3] + [tensors[-1]]
    if generator.random() < 0.3:
        for tensor in sketch._graph.tensors:
            tensor.name = generator.choice([b"x", b"x#3", None])
    return sketch.data(*outputs, *([constant] if generator.random() < 0.2 else []))


def test_drawn_graphs(tmp_path):
    same = 0
    for seed, count in itertools.product(range(20), (2, 3, 5)):
        data = drawn(random.Random(seed))
        arrays = arrays_of(data)
        try:
            found = segment(parse_model(data), count)
        except NotCuttable as error:
            assert "places to cut at" in str(error) or "nothing to cut" in str(error)  # noqa: PT017
            continue
        assert [each.tobytes() for each in chained(found, arrays, tmp_path)] == [
            each.tobytes() for each in run(data, arrays, tmp_path)[1]
        ], (seed, count)
        same += 1
    assert same > 30


def test_the_command_s_check_sees_such_outputs_too(tmp_path):
    sketch = Sketch()
    source, constant = sketch.input(SHAPE, FLOAT), sketch.constant(np.full(SHAPE, 7), FLOAT)
    path = tmp_path / "model.tflite"
    path.write_bytes(sketch.data(source, relu(sketch, add(sketch, source, constant)), constant))
    assert segment_file(path, 2, tmp_path / "out").checked == 3 * 64
