"""Asks a device's agent for facts, or for the results of several requests at once, in one run of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from devices.errors import UnreachableError
from devices.facts import Facts
from devices.messages.machine_jobs import FactsRequest
from devices.messages.protocol import ProtocolError, Request, decode_line, decode_result, encode_request

if TYPE_CHECKING:
    from devices.contract import Completed, Device


def read_facts(device: Device, *, deadline_s: float) -> Facts:
    """Start the agent for one job, `facts`, and parse the result.

    Raises:
        UnreachableError: The agent did not start, or answered something else.
        DeadlineError: It did not answer in time.
    """
    request = FactsRequest()
    done, answers = run_agent(device, device.agent_argv(), [request], deadline_s=deadline_s)
    try:
        if answers and answers[0].get("ok") is True:
            return Facts.of(device.name, device.kind, decode_result(request, answers[0]))
    except ProtocolError as error:
        raise UnreachableError(f"the agent on {device.name} reported no facts: {error}") from error
    written = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    raise UnreachableError(
        f"the agent on {device.name} ended with {done.exit} and reported no facts",
        hint=f"it wrote: {written[-1][:200]}" if written else None,
    )


def run_agent(
    device: Device, argv: Sequence[str], requests: Sequence[Request[Any]], *, deadline_s: float
) -> tuple[Completed, list[Mapping[str, Any]]]:
    """Start the agent, send all requests, and return how it ended with the answers that came, in order.

    Raises:
        DeviceError: The device cannot be reached, or did not answer in time.
    """
    lines = b"".join(encode_request(each, number) for number, each in enumerate(requests))
    done = device.run(argv, deadline_s=deadline_s, stdin=lines)
    answers: list[Mapping[str, Any]] = []
    for line in done.stdout.splitlines():
        try:
            answer = decode_line(line)
        except ProtocolError:
            break
        if "ok" in answer and answer.get("id") == len(answers):
            answers.append(answer)
    return done, answers
