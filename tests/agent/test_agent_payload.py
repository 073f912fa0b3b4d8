"""Payloads: bytes that follow a request as they are."""

from __future__ import annotations

import json

import pytest
from test_agent_serve import talk

from devices.messages.protocol import MAX_LINE_BYTES

CODE = (
    "from dataclasses import dataclass\n"
    "from edge.agent import machine, serve\n"
    "@dataclass(frozen=True)\n"
    "class Echo:\n"
    "    payload: bytes | None = None\n"
    "machine.Echo = Echo\n"
    "machine.echo = lambda request, progress: {'got': None if request.payload is None else list(request.payload)}\n"
    "serve.JOBS['hello'] = ('edge.agent.machine:Echo', 'edge.agent.machine:echo')\n"
    "serve.main()"
)


def request(number: int, size: object) -> bytes:
    return json.dumps({"id": number, "job": "hello", "payload": size}).encode() + b"\n"


def test_payload_arrives_as_it_is_and_what_follows_is_the_next_request():
    data = b'\n{"id": 9}\n\0\xff'
    answers, done = talk(request(1, len(data)), data, request(2, 0), b'{"id": 3, "job": "hello"}\n', code=CODE)
    assert [each["result"]["got"] for each in answers] == [list(data), [], None]
    assert done.returncode == 0


def test_payload_that_is_cut_off_is_no_payload():
    answers, done = talk(request(1, 10), b"four", code=CODE)
    assert "ended within a payload" in answers[0]["error"]["message"]
    assert done.returncode == 0


@pytest.mark.parametrize("size", [-1, "5", 1.5, MAX_LINE_BYTES + 1])
def test_a_size_that_is_none_is_refused(size):
    answers, _ = talk(request(1, size), b'{"id": 2, "job": "hello"}\n', code=CODE)
    assert "a payload holds at most" in answers[0]["error"]["message"]
    assert answers[1]["ok"]


def test_a_job_of_the_store_needs_its_payload(tmp_path):
    lines = [
        {"id": 1, "job": "store_lock", "root": str(tmp_path), "who": "a"},
        {"id": 2, "job": "store_write", "sha256": "0" * 64, "offset": 0},
        {"id": 3, "job": "store_seal", "sha256": "../" * 20},
        {"id": 4, "job": "store_seal", "sha256": "0" * 64},
        {"id": 5, "job": "release_switch", "to": "../../etc"},
        {"id": 6, "job": "golden", "model": "nowhere", "golden": "nowhere"},
    ]
    answers, _ = talk(*(json.dumps(each).encode() + b"\n" for each in lines))
    assert answers[0]["result"] == {"root": str(tmp_path), "current": None, "previous": None, "serves": False}
    assert "the field 'payload' is missing" in answers[1]["error"]["message"]
    assert "is not a sha256" in answers[2]["error"]["message"]
    assert answers[3]["refused"]["kind"] == "disk"
    assert answers[4]["refused"]["kind"] == "unknown"
    assert answers[5]["error"]["type"] == "ModelFileError"
