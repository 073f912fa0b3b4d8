"""Predicted against observed sparse kernels: the verdict's text, and when it is an alarm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import devices.solver
from edge.measure.findings import PredictedKernels
from edge.measure.measured_model import describe_model
from edge.measure.measurement import (
    DeviceRef,
    Instructions,
    KernelInstructions,
    Measurement,
    RuntimeRef,
    SparseKernelCount,
)
from edge.measure.measurement_files import measurement_from_json
from edge.measure.sparse_verdict import add_verdict, find_alarms, find_target, predict, sparse_alarm, verdict_on
from edge.report.terminal.measurement_lines import summary

TINY = Path(devices.solver.__file__).with_name("data") / "check-int8.tflite"
ALL = PredictedKernels("pi4", "ai-edge-litert==2.1.6", 34, 34, False, ())
NONE = PredictedKernels("pi4", "ai-edge-litert==2.1.6", 0, 34, False, ("operator 0 (CONV_2D) pads (0,1): pad 1",))
SOME = PredictedKernels("pi4", "ai-edge-litert==2.1.6", 2, 34, False, ("an operator is dilated",))
OPEN = PredictedKernels("pi4", "ai-edge-litert==9.0", None, 34, False, ("ai-edge-litert==9.0 was not measured",))
WRONG = PredictedKernels(
    "pi4", "ai-edge-litert==2.1.6", 1, 3, True, ("the results would be WRONG, or the file refused",)
)


@pytest.fixture
def judged(sample_measurement):
    """Return the verdict on the sample, were this predicted and that observed."""

    def judge(predicted, *, names=None, spmm=None) -> Measurement:
        counted = None
        if spmm is not None:
            shares = {"spmm": spmm, "gemm": 1 - spmm}
            kernels = [KernelInstructions(name, name, 1e6 * share, share) for name, share in shares.items() if share]
            counted = Instructions(1e6, 0.0, 2, tuple(kernels))
        bare = dataclasses.replace(
            sample_measurement,
            sparse_kernels=names and SparseKernelCount(*names),
            instructions=counted,
            kernels_reason=None if names else "tflite-runtime 2.14.0 has no kernel profiler",
        )
        first = add_verdict(bare, describe_model(TINY))
        forged = dataclasses.replace(
            first, sparse_verdict=dataclasses.replace(first.sparse_verdict, predicted=predicted, agrees=None)
        )
        return dataclasses.replace(forged, sparse_verdict=verdict_on(forged))

    return judge


@pytest.mark.parametrize(
    ("predicted", "names", "spmm", "agrees", "text"),
    [
        (ALL, (34, 34), None, True, "sparse kernels ran: 34 of 34"),
        (NONE, (0, 34), None, True, "sparse kernels ran: none, because operator 0 (CONV_2D) pads (0,1): pad 1"),
        (SOME, (2, 34), None, True, "sparse kernels ran: 2 of 34; not all, because an operator is dilated"),
        (ALL, (0, 34), None, False, "sparse kernels ran: none, for an unknown reason; predicted: 34 of 34"),
        (ALL, (33, 34), None, False, "sparse kernels ran: 33 of 34; not all, for an unknown reason; predicted: "
         "34 of 34"),
        (NONE, (34, 34), None, False, "sparse kernels ran: 34 of 34; predicted: none, because operator 0 "
         "(CONV_2D) pads (0,1): pad 1"),
        (OPEN, (34, 34), None, None, "sparse kernels ran: 34 of 34"),
        (OPEN, (0, 34), None, None, "sparse kernels ran: none, for a reason that was not predicted "
         "(ai-edge-litert==9.0 was not measured)"),
        (ALL, None, 0.41, True, "sparse kernels ran: some (41% of the instructions); of how many convolutions is "
         "unknown here"),
        (NONE, None, 0.0, True, "sparse kernels ran: none, because operator 0 (CONV_2D) pads (0,1): pad 1"),
        (ALL, None, 0.0, False, "sparse kernels ran: none, for an unknown reason; predicted: 34 of 34"),
        (NONE, None, 0.41, False, "sparse kernels ran: some (41% of the instructions); of how many convolutions is "
         "unknown here; predicted: none, because operator 0 (CONV_2D) pads (0,1): pad 1"),
        (ALL, None, None, None, "sparse kernels: whether any ran is unknown (tflite-runtime 2.14.0 has no kernel "
         "profiler); predicted: 34 of 34"),
        (OPEN, None, None, None, "sparse kernels: whether any ran is unknown (tflite-runtime 2.14.0 has no kernel "
         "profiler); predicted: not known (ai-edge-litert==9.0 was not measured)"),
        (dataclasses.replace(NONE, of=0), None, None, None, "sparse kernels: none can run, because the model has no "
         "1x1 convolutions, all that sparse kernels run"),
        (NONE, (0, 0), None, True, "sparse kernels ran: none, because the model has no 1x1 convolutions, all that "
         "sparse kernels run"),
    ],
)  # fmt: skip
def test_the_verdict_in_words(judged, predicted, names, spmm, agrees, text):
    measurement = judged(predicted, names=names, spmm=spmm)
    verdict = measurement.sparse_verdict
    assert (verdict.agrees, verdict.text) == (agrees, text)
    assert verdict.proof == ("kernel names" if names else None if spmm is None else "instructions")
    assert verdict.any_ran is (None if verdict.proof is None else bool(spmm or (names or (0,))[0]))
    assert (sparse_alarm(measurement) is not None) is (agrees is False)
    lines = summary(measurement, alarmed=lambda line: f"<{line}>").splitlines()
    assert "".join(text.split()) in "".join("".join(line.strip("<>").split()) for line in lines)
    assert any(line.startswith("<") for line in lines) is (agrees is False)
    assert max(len(line.strip("<>")) for line in lines) <= 80


def test_results_that_will_be_wrong_are_an_alarm_though_the_prediction_holds(judged):
    measurement = judged(WRONG, names=(1, 3))
    assert measurement.sparse_verdict.agrees is True
    assert "the results would be WRONG" in sparse_alarm(measurement)
    (alarm,) = find_alarms([measurement, judged(ALL, names=(34, 34))])
    assert alarm.startswith("mobilenet_v1_0.25_128_quant on local: ")


@pytest.mark.parametrize(
    "path", [("sparse_kernels", "ran"), ("sparse_verdict", "predicted", "ran"), ("sparse_verdict", "agrees")]
)
def test_a_file_that_was_altered_is_an_alarm_wherever(path, judged):
    document = judged(ALL, names=(34, 34)).to_json()
    assert sparse_alarm(measurement_from_json(document)) is None
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = False if path[-1] == "agrees" else 7
    assert "DISAGREE" in sparse_alarm(measurement_from_json(document))


def test_the_json_comes_back_and_old_files_still_load(judged):
    document = json.loads(json.dumps(judged(ALL, names=(34, 34)).to_json()))
    assert document["sparse_verdict"]["predicted"]["ran"] == 34
    assert document["sparse_verdict"]["agrees"] is True
    assert measurement_from_json(document).to_json() == document
    del document["sparse_verdict"]
    old = measurement_from_json(document)
    assert (old.sparse_verdict, verdict_on(old), sparse_alarm(old)) == (None, None, None)
    assert "sparse kernels ran: 34 of 34; nothing was predicted" in summary(old)


def device(name="board", *, machine="aarch64", features=("asimd",), board=None, bits=64) -> DeviceRef:
    cpu = {"architecture": machine, "model": "cortex-a72", "features": list(features)}
    return DeviceRef(name, {"board": board, "cpu": cpu, "python": {"bits": bits}})


@pytest.mark.parametrize(
    ("given", "name", "features"),
    [
        (DeviceRef("emulated-pi4", {}), "pi4", {"asimd"}),
        (DeviceRef("emulated-zero2w", {}), "zero2w", {"asimd"}),
        (DeviceRef("emulated-nothing", {}), None, None),
        (device(board="Raspberry Pi 4 Model B Rev 1.5"), "pi4", {"asimd"}),
        (device(board="Raspberry Pi 5 Model B Rev 1.0", features=("asimd", "fphp")), "pi5", {"asimd", "fphp"}),
        # What the board says of itself counts, not what one of its name usually is.
        (device(board="Raspberry Pi 5 Model B Rev 1.0"), "pi5", {"asimd"}),
        (device(board="Rock 5B", features=("asimd", "fphp")), "Rock 5B", {"asimd", "fphp"}),
        (device(board="Raspberry Pi 4 Model B", bits=32), None, None),
        (device(machine="armv7l", features=("neon",)), None, None),
        (device("local", machine="x86_64", features=("avx", "avx2")), "x86", {"avx"}),
        (device("local", machine="x86_64", features=("sse4_1",)), None, None),
        (DeviceRef("local", {}), None, None),
        (DeviceRef("local", {"cpu": 5, "python": []}), None, None),
    ],
)
def test_a_device_becomes_a_target_by_its_own_facts(given, name, features):
    target = find_target(given)
    assert (target and target.name) == name
    assert (target and set(target.features)) == features


def test_what_cannot_be_analysed_is_unknown_with_the_reason(tmp_path):
    runtime = RuntimeRef("ai-edge-litert", "2.1.6")
    unmeasured = predict(describe_model(TINY), device(machine="armv7l"), runtime)
    assert (unmeasured.ran, unmeasured.target) == (None, None)
    assert unmeasured.reasons == ("sparse kernels were not measured on cortex-a72 armv7l",)
    (tmp_path / "damaged.tflite").write_bytes(TINY.read_bytes()[:500])
    damaged = predict(describe_model(tmp_path / "damaged.tflite"), device(), runtime)
    assert damaged.ran is None
    assert damaged.reasons[0].startswith("the file could not be analysed")
    assert predict(describe_model(TINY), device(), RuntimeRef("ai-edge-litert", "9.0")).ran == 0, (
        "int8 runs sparse nowhere"
    )
    assert predict(describe_model(TINY), device(), runtime).reasons


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path):
    name, hostile = b"serving_default_keras_tensor:0", b"\x1b[2Jgone\x07\nnew line"
    (tmp_path / "hostile.tflite").write_bytes(TINY.read_bytes().replace(name, hostile.ljust(len(name), b"!")))
    reason, *_ = predict(
        describe_model(tmp_path / "hostile.tflite"), device(), RuntimeRef("ai-edge-litert", "2.1.6")
    ).reasons
    assert reason.isprintable()
    assert "gone" in reason
