"""External delegates: a real library, built here, is loaded, claims operators, refuses, and crashes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.runtime import coral, load, verify_file
from edge.runtime.coral import System, advice, check_device, least_runtime
from edge.runtime.coral_state import coral_state
from edge.runtime.delegates import Delegate, load_delegates, with_options
from edge.runtime.errors import CrashedError, DelegateError, InferenceError
from edge.workflows.inference import InferenceRequest, InferenceSession

COMPILED = (
    "mobilenet_v1_0.25_128_quant_edgetpu", "split_concat_edgetpu", "keras_lstm_mnist_ptq_edgetpu",
    "mobilenet_v1_0.5_160_quant_edgetpu", "deeplabv3_mnv2_dm05_pascal_quant_edgetpu",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant_edgetpu",
)  # fmt: skip


def inputs_of(model):
    return [np.zeros([max(1, size) for size in each.shape], each.dtype) for each in model.inputs]


def edge(*args, timeout=120):
    return subprocess.run(
        [sys.executable, "-m", "edge", *map(str, args)], capture_output=True, text=True, check=False, timeout=timeout
    )


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_model_runs_through_the_delegate(pairs, stand_in, name):
    with load(pairs / f"{name}.tflite", delegates=[f"{stand_in};fill=9"]) as model:
        outputs = model.run(*inputs_of(model))
        assert len(outputs) == len(model.outputs)
        if len(verify_file(pairs / f"{name}.tflite").custom) == 1 and "deeplab" not in name:
            assert all((output == 9).all() for output in outputs)


def test_the_cpu_does_what_the_delegate_left(pairs, stand_in):
    """All classes score alike, so that the tail's ARG_MAX answers the first; it ran on the CPU on filled tensors."""
    name = "deeplab_mobilenet_edgetpu_slim_cityscapes_quant_edgetpu.tflite"
    with load(pairs / name, delegates=[f"{stand_in};fill=3"]) as model:
        (classes,) = model.run(*inputs_of(model))
    assert classes.shape == (1, 513, 513)
    assert not classes.any()


def test_a_delegate_may_take_builtin_operators(pairs, stand_in):
    path = pairs / "mobilenet_v1_0.25_128_quant.tflite"
    with load(path, delegates=[Delegate(stand_in, {"claim": "all", "fill": "5"})]) as model:
        assert (model.run(*inputs_of(model))[0] == 5).all()
    with load(path, delegates=[stand_in]) as model, load(path) as plain:  # it claims nothing there
        np.testing.assert_array_equal(model.run(*inputs_of(model))[0], plain.run(*inputs_of(plain))[0])


def test_each_of_several_tpus_has_its_delegate(pairs, stand_in):
    path = pairs / "split_concat_edgetpu.tflite"
    (first,), (second,) = (with_options([Delegate(stand_in)], {"fill": "10"}, tpu=f"usb:{n}") for n in (0, 1))
    with load(path, delegates=[first]) as one, load(path, delegates=[second]) as other:
        assert {int(output.max()) for output in one.run(*inputs_of(one))} == {10}
        assert {int(output.max()) for output in other.run(*inputs_of(other))} == {11}


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_model_without_a_delegate_is_refused_before_any_runtime_sees_it(pairs, name, monkeypatch):
    def no_runtime(*args, **kwargs):
        raise AssertionError("a runtime was asked for")

    monkeypatch.setattr("edge.runtime.model.choose", no_runtime)
    with pytest.raises(DelegateError, match="edgetpu-custom-op runs only through the Edge TPU's delegate") as caught:
        load(pairs / f"{name}.tflite")
    assert caught.value.exit_code == 8
    assert caught.value.hint == advice(coral.here())


def test_the_command_refuses_it_and_runs_it_with_a_delegate(pairs, stand_in, tmp_path):
    model, array = pairs / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", tmp_path / "x.npy"
    np.save(array, np.zeros((1, 128, 128, 3), np.uint8))
    ended = edge("run", model, array)
    assert ended.returncode == 8
    assert "the file was not run" in ended.stderr
    assert "libedgetpu" in ended.stderr
    ended = edge("run", model, array, "--delegate", stand_in, "--delegate-option", "fill=4", "--tpu", "usb:2", "--json")
    assert ended.returncode == 0, ended.stderr
    (prediction,) = json.loads(ended.stdout)["predictions"]
    assert prediction["outputs"][0]["minimum"] == prediction["outputs"][0]["maximum"] == pytest.approx(6 / 256)


def test_profile_refuses_it_too(pairs):
    ended = edge("profile", pairs / "split_concat_edgetpu.tflite", "--quick")
    assert ended.returncode == 8
    assert "the file was not run" in ended.stderr


@pytest.mark.parametrize(
    ("definitions", "name", "words"),
    [
        (("WITHOUT_DESTROY",), "without", "lacks the entry point tflite_plugin_destroy_delegate"),
        (("RUNTIME=11",), "old", "needs Edge TPU runtime 12 or newer, the delegate's library has 11"),
    ],
)
def test_a_library_of_another_version_is_refused(pairs, build_delegate, definitions, name, words):
    library = build_delegate(*definitions, name=name)
    with pytest.raises(DelegateError, match=words):
        load(pairs / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", delegates=[str(library)])


def test_a_library_that_is_new_enough_is_taken(pairs, build_delegate):
    library = build_delegate("RUNTIME=12", name="new")
    load(pairs / "mobilenet_v1_0.25_128_quant_edgetpu.tflite", delegates=[str(library)]).close()


def test_a_library_with_another_layout_ends_its_process_as_a_message(pairs, build_delegate):
    library = build_delegate("OTHER_ABI", name="other_abi")
    model = pairs / "split_concat_edgetpu.tflite"
    request = InferenceRequest(model=model, sources=(), delegates=(Delegate(str(library)),))
    with InferenceSession() as session:
        with pytest.raises(CrashedError, match=r"died with SIG\w+ .*with the delegate .*libother_abi") as caught:
            session.infer(request, [inputs_of(verify_file(model))])
        assert "same TensorFlow version" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ("refuse=no device is attached", DelegateError, "no device is attached"),
        ("unknown=1", DelegateError, "no option of that name"),
        ("fail=prepare", InferenceError, "cannot prepare"),
        ("fail=invoke", InferenceError, "told to fail"),
        ("fail=crash", CrashedError, "died with SIGSEGV"),
    ],
)
def test_each_way_to_fail_says_why(pairs, stand_in, options, error, words):
    model = pairs / "split_concat_edgetpu.tflite"
    request = InferenceRequest(model=model, sources=(), delegates=(Delegate.parse(f"{stand_in};{options}"),))
    with InferenceSession() as session, pytest.raises(error, match=words):
        session.infer(request, [inputs_of(verify_file(model))])


def test_what_is_no_library_or_for_another_processor(pairs, stand_in, tmp_path):
    text, foreign = tmp_path / "text.so", tmp_path / "foreign.so"
    text.write_text("no library")
    content = bytearray(Path(stand_in).read_bytes())
    content[4] = 1  # ELF of 32 bits
    foreign.write_bytes(content)
    for library in (text, foreign):
        with pytest.raises(DelegateError, match="cannot load the delegate") as caught:
            load(pairs / "split_concat_edgetpu.tflite", delegates=[str(library)])
        assert "another processor" in caught.value.hint


def test_the_edge_tpu_s_library_is_advised_by_system():
    with pytest.raises(DelegateError) as caught:
        load_delegates("ai-edge-litert", ["edgetpu"])
    assert caught.value.hint == advice(coral.here())


@pytest.mark.parametrize(
    ("usb", "words"),
    [
        ([], "no Edge TPU is attached"),
        ([{"is_open": False, "node": "/dev/bus/usb/001/002", "group": "plugdev"}], "may not be opened (group plugdev)"),
        ([{"is_open": None, "node": None, "group": None, "name": "1-1"}], "it has no driver"),
        ([{"is_open": True, "node": "/dev/bus/usb/001/002", "group": "plugdev"}], "is another process using it"),
    ],
)
def test_google_s_library_gives_no_reason_so_the_system_is_asked(build_delegate, monkeypatch, usb, words):
    library = build_delegate(name="edgetpu_stand_in")
    monkeypatch.setattr("edge.runtime.delegates.coral_state", lambda: {"usb": usb, "pci": [], "nodes": []})
    with pytest.raises(DelegateError, match="it gave no reason") as caught:
        load_delegates("ai-edge-litert", [Delegate(str(library), {"refuse": ""})])
    assert words in caught.value.hint


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (System("debian", "11", (3, 9), 64), ["bullseye", "2.5.0.post1"]),
        (System("debian", "12", (3, 11), 64), ["bookworm", "Python 3.11", "feranick/libedgetpu", "16.0tf2.17"]),
        (System("debian", "13", (3, 13), 64), ["trixie", "unconfirmed"]),
        (System("raspbian", "12", (3, 11), 32), ["32-bit", "no wheels"]),
        (System("ubuntu", "24.04", (3, 12), 64), ["ubuntu 24.04", "nothing is known"]),
        (System(None, None, (3, 12), 64), ["this system"]),
    ],
)
def test_the_advice_names_the_system_and_what_is_known(system, words):
    assert all(word in advice(system) for word in words)


def test_the_system_is_read_from_os_release(tmp_path):
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="it\'s\n')
    assert (coral.here(release).id, coral.here(release).version) == ("debian", "12")
    assert coral.here(tmp_path / "none").id is None


@pytest.mark.parametrize("text", ["usb", "pci", "usb:0", "pci:12", ":1"])
def test_names_of_tpus(text):
    assert check_device(text) == text


@pytest.mark.parametrize("text", ["", "usb:", "usb:-1", "usb:100", "tpu", "pci:0;x=1", ":"])
def test_what_names_no_tpu(text):
    with pytest.raises(DelegateError, match="cannot read the TPU"):
        check_device(text)


@pytest.mark.parametrize(
    ("system", "library"), [("Linux", "libedgetpu.so.1"), ("Darwin", "libedgetpu.1.dylib"), ("Windows", "edgetpu.dll")]
)
def test_a_known_name_is_that_of_the_system_that_loads_the_library(monkeypatch, system, library):
    """`--tpu` is read on the host; the library is loaded by the agent on the board, whose system may be another."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    (travels,) = with_options([], {}, tpu="usb:0")
    monkeypatch.setattr("platform.system", lambda: system)
    arrived = Delegate.parse(json.loads(json.dumps(travels.to_json())))
    assert arrived.here() == Delegate(library, {"device": "usb:0"})
    assert arrived.is_edgetpu
    assert arrived.here().is_edgetpu
    with pytest.raises(DelegateError, match=f"cannot load the delegate {library};device=usb:0"):
        load_delegates("ai-edge-litert", [arrived])
    assert library in advice(coral.here(Path("/none"))) or system == "Linux"


def test_a_path_is_what_it_says_on_every_system(monkeypatch):
    for path, google in (("C:\\edgetpu\\other.dll", False), ("C:\\x\\edgetpu.dll", True), ("/edgetpu/x.so", False)):
        assert Delegate.parse(path).is_edgetpu is google
        assert Delegate.parse(path).here().library == path


def test_a_system_without_groups_says_that_no_edge_tpu_is_attached(monkeypatch, tmp_path):
    monkeypatch.delattr("os.getgroups")
    assert coral_state(tmp_path)["groups"] == []


def test_options_go_to_the_one_delegate():
    (edgetpu,) = with_options([], {}, tpu="usb:0")
    assert (edgetpu.library, edgetpu.options) == ("edgetpu", {"device": "usb:0"})
    assert with_options([Delegate("a.so", {"x": "1"})], {"y": "2"}) == (Delegate("a.so", {"x": "1", "y": "2"}),)
    for delegates in ((), (Delegate("a.so"), Delegate("b.so"))):
        with pytest.raises(DelegateError, match="for one delegate, there are"):
            with_options(delegates, {"y": "2"})


def test_the_least_runtime_is_read_from_the_compiled_operator(pairs):
    found = {path.stem: verify_file(path).edgetpu_runtime for path in sorted(pairs.glob("*.tflite"))}
    assert found["split_concat_edgetpu"] == 13
    assert found["mobilenet_v1_0.25_128_quant_edgetpu"] == 12
    assert all(value is None for name, value in found.items() if not name.endswith("_edgetpu"))


def test_damaged_options_state_no_runtime():
    rng = np.random.default_rng(0)
    assert least_runtime(struct.pack("<I4sHHi", 12, b"DWN1", 4, 4, 4) + 8 * b"7") is None  # its table has no field
    assert least_runtime(struct.pack("<I4sHHi", 12, b"DWN1", 6, 8, 4) + 8 * b"7") is not None
    assert least_runtime(b"") is None
    assert least_runtime(b"DWN1") is None
    for _ in range(500):
        data = rng.integers(0, 256, int(rng.integers(0, 40)), np.uint8).tobytes()
        least_runtime(data + b"DWN1" + data)
        least_runtime(rng.integers(0, 8, 4, np.uint8).tobytes() + b"DWN1" + data)
