"""The kernel profile: real models, real kernels, and a reason where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from edge.runtime import kernels, litert_c
from edge.runtime.kernels import KernelProfile, SparseKernels, Unavailable, profile_kernels, sparse_kernels
from edge.runtime.litert_c import Event


def profiled(path, **options) -> KernelProfile:
    found = profile_kernels(path, **options)
    assert isinstance(found, KernelProfile), found
    return found


@pytest.fixture(scope="module")
def float_models(tmp_path_factory) -> Path:
    """A folder with MobileNet (alpha 0.25, 96 x 96) and a small model of any batch, fp32, converted elsewhere."""
    folder = tmp_path_factory.mktemp("kernels")
    code = (
        "import sys, keras, tensorflow as tf\n"
        "def save(model, name):\n"
        "    data = tf.lite.TFLiteConverter.from_keras_model(model).convert()\n"
        "    open(f'{sys.argv[1]}/{name}.tflite', 'wb').write(data)\n"
        "one = keras.Input(batch_shape=(1, 96, 96, 3))\n"
        "save(keras.applications.MobileNet(alpha=0.25, input_tensor=one, weights=None, classes=10), 'mobilenet')\n"
        "save(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3)]), 'dynamic')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, timeout=300)
    return folder


def assert_plausible(profile: KernelProfile) -> None:
    """Check what holds for every profile."""
    assert [each.index for each in profile.operators] == list(range(len(profile.operators)))
    assert sum(each.calls for each in profile.kernels) == len(profile.operators)
    assert {each.name for each in profile.kernels} == {each.kernel for each in profile.operators}
    assert [each.time_us for each in profile.kernels] == sorted(
        (each.time_us for each in profile.kernels), reverse=True
    )
    assert 0 < sum(each.time_us for each in profile.operators) <= 1.05 * profile.invoke_us + len(profile.operators)
    assert profile.invoke_us < 60e6
    assert json.loads(json.dumps(profile.to_json()))["available"] is True


def test_dynamic_shapes_have_a_reason(float_models):
    found = profile_kernels(float_models / "dynamic.tflite")
    assert isinstance(found, Unavailable)
    assert found.reason.endswith("input 0 of the model has the dynamic shape [-1, 4, 4, 3]")


def test_float_model_lists_its_kernels(float_models):
    profile = profiled(float_models / "mobilenet.tflite", runs=5)
    assert_plausible(profile)
    calls = {each.name: each.calls for each in profile.kernels}
    assert calls["Convolution (NHWC, F32) DWConv"] == 13
    # The 13 pointwise convolutions and the classifier; older versions run them as convolutions.
    assert sum(count for name, count in calls.items() if name.endswith("GEMM") and "F32" in name) >= 14
    assert all(
        each.runs_in == kernels.XNNPACK and each.node is None for each in profile.operators if "F32" in each.kernel
    )
    assert {each.op for each in profile.operators if "DWConv" in each.kernel} == {"Convolution"}
    assert (profile.runs, profile.threads) == (5, 1)
    assert sparse_kernels(profile, 13) == SparseKernels(ran=0, of=13)


@pytest.mark.parametrize(
    ("name", "kernel", "count"),
    [
        ("edgetpu_pairs/mobilenet_v1_0.25_128_quant.tflite", "Convolution (NHWC, QU8) DWConv", 13),
        ("models/tf2_mobilenet_v2_1.0_224_ptq.tflite", "Convolution (NHWC, QC8) DWConv", 17),
    ],
)
def test_quantized_models_list_their_kernels(shared_data, name, kernel, count):
    profile = profiled(shared_data / name, runs=3)
    assert_plausible(profile)
    assert {each.name: each.calls for each in profile.kernels}[kernel] == count
    builtin = [each for each in profile.operators if each.runs_in == kernels.BUILTIN]
    assert "SOFTMAX" in {each.op for each in builtin}
    assert all(each.node is not None and each.kernel == each.op for each in builtin)


def test_several_inputs_and_outputs(shared_data):
    profile = profiled(shared_data / "edgetpu_pairs" / "split_concat.tflite", runs=2)
    assert_plausible(profile)
    assert "SPLIT" in {each.name for each in profile.kernels}


def test_threads_reach_the_kernels(shared_data):
    code = (
        "import os, sys\nfrom edge.runtime import litert_c\n"
        "def started(threads):\n"
        "    before = len(os.listdir('/proc/self/task'))\n"
        "    with litert_c.open_session(sys.argv[1], threads=threads) as session:\n"
        "        session.run()\n"
        "        return len(os.listdir('/proc/self/task')) - before\n"
        "print(started(1), started(4))"
    )
    model = str(shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite")
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 3\n"


def test_every_handle_is_freed(shared_data, monkeypatch):
    model = str(shared_data / "edgetpu_pairs" / "split_concat.tflite")
    made, freed, real = [], [], litert_c._bind

    def counting(library):
        call = real(library)

        def counted(name, *arguments):
            if name.startswith("LiteRtCreate") and name != "LiteRtCreateOpaqueOptions":  # options own those
                made.append(name)
            if name.startswith("LiteRtDestroy"):
                freed.append(name)
            call(name, *arguments)

        return counted

    monkeypatch.setattr(litert_c, "_bind", counting)
    profiled(model, runs=1)
    assert len(made) == len(freed) == 4 + 3 + 5  # environment, options, model, compiled model; inputs; outputs
    assert freed[-1] == "LiteRtDestroyEnvironment"


def test_a_model_the_profiler_cannot_take_has_a_reason(shared_data):
    recurrent = profile_kernels(shared_data / "edgetpu_pairs" / "keras_lstm_mnist_ptq.tflite")
    assert isinstance(recurrent, Unavailable)
    assert recurrent.reason.startswith(
        "kernel profile not available on this runtime: LiteRtCreateModelFromFile answered"
    )
    assert recurrent.to_json() == {"available": False, "reason": recurrent.reason}


def test_an_operator_the_runtime_does_not_know_has_a_reason(shared_data):
    found = profile_kernels(shared_data / "edgetpu_pairs" / "split_concat_edgetpu.tflite")
    assert isinstance(found, Unavailable)
    assert "runtime failure" in found.reason


@pytest.mark.parametrize("version", ["2.1.5", "1.4.0", "2.4.0", "3.0.0.dev1"])
def test_versions_that_were_not_checked_are_refused(monkeypatch, tmp_path, shared_data, version):
    # The records of another version are found first; the version itself cannot be installed next to this one.
    records = tmp_path / f"ai_edge_litert-{version}.dist-info"
    records.mkdir()
    (records / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = profile_kernels(shared_data / "edgetpu_pairs" / "split_concat.tflite")
    assert isinstance(found, Unavailable)
    assert f"ai-edge-litert {version} is installed; checked are 2.1.6 up to, not including, 2.4.0" in found.reason


def test_a_library_without_a_symbol_is_refused(tmp_path, shared_data):
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    other = next(Path(sysconfig.get_config_var("DESTSHARED")).glob("_json*.so"))
    shutil.copy(other, package / "libLiteRt.so")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from edge.runtime.kernels import profile_kernels\n"
        "print(profile_kernels(sys.argv[1]).reason)"
    )
    model = str(shared_data / "edgetpu_pairs" / "split_concat.tflite")
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith(f"libLiteRt.so lacks {', '.join(litert_c.SYMBOLS)}\n")


INVOKE = Event("Invoke", 1, 100, 0)
SENTINEL = Event("Invoke", 32, 1 << 32, 0)
SPMM = Event("Convolution (NCHW, F32) SPMM", 8, 20, 0)


def test_sparse_kernels_are_counted_and_markers_are_no_times():
    dense = Event("Convolution (NCHW, F32) DWConv", 8, 10, 1)
    profile = kernels._profile("2.3.0", 1, [[INVOKE, SPMM, dense, SPMM, Event("X", 8, 1 << 32, 2), SENTINEL]] * 3)
    assert sparse_kernels(profile, 5) == SparseKernels(ran=2, of=5)
    assert profile.invoke_us == 100
    assert [(each.name, each.calls, each.time_us) for each in profile.kernels] == [
        ("Convolution (NCHW, F32) SPMM", 2, 40),
        ("Convolution (NCHW, F32) DWConv", 1, 10),
    ]


def test_a_delegate_counts_only_where_it_does_not_state_its_operators():
    whole = Event("TfLiteXNNPackDelegate", 2, 90, 7)
    inside = kernels._profile("2.3.0", 1, [[INVOKE, whole, SPMM]])
    assert [each.kernel for each in inside.operators] == ["Convolution (NCHW, F32) SPMM"]
    alone = kernels._profile("2.3.0", 1, [[INVOKE, whole]])
    assert [(each.runs_in, each.time_us) for each in alone.operators] == [("delegate", 90)]


def test_families_are_summed_within_a_run_before_the_median():
    runs = [[INVOKE, Event("A", 2, a, 0), Event("A", 2, b, 1)] for a, b in ((1, 30), (30, 1), (10, 10))]
    profile = kernels._profile("2.3.0", 1, runs)
    assert profile.kernels[0].time_us == 31
    assert [each.time_us for each in profile.operators] == [10, 10]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([[SPMM]], "did not time the inference"),
        ([[INVOKE, SENTINEL]], "no operators"),
        ([[INVOKE, SPMM], [INVOKE, SPMM, SPMM]], "differ from run to run"),
        ([[INVOKE, Event("A", 2, 1000, 0)]], "more than the inference"),
    ],
)
def test_events_that_make_no_sense_are_no_profile(runs, said):
    with pytest.raises(litert_c.UnavailableError, match=said):
        kernels._profile("2.3.0", 1, runs)
