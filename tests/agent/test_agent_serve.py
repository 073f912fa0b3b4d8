"""The agent as a process: `python -m edge.agent` and its two pipes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from devices.contract import Exit
from devices.local import LocalDevice
from devices.messages.protocol import MAX_LINE_BYTES, PROTOCOL

DEADLINE_S = 60


def talk(*lines: bytes, code: str | None = None):
    """Send lines, end the input, and return the answers and the finished process."""
    command = [sys.executable, *(("-c", code) if code else ("-m", "edge.agent"))]
    done = subprocess.run(command, input=b"".join(lines), capture_output=True, timeout=DEADLINE_S, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def test_answers_what_was_asked_and_ends_with_its_input():
    answers, done = talk(b'{"id": 1, "job": "hello"}\n', b'{"id": "two", "job": "conditions"}\n')
    assert [(each["id"], each["ok"]) for each in answers] == [(1, True), ("two", True)]
    assert answers[0]["result"]["protocol"] == PROTOCOL
    assert (done.returncode, done.stderr) == (0, b"")


def test_nothing_asked_nothing_answered():
    for _ in range(10):  # its own end must not look like a lost connection to it
        answers, done = talk()
        assert (answers, done.returncode) == ([], 0)


def test_unknown_job_is_answered_with_the_jobs():
    answers, _ = talk(b'{"id": 1, "job": "latensy"}\n', b'{"id": 2}\n', b'{"id": 3, "job": "hello"}\n')
    assert answers[0]["error"]["type"] == "RuntimeFault"
    assert answers[0]["error"]["hint"].startswith("did you mean latency? jobs are: hello, facts")
    assert "None" in answers[1]["error"]["message"]
    assert answers[2]["ok"]


def test_lines_that_are_no_requests_are_answered_and_survived():
    answers, done = talk(b"garbage\n", b"\n", b"[]\n", b"\xff\xfe\n", b'{"id": 5, "job": "hello"}')
    assert [each["ok"] for each in answers] == [False, False, False, False, True]
    assert done.returncode == 0


def test_a_line_without_end_costs_no_more_than_its_limit():
    answers, _ = talk(b"x" * (MAX_LINE_BYTES + 2), b"yz\n", b'{"id": 1, "job": "hello"}\n')
    assert "holds at most" in answers[0]["error"]["message"]
    assert answers[1]["ok"]
    assert len(answers) == 2


def test_native_prints_do_not_corrupt_the_answers():
    code = (
        "import os\nfrom edge.agent import machine, serve\n"
        "def noisy(request, progress):\n"
        "    os.write(1, b'native noise\\n'); print('python noise', flush=True); os.system('echo child noise')\n"
        "    return {'stdin': os.readlink('/proc/self/fd/0')}\n"
        "machine.greet = noisy\nserve.main()"
    )
    answers, done = talk(b'{"id": 1, "job": "hello"}\n', b'{"id": 2, "job": "hello"}\n', code=code)
    assert [each["result"]["stdin"] for each in answers] == ["/dev/null"] * 2
    assert done.stderr.count(b"noise") == 6


def test_a_result_that_fits_in_no_line_is_an_error():
    code = (
        "from devices.messages.protocol import MAX_LINE_BYTES\nfrom edge.agent import machine, serve\n"
        "machine.greet = lambda request, progress: {'much': 'x' * MAX_LINE_BYTES}\nserve.main()"
    )
    answers, _ = talk(b'{"id": 1, "job": "hello"}\n', code=code)
    assert "a line holds" in answers[0]["error"]["message"]


def test_a_fault_of_the_agent_itself_is_an_answer_with_a_traceback_on_stderr():
    code = "from edge.agent import machine, serve\nmachine.greet = lambda request, progress: 1 / 0\nserve.main()"
    answers, done = talk(b'{"id": 1, "job": "hello"}\n', code=code)
    assert answers[0]["error"]["message"] == "internal error: ZeroDivisionError: division by zero"
    assert b"Traceback" in done.stderr


def test_dies_with_its_connection_in_the_middle_of_a_job(small_model):
    request = {"id": 1, "job": "latency", "setup": {"model": small_model}, "windows": 1, "window_s": 600}
    device = LocalDevice()
    with device.open(device.agent_argv()) as stream:
        stream.write(json.dumps(request).encode() + b"\n", deadline_s=DEADLINE_S)
        assert b"warm-up" in stream.read(deadline_s=DEADLINE_S)
        stream.end_input()
        stream.end_output()
        assert stream.wait(deadline_s=DEADLINE_S) == Exit(129)


def test_starts_without_numpy_or_a_runtime_or_the_rest_of_the_project():
    code = (
        "import sys, io\nfrom edge.agent import serve\n"
        'serve.serve(io.BytesIO(b\'{"job": "hello"}\\n{"job": "facts"}\\n{"job": "conditions"}\\n\'), io.BytesIO())\n'
        "ours = ('devices', 'devices.messages', 'converters', 'converters.decode', 'converters.errors')\n"
        "print([name for name in sys.modules if name not in ours and not name.startswith('devices.messages.')"
        " and name.split('.')[0] in ('numpy', 'ai_edge_litert', 'tensorflow', 'click', 'devices', 'converters')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("setup", "fields", "words"),
    [
        (None, {}, "the job 'latency': the field 'setup' is missing"),
        (3, {}, "the job 'latency': setup: expected an object, got 3"),
        ({"model": None}, {}, "setup: model: expected a text, got None"),
        ({"model": 3}, {}, "setup: model: expected a text, got 3"),
        ({"model": "/no/such.tflite"}, {}, "no model file '/no/such.tflite'"),
        ({"threads": 0}, {}, "setup: threads: got 0, expected at least 1"),
        ({"threads": True}, {}, "setup: threads: expected a whole number, got True"),
        ({}, {"window_s": -1}, "window_s: got -1.0, expected at least 0"),
        ({}, {"window_s": "1"}, "window_s: expected a finite number, got '1'"),
        ({"cpus": [4096]}, {}, "asked for processors [4096], this process may use"),
        ({"cpus": []}, {}, "asked for processors [], this process may use"),
        ({"delegates": ["edgetpu"]}, {}, "delegates[0]: expected an object, got 'edgetpu'"),
    ],
)
def test_wrong_fields_are_named(small_model, setup, fields, words):
    request = {"id": 1, "job": "latency", "warmup_s": 0, **fields}
    if setup is not None:
        request["setup"] = {"model": small_model, **setup} if isinstance(setup, dict) else setup
    answers, _ = talk(json.dumps(request).encode() + b"\n")
    assert words in answers[-1]["error"]["message"]
