"""The agent's loop: one job at a time, read from stdin, answered on stdout, until the connection ends."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import resource
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, BinaryIO

from edge.agent import protocol
from edge.runtime.errors import RuntimeFault

Progress = Callable[..., None]
# name: module of a function `run(request, progress) -> result`, or module:function; imported when first asked for.
JOBS = {
    "hello": "edge.agent.hello",
    "facts": "edge.agent.facts",
    "conditions": "edge.agent.conditions",
    "infer": "edge.agent.infer",
    "latency": "edge.agent.latency",
    "sustain": "edge.agent.sustain",
    "clock": "edge.agent.clock",
    "energy": "edge.agent.energy",
    "kernels": "edge.agent.kernels",
    "golden": "edge.agent.golden",
    "store_lock": "edge.agent.store_lock:lock",
    "store_check": "edge.agent.store_blobs:check",
    "store_write": "edge.agent.store_blobs:write",
    "store_seal": "edge.agent.store_blobs:seal",
    "release_publish": "edge.agent.store_releases:publish",
    "release_switch": "edge.agent.store_releases:switch",
    "release_clean": "edge.agent.store_releases:clean",
    "release_status": "edge.agent.store_releases:status",
    "unit": "edge.agent.unit",
}
HOST_GONE = 129  # what a shell reports for a process that ended by hang-up


def main() -> int:
    """Serve standard input and output; return the exit status."""
    # Before NumPy is imported: its BLAS would keep a thread per core, none of which does any of our work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    faulthandler.enable(all_threads=False)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = _own_connection()
    threading.Thread(target=_die_with, args=(answers.fileno(),), daemon=True, name="connection").start()
    try:
        serve(requests, answers)
    except BrokenPipeError:
        return HOST_GONE
    return 0


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end; a job's failure is an answer, never the end."""
    for line in _lines(requests):
        number: Any = None
        try:
            request = protocol.decode_line(line)
            number = request.get("id")
            _take_payload(request, requests)
            result = _job(request)(request, _progress(answers, number))
            answer = _bounded({"id": number, "ok": True, "result": result})
        except Exception as error:  # noqa: BLE001  (the seam: whatever a job raises travels to the host)
            if not isinstance(error, RuntimeFault):
                traceback.print_exc()
            answer = protocol.encode_line({"id": number, "ok": False, "error": protocol.encode_error(error)})
        _send(answers, answer)


def _bounded(answer: dict[str, Any]) -> bytes:
    line = protocol.encode_line(answer)
    if len(line) > protocol.MAX_LINE_BYTES:
        raise RuntimeFault(
            f"the result is {len(line)} bytes long, a line holds {protocol.MAX_LINE_BYTES}",
            hint="ask for fewer runs or shorter windows in one job",
        )
    return line


def _own_connection() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for the protocol; what native code prints then goes to stderr and corrupts nothing."""
    sys.stdout.flush()
    requests = os.fdopen(os.dup(0), "rb")
    # Never closed before the process ends: for the watcher, a closed descriptor would be a lost connection.
    answers = os.fdopen(os.dup(1), "wb", buffering=0, closefd=False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _die_with(descriptor: int) -> None:
    """End the process as soon as nobody can read its answers any more, even in the middle of a job."""
    watcher = select.poll()
    watcher.register(descriptor, 0)  # no event but the loss of the other end
    while not watcher.poll():
        pass
    os._exit(HOST_GONE)


def _lines(requests: BinaryIO) -> Iterator[bytes]:
    while line := requests.readline(protocol.MAX_LINE_BYTES + 1):
        yield line
        while not line.endswith(b"\n"):  # what is left of a line that was too long
            line = requests.readline(1 << 20)
            if not line:
                return


def _take_payload(request: dict[str, Any], requests: BinaryIO) -> None:
    """Put the bytes that follow a request in place of their number."""
    size = request.get("payload")
    if size is None:
        return
    if not isinstance(size, int) or not 0 <= size <= protocol.MAX_LINE_BYTES:
        raise RuntimeFault(f"a payload holds at most {protocol.MAX_LINE_BYTES} bytes, got {size!r:.80}")
    request["payload"] = requests.read(size)
    if len(request["payload"]) < size:
        raise RuntimeFault("the connection ended within a payload")


def _job(request: dict[str, Any]) -> Callable[[dict[str, Any], Progress], dict[str, Any]]:
    name = request.get("job")
    if not isinstance(name, str) or name not in JOBS:
        near = get_close_matches(str(name), JOBS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise RuntimeFault(f"the agent knows no job {name!r}", hint=f"{meant}jobs are: {', '.join(JOBS)}")
    module, _, function = JOBS[name].partition(":")
    run: Callable[[dict[str, Any], Progress], dict[str, Any]]
    run = getattr(importlib.import_module(module), function or "run")
    return run


def _progress(answers: BinaryIO, number: object) -> Progress:
    def progress(**fields: object) -> None:
        _send(answers, protocol.encode_line({"id": number, "event": "progress", **fields}))

    return progress


def _send(answers: BinaryIO, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[answers.write(view) :]
