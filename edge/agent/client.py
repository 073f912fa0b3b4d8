"""Starts the agent on a device, sends it requests and returns its results, or raises the agent's own errors.

Runs on the host only. It uses two methods of a device (`agent_argv`, `open`) and the methods of `ByteStream` of its
connection; both are implemented by local, SSH and emulated devices alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

from converters.decode import DecodeError, decode
from devices.messages.machine_jobs import HelloRequest, HelloResult
from devices.messages.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL,
    ProgressEvent,
    ProtocolError,
    Request,
    decode_line,
    decode_result,
    encode_request,
)
from edge.agent.failures import decode_failure
from edge.runtime.errors import AgentDeadlineError, CrashedError, RuntimeFault

START_DEADLINE_S = 30.0
END_DEADLINE_S = 5.0
TAIL_LINES, TAIL_COLUMNS = 16, 200
CRASH_REPORT_TAIL = "Extension modules:"  # what Python adds to the report of a crash
OnProgress = Callable[[ProgressEvent], None]
R = TypeVar("R")


class Ending(Protocol):
    """The end of a process: its status, or the name of the signal that ended it."""

    @property
    def status(self) -> int | None: ...
    @property
    def signal(self) -> str | None: ...


class ByteStream(Protocol):
    """The connection to a running program. Every wait has a deadline and raises a TimeoutError after it."""

    def write(self, data: bytes, *, deadline_s: float) -> None:
        """Send all of the data; raises a BrokenPipeError if the program takes no more."""

    def read(self, *, deadline_s: float) -> bytes:
        """Return what has arrived, at least one byte; b"" at the end."""

    def wait(self, *, deadline_s: float) -> Ending:
        """Wait for the program's end."""

    def errors(self) -> bytes:
        """Return the last part of what the program wrote to its standard error so far."""

    def close(self) -> None:
        """End the program if it still runs, and free everything."""


class AgentHost(Protocol):
    """The part of a device that the client uses."""

    def agent_argv(self) -> Sequence[str]: ...
    def open(self, argv: Sequence[str]) -> ByteStream: ...


class AgentClient:
    """A running agent, as a context manager; at its end the agent is ended and reaped.

    A job's failure leaves the agent running. After a crash or a missed deadline it is gone, every later call
    fails, and starting another one is the caller's choice.
    """

    def __init__(self, opener: Callable[[], ByteStream], *, name: str = "the agent") -> None:
        self._opener = opener
        self._name = name
        self._stream: ByteStream | None = None
        self._received = bytearray()
        self._number = 0
        self.hello = HelloResult(PROTOCOL)

    @classmethod
    def start(cls, opener: Callable[[], ByteStream]) -> AgentClient:
        """Return a client that starts the agent by calling `opener` when it is entered."""
        return cls(opener)

    @classmethod
    def on(cls, device: AgentHost) -> AgentClient:
        """Return a client that starts the agent on a device when it is entered."""
        return cls(lambda: device.open(device.agent_argv()))

    def __enter__(self) -> AgentClient:
        self._stream = self._opener()
        try:
            self.hello = self.call(HelloRequest(), deadline_s=START_DEADLINE_S)
            if self.hello.protocol != PROTOCOL:
                raise RuntimeFault(
                    f"the agent speaks protocol {self.hello.protocol}, this host speaks {PROTOCOL}",
                    hint="install the same version of the toolkit on both sides",
                )
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def call(self, request: Request[R], *, deadline_s: float, on_progress: OnProgress | None = None) -> R:
        """Send one request and wait for its result.

        Args:
            request: The job to run.
            deadline_s: Longest time until the result, progress or not.
            on_progress: Called with each progress event.

        Raises:
            RuntimeFault: The job failed; the class is the one the agent raised.
            RefusedError: The board refused a step of a deployment.
            CrashedError: The agent died; names the signal and the last lines of its standard error.
            AgentDeadlineError: No result in time; the agent has been ended.
        """
        stream, job = self._stream, request.job
        if stream is None:
            raise RuntimeFault("the agent is not running", hint="start a new one")
        deadline = time.monotonic() + deadline_s
        self._number += 1
        line = encode_request(request, self._number)
        if len(line) > MAX_LINE_BYTES:
            raise RuntimeFault(
                f"the job {job!r} is {len(line)} bytes long, the agent accepts {MAX_LINE_BYTES}",
                hint="send fewer inputs in one job",
            )
        try:
            stream.write(line, deadline_s=deadline_s)
            return self._result(request, stream, deadline, on_progress)
        except (BrokenPipeError, EOFError) as error:
            raise self._crash(job) from error
        except TimeoutError as error:
            tail = self._tail()
            self._close()
            raise AgentDeadlineError(f"the agent did not answer {job!r} within {deadline_s:g} s", hint=tail) from error

    def _result(self, request: Request[R], stream: ByteStream, deadline: float, on_progress: OnProgress | None) -> R:
        while True:
            line = self._line(stream, deadline)
            try:
                answer = decode_line(line)
                if answer.get("id") not in (self._number, None):
                    raise RuntimeFault(f"the agent answered request {answer.get('id')!r}, expected was {self._number}")
                if answer.get("ok") is True:
                    return decode_result(request, answer)
                event = decode(ProgressEvent, answer, "progress", ignore_unknown=True) if "event" in answer else None
            except (ProtocolError, DecodeError) as error:
                raise RuntimeFault(str(error), hint=error.hint) from error
            if event is None:
                raise decode_failure(answer)
            if on_progress is not None:
                on_progress(event)

    def _line(self, stream: ByteStream, deadline: float) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > MAX_LINE_BYTES:
                raise RuntimeFault(f"the agent sent a line longer than {MAX_LINE_BYTES} bytes")
            data = stream.read(deadline_s=max(0.0, deadline - time.monotonic()))
            if not data:
                raise EOFError
            self._received += data
        line = bytes(self._received[: end + 1])
        del self._received[: end + 1]
        return line

    def _crash(self, job: str) -> CrashedError:
        assert self._stream is not None
        try:
            ending: Ending | None = self._stream.wait(deadline_s=END_DEADLINE_S)
        except TimeoutError:
            ending = None
        tail = self._tail()
        self._close()
        return CrashedError(
            f"the TFLite runtime's process {_describe_ending(ending)} during the job {job!r}", hint=tail
        )

    def _tail(self) -> str | None:
        if self._stream is None:
            return None
        written = self._stream.errors().decode("utf-8", "replace").splitlines()
        lines = [line[:TAIL_COLUMNS] for line in written if line.strip() and not line.startswith(CRASH_REPORT_TAIL)]
        return "\n  ".join(["the last lines it wrote:", *lines[-TAIL_LINES:]]) if lines else None

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        self._received.clear()
        if stream is not None:
            stream.close()


def _describe_ending(ending: Ending | None) -> str:
    if ending is None:
        return "closed its connection"
    if ending.signal == "SIGKILL":
        return "was killed (SIGKILL: often the system was out of memory)"
    if ending.signal is not None:
        return f"died with {ending.signal}"
    return f"ended with status {ending.status}"
