"""The pieces of a model run as a chain: the same bits, each piece through its own delegate, all at once in a stream."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from converters.artifact.chain_manifest import ChainManifest, Piece, read_manifest
from converters.errors import ModelFileError
from edge.runtime import Chain, load, load_chain
from edge.runtime.errors import InferenceError, ModelInputError
from edge.workflows.splitting import segment_file

STUCK = """
import threading
from pathlib import Path
from converters.artifact.chain_manifest import ChainManifest, Piece
from edge.runtime.chain import Chain
from edge.runtime.errors import InferenceError

class Model:
    def run(self, *arrays):
        threading.Event().wait()
    def close(self):
        pass

try:
    with Chain(ChainManifest(("a",), ("a",), (Piece(Path("x"), "", ("a",), ("a",)),)), [Model()]) as chain:
        list(chain.stream([[1]], deadline_s=0.01))
except InferenceError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def cut(pairs, tmp_path_factory):
    """A model, and the manifest of its three pieces."""
    path = pairs / "mobilenet_v1_0.25_128_quant.tflite"
    return path, segment_file(path, 3, tmp_path_factory.mktemp("cut"), check=False).manifest


@pytest.fixture
def pictures():
    return [np.random.default_rng(seed).integers(0, 256, (1, 128, 128, 3), np.uint8) for seed in range(7)]


def test_a_chain_gives_what_the_model_gives_one_by_one_and_as_a_stream(cut, pictures):
    path, manifest = cut
    with load(path) as whole, load_chain(manifest) as chain:
        assert isinstance(chain, Chain)
        right = [whole.run(picture)[0].tobytes() for picture in pictures]
        assert [chain.run(picture)[0].tobytes() for picture in pictures] == right
        assert [outputs[0].tobytes() for outputs in chain.stream([each] for each in pictures)] == right
        assert list(chain.stream([])) == []


def test_several_inputs_and_outputs_keep_their_order(pairs, tmp_path):
    path = pairs / "split_concat.tflite"
    manifest = segment_file(path, 3, tmp_path, check=False).manifest
    with load(path) as whole, load_chain(manifest) as chain:
        arrays = [np.random.default_rng(3).integers(0, 256, each.shape, np.uint8) for each in whole.inputs]
        assert [each.tobytes() for each in chain.run(*arrays)] == [each.tobytes() for each in whole.run(*arrays)]


def test_each_piece_has_its_own_delegate(cut, pictures, stand_in):
    delegates = [[f"{stand_in};claim=all;fill=20;device=usb:{index}"] for index in range(3)]
    with load_chain(cut[1], delegates=delegates) as chain:
        seen = [model.run(*(np.zeros(each.shape, each.dtype) for each in model.inputs)) for model in chain.models]
        assert [int(outputs[0].max()) for outputs in seen] == [20, 21, 22]
        assert (chain.run(pictures[0])[0] == 22).all()


def test_a_stream_reads_no_further_ahead_than_there_are_pieces(cut, pictures):
    read = itertools.count()
    with load_chain(cut[1]) as chain:
        stream = chain.stream([pictures[0]] for _ in iter(lambda: next(read), 1000))
        for _ in range(5):
            next(stream)
        stream.close()
    assert next(read) <= 5 + 3 + 1


def test_what_fails_in_a_piece_comes_out_and_ends_the_stream(cut, pictures, stand_in):
    with load_chain(cut[1], delegates=[[], [f"{stand_in};claim=all;fail=invoke"], []]) as chain:
        with pytest.raises(InferenceError, match="told to fail"):
            chain.run(pictures[0])
        with pytest.raises(InferenceError, match="told to fail"):
            list(chain.stream([each] for each in pictures))


def test_a_piece_that_is_late_is_an_error_and_the_chain_of_no_more_use(cut, pictures, stand_in):
    slow = [[f"{stand_in};claim=all;first=100000000"], [], []]
    with load_chain(cut[1], delegates=slow) as chain:
        with pytest.raises(InferenceError, match=r"not done within 0\.001 s"):
            list(chain.stream([[pictures[0]]], deadline_s=0.001))
        for use in (lambda: chain.run(pictures[0]), lambda: list(chain.stream([[pictures[0]]]))):
            with pytest.raises(InferenceError, match="may still be running"):
                use()


def test_a_piece_that_never_ends_does_not_hold_up_the_end_of_the_process():
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=20, check=True)
    assert "not done within 0.01 s" in ended.stdout


class Gated:
    """A piece that does so many inferences; the next takes until `gate` is open. It knows whether it was spoilt."""

    def __init__(self, free: int):
        self.free, self.at_work, self.closed, self.spoilt = free, False, False, False
        self.gate, self.started = threading.Event(), threading.Event()

    def run(self, *arrays):
        self.at_work, self.free = True, self.free - 1
        if self.free < 0:
            self.started.set()
            self.gate.wait(20)
        self.at_work = False
        return arrays

    def close(self):
        self.closed = True
        self.spoilt |= self.at_work


def gated_chain(*models):
    pieces = tuple(Piece(Path(f"{index}"), "", ("a",), ("a",)) for index in range(len(models)))
    return Chain(ChainManifest(("a",), ("a",), pieces), models)


def test_a_piece_still_at_work_is_not_closed_under_it():
    quick, slow = Gated(free=9), Gated(free=0)

    def inputs():
        yield [1]
        assert slow.started.wait(20)

    with gated_chain(quick, slow) as chain, pytest.raises(InferenceError, match="not done within"):
        list(chain.stream(inputs(), deadline_s=0.01))
    assert (quick.closed, slow.closed) == (True, False)
    slow.gate.set()


def test_leaving_a_chain_waits_for_a_stream_that_is_not_at_its_end():
    quick, slow = Gated(free=9), Gated(free=1)
    with gated_chain(quick, slow) as chain:
        stream = chain.stream([[number] for number in range(9)])
        assert next(stream) == (0,)
        assert slow.started.wait(20)
        threading.Timer(0.05, slow.gate.set).start()
    assert (slow.closed, slow.spoilt) == (True, False)
    for use in (lambda: next(stream), lambda: chain.run(1), lambda: list(chain.stream([[1]]))):
        with pytest.raises(InferenceError, match="the chain is closed"):
            use()


def test_a_stream_leaves_no_thread_behind(cut, pictures):
    before = set(threading.enumerate())
    with load_chain(cut[1]) as chain:
        next(chain.stream([each] for each in pictures))
        list(chain.stream([each] for each in pictures))
        assert set(threading.enumerate()) <= before


def test_wrong_numbers_of_arrays_and_delegates(cut, pictures):
    with pytest.raises(ModelInputError, match="for 1 pieces, there are 3"):
        load_chain(cut[1], delegates=[["edgetpu"]])
    with load_chain(cut[1]) as chain:
        with pytest.raises(ModelInputError, match=r"has 1 inputs \(input\), got 2"):
            chain.run(pictures[0], pictures[1])
        with pytest.raises(ModelInputError, match="got 0"):
            list(chain.stream([[]]))


def changed(cut, folder, change):
    for file in cut[1].parent.iterdir():
        shutil.copy(file, folder)
    manifest = folder / cut[1].name
    value = json.loads(manifest.read_text())
    change(value)
    manifest.write_text(json.dumps(value))
    return manifest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.update(schema="other/1"), "its schema is 'other/1'"),
        (lambda value: value.pop("segments"), "lacks 'segments'"),
        (lambda value: value.update(segments=[]), "no piece writes"),
        (lambda value: value.update(segments=3), "not iterable"),
        (lambda value: value["segments"].reverse(), "which no piece before it writes"),
        (lambda value: value.update(outputs=["other"]), "no piece writes its outputs"),
        (lambda value: value["segments"][0].update(file="../x.tflite"), "is not a file alongside it"),
    ],
)
def test_a_manifest_that_is_none(cut, tmp_path, change, words):
    with pytest.raises(ModelFileError, match=words):
        read_manifest(changed(cut, tmp_path, change))


def test_a_piece_that_is_another(cut, tmp_path):
    manifest = changed(cut, tmp_path, lambda value: value["segments"][1].update(sha256="0" * 64))
    with pytest.raises(ModelFileError, match="is not the piece that the manifest names"):
        load_chain(manifest)


def test_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(ModelFileError, match="no manifest of segments"):
        read_manifest(tmp_path / "none.json")
