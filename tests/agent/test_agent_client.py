"""The host's side: results, errors of the agent's classes, crashes with their signal, deadlines."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from converters.errors import ModelFileError
from devices.local import LocalDevice
from edge.agent import protocol
from edge.agent.client import AgentClient
from edge.agent.model import plausible_inputs
from edge.agent.protocol import decode_array, encode_array
from edge.runtime import load
from edge.runtime.errors import (
    AgentDeadlineError,
    CrashedError,
    InferenceError,
    ModelInputError,
    RuntimeFault,
    RuntimeMissingError,
)

DEADLINE_S = 60


class Opener:
    """Starts something in the agent's place and remembers the connection."""

    def __init__(self, *argv: str) -> None:
        self.argv = argv or LocalDevice().agent_argv()
        self.stream = None

    def __call__(self):
        self.stream = LocalDevice().open(self.argv)
        return self.stream

    def is_gone(self) -> bool:
        """Say whether the process has ended and was reaped."""
        try:
            os.kill(self.stream.pid, 0)
        except ProcessLookupError:
            return True
        return False


def speaking(*lines: bytes, then: str = "sys.stdin.read()"):
    """Return an opener of a process that says hello, then `lines`, then does something."""
    hello = protocol.encode_line({"id": 1, "ok": True, "result": {"protocol": protocol.PROTOCOL}})
    code = f"import os, sys\nsys.stdin.readline(); sys.stdout.buffer.write({hello!r}); sys.stdout.flush()\n"
    code += f"sys.stdin.readline(); sys.stdout.buffer.write({b''.join(lines)!r}); sys.stdout.flush()\n{then}"
    return Opener(sys.executable, "-c", code)


def test_many_runs_give_what_a_direct_run_gives(agent, small_model):
    model = load(small_model)
    inputs, seen = plausible_inputs(model), []
    result = agent.call(
        "infer", deadline_s=DEADLINE_S, on_progress=lambda event: seen.append((event["done"], event["of"])),
        model=small_model, threads=1, inputs=[[encode_array(each) for each in inputs]] * 3,
    )  # fmt: skip
    direct = model.run(*inputs)[0]
    assert [decode_array(run[0]).tolist() for run in result["outputs"]] == [direct.tolist()] * 3
    assert result["runtime"] == {"name": model.runtime.name, "version": model.runtime.version}
    assert result["peak_rss_bytes"] > 10 << 20
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_loaded_model_is_kept_until_it_or_its_file_changes(agent, small_model, shared_data, tmp_path):
    copy = tmp_path / "model.tflite"
    copy.write_bytes(Path(small_model).read_bytes())
    pictures = {size: [[encode_array(plausible_inputs(load(path))[0])]] for size, path in _models(shared_data).items()}
    call = {"deadline_s": DEADLINE_S, "model": str(copy)}
    assert agent.call("infer", inputs=pictures[128], **call)["outputs"]
    copy.write_bytes(_models(shared_data)[160].read_bytes())
    with pytest.raises(ModelInputError, match="160"):
        agent.call("infer", inputs=pictures[128], **call)
    assert agent.call("infer", inputs=pictures[160], **call)["outputs"]


def _models(shared_data):
    folder = shared_data / "edgetpu_pairs"
    return {128: folder / "mobilenet_v1_0.25_128_quant.tflite", 160: folder / "mobilenet_v1_0.5_160_quant.tflite"}


def test_errors_come_back_as_their_classes_and_the_agent_lives_on(agent, small_model, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(Path(small_model).read_bytes()[:4096])
    call = {"deadline_s": DEADLINE_S, "inputs": [[]]}
    with pytest.raises(ModelFileError):
        agent.call("infer", model=str(damaged), **call)
    with pytest.raises(ModelInputError):
        agent.call("infer", model=small_model, **call)
    with pytest.raises(RuntimeMissingError, match="no-such-runtime"):
        agent.call("infer", model=small_model, runtime="no-such-runtime", **call)
    with pytest.raises(RuntimeFault, match="knows no job 'dance'") as caught:
        agent.call("dance", deadline_s=DEADLINE_S)
    assert "latency" in caught.value.hint
    assert agent.call("hello", deadline_s=DEADLINE_S)["protocol"] == protocol.PROTOCOL


def test_a_model_the_runtime_refuses_is_an_inference_error(agent, shared_data):
    model = shared_data / "edgetpu_pairs" / "bodypix_mobilenet_v1_075_512_512_16_quant_decoder.tflite"
    with pytest.raises(InferenceError):
        agent.call("latency", deadline_s=DEADLINE_S, model=str(model))


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_in_a_job_names_the_signal(small_model, name):
    opener = Opener()
    with AgentClient.start(opener) as agent:
        with pytest.raises(CrashedError, match=f"{name}.* during the job 'latency'") as caught:
            agent.call(
                "latency",
                deadline_s=DEADLINE_S,
                on_progress=lambda _: os.kill(opener.stream.pid, signal.Signals[name]),
                model=small_model,
                windows=1,
                window_s=600,
            )
        if name == "SIGSEGV":  # where it died, from the agent's standard error
            assert "Fatal Python error: Segmentation fault" in caught.value.hint
            assert "latency.py" in caught.value.hint
        assert opener.is_gone()
        with pytest.raises(RuntimeFault, match="not running"):
            agent.call("hello", deadline_s=DEADLINE_S)


def test_a_missed_deadline_ends_the_agent(small_model):
    opener = Opener()
    with AgentClient.start(opener) as agent:
        with pytest.raises(AgentDeadlineError, match=r"did not answer 'latency' within 0.3 s") as caught:
            agent.call("latency", deadline_s=0.3, model=small_model, windows=1, window_s=600)
        assert isinstance(caught.value, TimeoutError)
        assert opener.is_gone()


def test_leaving_the_context_ends_and_reaps_the_agent():
    opener = Opener()
    with pytest.raises(KeyboardInterrupt), AgentClient.start(opener):
        raise KeyboardInterrupt
    assert opener.is_gone()


def test_an_end_before_the_first_answer_carries_the_last_words():
    opener = Opener(sys.executable, "-c", "import sys; sys.exit('no module named numpy')")
    with pytest.raises(CrashedError, match="ended with status 1 during the job 'hello'") as caught:
        AgentClient.start(opener).__enter__()
    assert "no module named numpy" in caught.value.hint
    assert opener.is_gone()


def test_another_protocol_is_refused():
    line = protocol.encode_line({"id": 1, "ok": True, "result": {"protocol": 99}})
    opener = Opener(sys.executable, "-c", f"import sys; sys.stdout.buffer.write({line!r}); sys.stdout.flush(); input()")
    with pytest.raises(RuntimeFault, match="speaks protocol 99"):
        AgentClient.start(opener).__enter__()
    assert opener.is_gone()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([b"garbage\n"], "no JSON: b'garbage"),
        ([b'{"id": 1, "ok": true, "result": {}}\n'], "answered request 1, asked was 2"),
        ([b'{"id": 2}\n'], "None"),
        ([b'{"id": 2, "event": "progress"}\n', b'{"id": 2, "ok": false, "error": "what"}\n'], "what"),
    ],
)
def test_answers_that_make_no_sense_are_errors(lines, said):
    with AgentClient.start(speaking(*lines)) as agent, pytest.raises(RuntimeFault, match=said):
        agent.call("facts", deadline_s=DEADLINE_S)


def test_an_answer_cut_short_is_a_crash():
    opener = speaking(b'{"id": 2, "ok": tr', then="os._exit(3)")
    with AgentClient.start(opener) as agent, pytest.raises(CrashedError, match="status 3"):
        agent.call("facts", deadline_s=DEADLINE_S)


def test_a_job_that_is_too_long_is_refused_before_it_is_sent(agent):
    with pytest.raises(RuntimeFault, match="the agent takes"):
        agent.call("infer", deadline_s=DEADLINE_S, model="x" * (protocol.MAX_LINE_BYTES + 1))
    assert agent.call("conditions", deadline_s=DEADLINE_S)["since"] is None
