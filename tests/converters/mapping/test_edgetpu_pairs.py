"""The forecast against what Google's compiler made of real files: the operators that it left on the CPU, exactly."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from converters.edgetpu import describe_compiled, predict_mapping
from converters.tflite.reader import read_model

CONVOLUTIONAL = (
    "bodypix_mobilenet_v1_075_512_512_16_quant_decoder",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_0.5_160_quant",
)
PAIRS = (*CONVOLUTIONAL, "keras_lstm_mnist_ptq", "split_concat")


@pytest.fixture(scope="module")
def pair(shared_data):
    def read(name):
        folder = shared_data / "edgetpu_pairs"
        return read_model(folder / f"{name}.tflite"), read_model(folder / f"{name}_edgetpu.tflite")

    return read


@pytest.mark.parametrize("name", PAIRS)
def test_exactly_the_operators_that_stayed_on_the_cpu_are_named(pair, name):
    model, compiled = pair(name)
    found = predict_mapping(model)
    left = [(op.name, written(compiled, op)) for op in compiled.main.operators if op.name != "edgetpu-custom-op"]
    told = [(each.op, written(model, model.main.operators[each.index])) for each in found.on_cpu]
    assert told == left
    assert all(each.reason for each in found.on_cpu)
    assert not found.failures


def written(model, operator):
    """What identifies an operator in both files: the names and shapes of what it writes."""
    return [(model.main.tensors[index].name, model.main.tensors[index].shape) for index in operator.outputs]


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_parameters_are_estimated_within_a_tenth_of_what_the_compiler_stored(pair, name):
    model, compiled = pair(name)
    report = describe_compiled(compiled)
    estimate = predict_mapping(model).parameters
    assert estimate.estimated_bytes == pytest.approx(report.cached_bytes + report.streamed_bytes, rel=0.11)
    assert (estimate.fits, estimate.streamed_bytes) == (True, report.streamed_bytes)


def test_the_piece_that_is_mapped_has_the_outputs_that_the_compiled_file_has(pair):
    model, compiled = pair("deeplabv3_mnv2_dm05_pascal_quant")
    mapped = {each.index for each in predict_mapping(model).operators if each.runs_on == "edgetpu"}
    inside = {tensor for index in mapped for tensor in model.main.operators[index].outputs}
    outside = [op for op in model.main.operators if op.index not in mapped]
    crossing = {model.main.tensors[tensor].shape for op in outside for tensor in op.inputs if tensor in inside}
    ends = compiled.main.operators[0].outputs
    assert crossing == {compiled.main.tensors[index].shape for index in ends}


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0_224_quant", "tf2_mobilenet_v2_1.0_224_ptq"])
def test_published_mobilenets_are_mapped_whole(shared_data, name):
    found = predict_mapping(read_model(shared_data / "models" / f"{name}.tflite"))
    assert found.fully_mapped
    assert found.parameters.fits


@pytest.mark.parametrize(("name", "version"), [("keras_lstm_mnist_ptq", 12), ("split_concat", 13)])
def test_a_compiled_file_tells_what_it_needs(pair, name, version):
    model, compiled = pair(name)
    assert describe_compiled(model) is None
    report = describe_compiled(compiled)
    assert report.min_runtime_version == version
    assert report.problem is None
    assert report.on_cpu == ()
    programs = {program.kind: program for program in report.packages[0].programs}
    assert set(programs) == {"execution-only", "parameter-caching"}
    assert {program.chip for program in programs.values()} == {"beagle"}
    inputs = [compiled.main.tensors[index] for index in compiled.main.operators[0].inputs]
    assert len(programs["execution-only"].inputs) == len(inputs)
    assert programs["execution-only"].instructions_bytes > programs["execution-only"].parameters_bytes
    assert report.compiler == (None if version == 12 else "change 343520747")


def test_the_forecast_of_a_compiled_file_is_the_file(pair):
    _, compiled = pair("deeplabv3_mnv2_dm05_pascal_quant")
    found = predict_mapping(compiled)
    assert found.compiled
    assert [each.runs_on for each in found.operators] == ["edgetpu"] + ["cpu"] * 8
    assert not found.advice


@pytest.mark.parametrize("damage", ["truncated", "no identifier", "wild offset", "too long", "random"])
def test_a_damaged_package_is_told_not_raised(pair, damage):
    import dataclasses
    import random

    _, compiled = pair("split_concat")
    options = bytearray(compiled.main.operators[0].custom_options)
    at = options.index(b"DWN1")
    if damage == "truncated":
        del options[len(options) // 2 :]
    elif damage == "no identifier":
        options[at : at + 4] = b"NONE"
    elif damage == "too long":
        # Wherever the bytes say 53248, the length of the programs within: one more than there can be.
        options = bytearray(bytes(options).replace((53248).to_bytes(4, "little"), (60000).to_bytes(4, "little")))
    elif damage == "wild offset":
        options[at - 4 : at] = b"\xff\xff\xff\x7f"
    else:
        options = bytearray(random.Random(3).randbytes(4096))
    operator = dataclasses.replace(compiled.main.operators[0], custom_options=memoryview(bytes(options)))
    graph = dataclasses.replace(compiled.main, operators=(operator,))
    report = describe_compiled(dataclasses.replace(compiled, subgraphs=(graph,)))
    assert "no package that can be read" in report.problem
    assert report.min_runtime_version is None


def test_inspect_judges_a_file_for_coral(shared_data):
    file = shared_data / "edgetpu_pairs/deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite"
    value = json.loads(inspect(file, "--target", "coral", "--json").stdout)
    assert value["edgetpu"] is None
    target = value["target"]
    assert (target["name"], target["sparse"], target["mapped"], target["of"]) == ("coral", None, 82, 84)
    left = [(each["index"], each["op"]) for each in target["operators"] if each["runs_on"] == "cpu"]
    assert left == [(82, "RESIZE_BILINEAR"), (83, "ARG_MAX")]
    assert target["parameters"]["estimated_bytes"] > 2e6
    shown = inspect(file, "--target", "coral").stdout
    assert "82 of 84 operators run on the Edge TPU" in shown
    assert "82 RESIZE_BILINEAR: enlarges 33x33x19 to 513x513x19" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_inspect_shows_what_a_compiled_file_needs(shared_data):
    file = shared_data / "edgetpu_pairs/bodypix_mobilenet_v1_075_512_512_16_quant_decoder_edgetpu.tflite"
    value = json.loads(inspect(file, "--json").stdout)["edgetpu"]
    assert (value["min_runtime_version"], value["cached_parameters_bytes"]) == (12, 1477888)
    assert value["on_cpu"] == [{"index": 1, "op": "PosenetDecoderOp"}]
    assert "left on the CPU: 1 PosenetDecoderOp" in inspect(file).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--target", "corl"), "did you mean coral"), (("--target", "coral", "--runtime", "x==1"), "does not go with")],
)
def test_inspect_answers_what_does_not_go_together(shared_data, words, told):
    done = inspect(shared_data / "edgetpu_pairs/split_concat.tflite", *words, check=False)
    assert done.returncode == 3
    assert told in done.stderr


def inspect(file, *words, check=True):
    command = [sys.executable, "-m", "edge", "inspect", str(file), *words]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)
