"""The prediction of XNNPACK's sparse kernels, rule by rule, and how it is shown."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from click.testing import CliRunner
from sparse_zoo import ZOO

from converters.errors import SourceError
from converters.targets.analysis import analyse
from converters.targets.boards import TARGETS, target_named
from converters.targets.runtimes import RUNTIMES, find_sparse_rules
from converters.tflite.reader import read_model
from edge.cli.inspect import command
from edge.runtime import load
from edge.runtime.errors import InferenceError


@pytest.mark.parametrize("name", ZOO)
def test_each_rule_decides(name, model_of):
    entry, prediction = ZOO[name], analyse(model_of(name), "pi4").sparse
    assert (prediction.ran, prediction.of, prediction.corrupts) == (entry.ran, entry.of, entry.corrupts)
    assert prediction.engages is (entry.ran > 0)
    assert bool(prediction.reasons) == (entry.ran < entry.of or entry.corrupts)
    if entry.says:
        assert entry.says in str(prediction.reasons[0])


def test_stock_mobilenet_has_every_asymmetric_padding_named(model_of):
    reasons = analyse(model_of("stock-mobilenet"), "pi4").sparse.reasons
    assert [reason.kind for reason in reasons] == ["start", "operator"]
    assert "ZeroPadding2D(1)" in reasons[0].change
    model = model_of("stock-mobilenet")
    strided = [op.index for op in model.main.operators if op.options.strides == (2, 2)]
    assert sorted(index for reason in reasons for index in reason.operators) == strided
    assert len(strided) == 5


def test_an_integer_model_gets_two_reasons_and_no_more(model_of):
    precision, encoding = analyse(model_of("mobilenet-integer"), "pi4").sparse.reasons
    assert (precision.kind, encoding.kind) == ("precision", "encoding")
    assert "sparse-int8" in precision.change


def test_zeros_are_counted_for_the_whole_cluster(model_of):
    (cluster,) = analyse(model_of("zeros-two-thirds"), "pi5").sparse.clusters
    assert (cluster.parameters, cluster.zeros) == (1536, 1024)
    (reason,) = cluster.reasons
    assert "prune 1 more" in str(reason)


@pytest.mark.parametrize(
    ("runtime", "target", "engages", "says"),
    [
        ("ai-edge-litert==2.1.6", "pi4", True, None),
        ("ai-edge-litert==2.3.0", "zero2w", True, None),
        ("ai-edge-litert==1.4.0", "pi3", True, None),
        ("ai-edge-litert==1.3.0", "pi4", False, "never"),
        ("ai-edge-litert==1.3.0", "pi5", False, "never"),
        ("tflite-runtime==2.14.0", "pi4", False, "fp16 arithmetic"),
        ("tflite-runtime==2.14.0", "pi5", True, None),
        ("ai-edge-litert==2.1.6", "x86", False, "AVX"),
        ("tflite_runtime == 2.14.0", "x86", False, "AVX"),
        ("ai-edge-litert==9.0.0", "x86", False, "AVX"),
        ("ai-edge-litert==9.0.0", "pi4", None, "not measured"),
        ("ai-edge-litert==1.3.5", "pi4", None, "not measured"),
        ("tflite-runtime==2.13.0", "pi5", None, "not measured"),
        ("onnxruntime==1.22.1", "pi5", None, "not measured"),
        ("2.1.6", "pi5", None, "not measured"),
    ],
)
def test_runtime_and_processor_decide(runtime, target, engages, says, model_of):
    prediction = analyse(model_of("plain"), target, runtime).sparse
    assert prediction.engages is engages
    assert prediction.ran == {True: 2, False: 0, None: None}[engages]
    assert says in str(prediction.reasons[0]) if says else not prediction.reasons


def test_a_runtime_that_was_not_measured_runs_no_dense_weights_sparse(model_of):
    assert analyse(model_of("ordinary"), "pi4", "ai-edge-litert==9.0.0").sparse.engages is False


@pytest.mark.parametrize(
    ("name", "runtime", "engages"),
    [
        ("flatten-free-batch", "tflite-runtime==2.14.0", False),
        ("flatten-free-batch", "ai-edge-litert==2.3.0", None),
        ("plain-free-batch", "tflite-runtime==2.14.0", True),
        ("tanh", "tflite-runtime==2.14.0", True),
        ("tanh", "ai-edge-litert==2.3.0", None),
        ("computed-size", "ai-edge-litert==1.4.0", True),
        ("computed-size", "tflite-runtime==2.14.0", False),
        ("computed-size", "ai-edge-litert==2.3.0", None),
        ("bounded", "ai-edge-litert==2.0.3", False),
        ("bounded", "ai-edge-litert==2.3.0", None),
        ("added-to-itself", "tflite-runtime==2.14.0", True),
        ("added-to-itself", "ai-edge-litert==1.4.1", None),
        ("sum", "tflite-runtime==2.14.0", False),
        ("sum", "ai-edge-litert==2.3.0", None),
        ("dense-inside", "ai-edge-litert==2.3.0", None),
    ],
)
def test_what_differs_between_runtimes_is_not_guessed(name, runtime, engages, model_of):
    assert analyse(model_of(name), "pi5", runtime).sparse.engages is engages


def test_an_operator_that_an_older_runtime_keeps_out_of_clusters_cuts_them(model_of):
    prediction = analyse(model_of("tanh"), "pi5", "tflite-runtime==2.14.0").sparse
    assert (prediction.ran, prediction.corrupts) == (1, True)
    assert analyse(model_of("tanh"), "pi4", "tflite-runtime==2.14.0").sparse.corrupts is False


def test_a_file_that_litert_refuses_to_load_is_predicted_to_be_refused(zoo_files, model_of):
    runtime = f"ai-edge-litert=={version('ai-edge-litert')}"
    with pytest.raises(InferenceError, match="failed to delegate CONV_2D node #6"):
        load(zoo_files["dynamic-range"], runtime="ai-edge-litert")
    for target in ("x86", "pi4"):
        prediction = analyse(model_of("dynamic-range"), target, runtime).sparse
        assert (prediction.refused, prediction.engages) == (True, False)
        assert prediction.reasons[0].operators == (6,)
        assert "sparse-int8" in prediction.reasons[0].change
        assert "'failed to delegate CONV_2D node #6'" in prediction.reasons[0].text
    done = CliRunner().invoke(command, [str(zoo_files["dynamic-range"]), "--target", "pi4"])
    assert "the runtime will NOT LOAD this file" in done.output


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("dynamic-range", "tflite-runtime==2.14.0"),
        ("dynamic-range", "ai-edge-litert==9.0.0"),
        ("integer", "ai-edge-litert==2.1.6"),
        ("plain-int8-weights", "ai-edge-litert==2.1.6"),
    ],
)
def test_other_files_and_runtimes_are_not_predicted_to_refuse(name, runtime, model_of):
    assert analyse(model_of(name), "pi4", runtime).sparse.refused is False


def test_the_sparse_kernels_of_each_runtime_in_the_table_were_measured():
    assert [each.requirement for each in RUNTIMES if find_sparse_rules(each.requirement) is None] == []


def test_files_of_other_converters_are_analysed(shared_data):
    found = {path.name: analyse(read_model(path), "pi4").sparse for path in sorted(shared_data.rglob("*.tflite"))}
    assert len(found) > 10
    assert not [name for name, prediction in found.items() if prediction.engages is not False]
    assert not [name for name, prediction in found.items() if not prediction.reasons]


def test_operators_are_placed(model_of):
    model = model_of("plain")
    placed = analyse(model, "pi4").operators
    assert [each.op for each in placed] == [op.name for op in model.main.operators]
    assert {each.runs_on for each in placed} == {"cpu"}
    by_op = {each.op: each.reason for each in placed}
    assert by_op["PAD"].startswith("fused into operator")
    assert sum(each.reason == "sparse kernel" for each in placed) == 2
    assert by_op["SOFTMAX"] is None


def test_unknown_targets_are_answered_with_the_nearest():
    assert target_named("emulated-pi4") is TARGETS["pi4"]
    with pytest.raises(SourceError, match="no target is named 'pi55'") as caught:
        target_named("pi55")
    assert "pi5" in caught.value.hint


def test_the_json_has_the_documented_keys(zoo_files):
    done = CliRunner().invoke(command, [str(zoo_files["stem-same"]), "--target", "pi4", "--json"])
    target = json.loads(done.stdout)["target"]
    assert target["name"] == "pi4"
    assert set(target["operators"][0]) == {"index", "op", "runs_on", "reason"}
    assert target["sparse"]["engages"] is False
    (cluster,) = target["sparse"]["clusters"]
    assert cluster["share"] == pytest.approx(cluster["zeros"] / cluster["parameters"])
    assert target["sparse"]["reasons"][0].startswith("operator 0 (CONV_2D)")


@pytest.mark.parametrize("name", ["plain", "stem-same", "depthwise-same", "mobilenet-integer", "stock-mobilenet"])
def test_the_text_fits_80_columns(name, zoo_files):
    done = CliRunner().invoke(command, [str(zoo_files[name]), "--target", "pi4"])
    assert done.exit_code == 0
    assert f"of {ZOO[name].of} 1x1 convolutions will run sparse" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_runtime_needs_a_target(zoo_files):
    done = CliRunner().invoke(command, [str(zoo_files["plain"]), "--runtime", "ai-edge-litert==2.1.6"])
    assert "without --target" in str(done.exception)
