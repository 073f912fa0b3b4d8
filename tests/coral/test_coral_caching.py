"""Several models on one Edge TPU: who keeps its parameters on the chip. Against what compilers 15 and 16 logged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from converters.edgetpu.caching import LEAST_BYTES, MOST_BYTES, predict_caching, share_out
from converters.edgetpu.parameters import USABLE_BYTES
from converters.errors import ModelFileError
from converters.tflite.reader import read_model

MIB = 1 << 20


def edge(*args):
    return subprocess.run(
        [sys.executable, "-m", "edge", "coral", "cache", *map(str, args)], capture_output=True, text=True, check=False
    )


def test_the_first_takes_what_it_needs_and_the_second_what_is_left():
    """google-coral/edgetpu issue 518: 10.11 and 4.53 MiB gave 7.16 cached and 2.95 streamed, then 0 and 4.53."""
    found = share_out([("cnn", int(10.11 * MIB)), ("rnn", int(4.53 * MIB))])
    cnn, rnn = found.models
    assert (cnn.fits, rnn.fits, found.fits) == (False, False, False)
    assert cnn.cached_bytes == pytest.approx(7.16 * MIB, rel=0.05)
    assert cnn.streamed_bytes == pytest.approx(2.95 * MIB, rel=0.1)
    assert (rnn.cached_bytes, rnn.streamed_bytes) == (0, int(4.53 * MIB))
    assert found.left_bytes == 0
    assert (cnn.certain, rnn.certain) == (True, True)


def test_the_order_is_the_priority():
    sizes = [("a", 5 * MIB), ("b", 4 * MIB)]
    one, other = share_out(sizes), share_out(sizes[::-1])
    assert [each.streamed_bytes for each in one.models] == [0, 2 * MIB]
    assert [each.streamed_bytes for each in other.models] == [0, 2 * MIB]
    assert [each.name for each in other.models] == ["b", "a"]


def test_two_that_fit_stay_together():
    """google-coral/edgetpu issue 458: 2.27 and 2.00 MiB were both cached, nothing streamed."""
    found = share_out([("1", int(2.27 * MIB)), ("2", 2 * MIB)])
    assert found.fits
    assert all(each.certain for each in found.models)
    assert found.left_bytes == USABLE_BYTES - int(2.27 * MIB) - 2 * MIB


def test_near_the_limit_it_is_not_certain():
    assert LEAST_BYTES < USABLE_BYTES < MOST_BYTES
    (first, second) = share_out([("a", 4 * MIB), ("b", int(2.5 * MIB))]).models
    assert (first.certain, second.certain) == (True, False)
    assert not share_out([("a", int(7.5 * MIB))]).models[0].certain


def test_what_each_change_of_model_costs_when_compiled_apart():
    assert share_out([("a", 3 * MIB), ("b", 20 * MIB)]).apart_bytes == (3 * MIB, USABLE_BYTES)


@pytest.mark.parametrize(("size", "pieces"), [(0, 1), (USABLE_BYTES, 1), (USABLE_BYTES + 1, 2), (20 * MIB, 3)])
def test_on_how_many_edge_tpus_a_model_would_stay(size, pieces):
    assert share_out([("a", size)]).models[0].pieces == pieces


def test_nothing_to_share():
    found = share_out([])
    assert (found.models, found.fits, found.left_bytes) == ((), True, USABLE_BYTES)


def test_real_models_share_the_chip(shared_data):
    names = ("tf2_mobilenet_v2_1.0_224_ptq", "mobilenet_v2_1.0_224_quant")
    models = [(name, read_model(shared_data / "models" / f"{name}.tflite")) for name in names]
    found = predict_caching(models)
    for each in found.models:
        assert each.parameter_bytes == pytest.approx(3.6e6, rel=0.3)
        assert each.cached_bytes + each.streamed_bytes == each.parameter_bytes
    assert predict_caching(models * 3).models[-1].cached_bytes == 0


def test_a_compiled_file_and_one_that_maps_nothing_are_refused(pairs):
    floating = next((Path(__file__).parents[2] / "devices" / "solver" / "data").glob("*fp32.tflite"))
    with pytest.raises(ModelFileError, match="nothing of float would run on the Edge TPU") as caught:
        predict_caching([("float", read_model(floating))])
    assert "inspect float --target coral" in caught.value.hint
    name = "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    with pytest.raises(ModelFileError, match="has been compiled"):
        predict_caching([(name, read_model(pairs / name))])


def test_the_command(shared_data):
    model = shared_data / "models" / "mobilenet_v2_1.0_224_quant.tflite"
    ended = edge(model, model, model)
    assert ended.returncode == 0, ended.stderr
    assert "streamed each inference" in ended.stdout
    assert "not all fit" in ended.stdout
    assert f"  edgetpu_compiler {model} {model} {model}" in ended.stdout.splitlines()
    prose = ended.stdout.splitlines()[4:-1] + ended.stderr.splitlines()
    assert max(map(len, prose)) <= 80
    assert "an estimate" in ended.stderr
    ended = edge(model, "--json")
    said = json.loads(ended.stdout)
    assert (said["schema"], said["is_estimate"], said["fits"]) == ("edge-coral-cache/1", True, True)
    assert edge(shared_data / "none.tflite").returncode == 3
    assert edge(shared_data / "edgetpu_pairs" / "split_concat_edgetpu.tflite").returncode == 4
