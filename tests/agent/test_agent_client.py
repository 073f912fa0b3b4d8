"""The host's side: results, errors of the agent's classes, crashes with their signal, deadlines."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from converters.errors import ModelFileError
from devices.local import LocalDevice
from devices.messages import protocol
from devices.messages.machine_jobs import ConditionsRequest, FactsRequest, HelloRequest, RuntimeVersion
from devices.messages.model_jobs import InferRequest, ModelSetup
from devices.messages.protocol import Request, decode_array, encode_array
from edge.agent.client import AgentClient
from edge.agent.messages import LatencyRequest
from edge.agent.running import plausible_inputs
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
    """Return an opener of a process that answers hello, then writes `lines`, then does something."""
    hello = protocol.encode_line({"id": 1, "ok": True, "result": {"protocol": protocol.PROTOCOL}})
    code = f"import os, sys\nsys.stdin.readline(); sys.stdout.buffer.write({hello!r}); sys.stdout.flush()\n"
    code += f"sys.stdin.readline(); sys.stdout.buffer.write({b''.join(lines)!r}); sys.stdout.flush()\n{then}"
    return Opener(sys.executable, "-c", code)


def infer(model, *runs, runtime=None) -> InferRequest:
    """Return a request to run a model on arrays."""
    return InferRequest(ModelSetup(str(model), runtime), tuple(tuple(map(encode_array, run)) for run in runs))


def test_many_runs_give_what_a_direct_run_gives(agent, small_model):
    model = load(small_model)
    inputs, seen = plausible_inputs(model), []
    result = agent.call(
        infer(small_model, *[inputs] * 3),
        deadline_s=DEADLINE_S,
        on_progress=lambda event: seen.append((event.done, event.of)),
    )
    direct = model.run(*inputs)[0]
    assert [decode_array(run[0]).tolist() for run in result.outputs] == [direct.tolist()] * 3
    assert result.runtime == RuntimeVersion(model.runtime.name, model.runtime.version)
    assert result.peak_rss_bytes > 10 << 20
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_loaded_model_is_kept_until_it_or_its_file_changes(agent, small_model, shared_data, tmp_path):
    copy = tmp_path / "model.tflite"
    copy.write_bytes(Path(small_model).read_bytes())
    images = {size: plausible_inputs(load(path)) for size, path in _models(shared_data).items()}
    assert agent.call(infer(copy, images[128]), deadline_s=DEADLINE_S).outputs
    copy.write_bytes(_models(shared_data)[160].read_bytes())
    with pytest.raises(ModelInputError, match="160"):
        agent.call(infer(copy, images[128]), deadline_s=DEADLINE_S)
    assert agent.call(infer(copy, images[160]), deadline_s=DEADLINE_S).outputs


def _models(shared_data):
    folder = shared_data / "edgetpu_pairs"
    return {128: folder / "mobilenet_v1_0.25_128_quant.tflite", 160: folder / "mobilenet_v1_0.5_160_quant.tflite"}


def test_errors_come_back_as_their_classes_and_the_agent_lives_on(agent, small_model, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(Path(small_model).read_bytes()[:4096])
    with pytest.raises(ModelFileError):
        agent.call(infer(damaged, []), deadline_s=DEADLINE_S)
    with pytest.raises(ModelInputError):
        agent.call(infer(small_model, []), deadline_s=DEADLINE_S)
    with pytest.raises(RuntimeMissingError, match="no-such-runtime"):
        agent.call(infer(small_model, [], runtime="no-such-runtime"), deadline_s=DEADLINE_S)
    with pytest.raises(RuntimeFault, match="has no job 'dance'") as caught:
        agent.call(Dance(), deadline_s=DEADLINE_S)
    assert "latency" in caught.value.hint
    assert agent.call(HelloRequest(), deadline_s=DEADLINE_S).protocol == protocol.PROTOCOL


@dataclass(frozen=True)
class Dance(Request):
    """A request that no agent knows."""

    job = "dance"


def test_a_model_the_runtime_refuses_is_an_inference_error(agent, shared_data):
    model = shared_data / "edgetpu_pairs" / "bodypix_mobilenet_v1_075_512_512_16_quant_decoder.tflite"
    with pytest.raises(InferenceError):
        agent.call(LatencyRequest(ModelSetup(str(model))), deadline_s=DEADLINE_S)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_crash_in_a_job_names_the_signal(small_model, name):
    opener = Opener()
    with AgentClient.start(opener) as agent:
        with pytest.raises(CrashedError, match=f"{name}.* during the job 'latency'") as caught:
            agent.call(
                LatencyRequest(ModelSetup(small_model), windows=1, window_s=600),
                deadline_s=DEADLINE_S,
                on_progress=lambda _: os.kill(opener.stream.pid, signal.Signals[name]),
            )
        if name == "SIGSEGV":  # where it died, from the agent's standard error
            assert "Fatal Python error: Segmentation fault" in caught.value.hint
            assert "timing.py" in caught.value.hint
        assert opener.is_gone()
        with pytest.raises(RuntimeFault, match="not running"):
            agent.call(HelloRequest(), deadline_s=DEADLINE_S)


def test_a_missed_deadline_ends_the_agent(small_model):
    opener = Opener()
    with AgentClient.start(opener) as agent:
        with pytest.raises(AgentDeadlineError, match=r"did not answer 'latency' within 0.3 s") as caught:
            agent.call(LatencyRequest(ModelSetup(small_model), windows=1, window_s=600), deadline_s=0.3)
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
        ([b'{"id": 1, "ok": true, "result": {}}\n'], "answered request 1, expected was 2"),
        ([b'{"id": 2}\n'], "None"),
        ([b'{"id": 2, "event": "progress", "stage": "run"}\n', b'{"id": 2, "ok": false, "error": "what"}\n'], "what"),
        ([b'{"id": 2, "event": "progress"}\n'], "the field 'stage' is missing"),
        ([b'{"id": 2, "ok": true, "result": {"cores": "four"}}\n'], "the result of 'facts'"),
        ([b'{"id": 2, "ok": false, "refused": {}}\n'], "the refusal: the field 'kind' is missing"),
    ],
)
def test_answers_that_make_no_sense_are_errors(lines, said):
    with AgentClient.start(speaking(*lines)) as agent, pytest.raises(RuntimeFault, match=said):
        agent.call(FactsRequest(), deadline_s=DEADLINE_S)


def test_an_answer_cut_short_is_a_crash():
    opener = speaking(b'{"id": 2, "ok": tr', then="os._exit(3)")
    with AgentClient.start(opener) as agent, pytest.raises(CrashedError, match="status 3"):
        agent.call(FactsRequest(), deadline_s=DEADLINE_S)


def test_a_job_that_is_too_long_is_refused_before_it_is_sent(agent):
    with pytest.raises(RuntimeFault, match="the agent accepts"):
        agent.call(infer("x" * (protocol.MAX_LINE_BYTES + 1)), deadline_s=DEADLINE_S)
    assert agent.call(ConditionsRequest(), deadline_s=DEADLINE_S).since is None
