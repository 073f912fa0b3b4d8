"""Serves jobs, one at a time: reads requests from stdin and answers them on stdout until the connection ends."""

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
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, BinaryIO

from converters.decode import decode, encode
from converters.errors import EdgeError
from devices.messages.protocol import MAX_LINE_BYTES, Progress, ProgressEvent, decode_line, encode_line
from edge.agent.failures import encode_failure
from edge.runtime.errors import RuntimeFault

# name: "module:Request" and "module:function", imported when the job is first asked for.
JOBS = {
    "hello": ("devices.messages.machine_jobs:HelloRequest", "edge.agent.machine:greet"),
    "facts": ("devices.messages.machine_jobs:FactsRequest", "edge.agent.machine:read_facts"),
    "conditions": ("devices.messages.machine_jobs:ConditionsRequest", "edge.agent.condition_sampler:sample_once"),
    "clock": ("devices.messages.machine_jobs:ClockRequest", "edge.agent.condition_sampler:read_clock"),
    "infer": ("devices.messages.model_jobs:InferRequest", "edge.agent.running:infer"),
    "kernels": ("edge.agent.messages:KernelsRequest", "edge.agent.running:profile_kernels"),
    "latency": ("edge.agent.messages:LatencyRequest", "edge.agent.timing:measure_latency"),
    "sustain": ("edge.agent.messages:SustainRequest", "edge.agent.timing:sustain_load"),
    "energy": ("edge.agent.messages:EnergyRequest", "edge.agent.energy_windows:run_energy"),
    "golden": ("devices.messages.model_jobs:GoldenRequest", "edge.agent.golden:check_golden"),
    "store_lock": ("devices.messages.upload_jobs:LockRequest", "edge.agent.store_lock:lock"),
    "store_check": ("devices.messages.upload_jobs:CheckRequest", "edge.agent.store_blobs:check"),
    "store_write": ("devices.messages.upload_jobs:WriteRequest", "edge.agent.store_blobs:write"),
    "store_seal": ("devices.messages.upload_jobs:SealRequest", "edge.agent.store_blobs:seal"),
    "release_publish": ("devices.messages.release_jobs:PublishRequest", "edge.agent.store_releases:publish"),
    "release_switch": ("devices.messages.release_jobs:SwitchRequest", "edge.agent.store_releases:switch"),
    "release_clean": ("devices.messages.release_jobs:CleanRequest", "edge.agent.store_releases:clean"),
    "release_status": ("devices.messages.release_jobs:StatusRequest", "edge.agent.store_releases:list_status"),
    "unit": ("devices.messages.release_jobs:UnitRequest", "edge.agent.systemd:start_unit"),
}
HOST_GONE = 129  # what a shell reports for a process that ended by hang-up


def main() -> int:
    """Serve standard input and output; return the exit status."""
    # Before NumPy is imported: its BLAS would keep a thread per core, none of which does any of our work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    faulthandler.enable(all_threads=False)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = _take_connection()
    threading.Thread(target=_exit_with, args=(answers.fileno(),), daemon=True, name="connection").start()
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
            request = decode_line(line)
            number = request.get("id")
            _read_payload(request, requests)
            result = _run_job(request, _progress_to(answers, number))
            answer = _encode_bounded({"id": number, "ok": True, "result": encode(result)})
        except Exception as error:  # noqa: BLE001  (whatever a job raises travels to the host)
            if not isinstance(error, EdgeError):
                traceback.print_exc()
            answer = encode_line({"id": number, "ok": False, **encode_failure(error)})
        _send(answers, answer)


def _encode_bounded(answer: dict[str, Any]) -> bytes:
    line = encode_line(answer)
    if len(line) > MAX_LINE_BYTES:
        raise RuntimeFault(
            f"the result is {len(line)} bytes long, a line holds {MAX_LINE_BYTES}",
            hint="ask for fewer runs or shorter windows in one job",
        )
    return line


def _take_connection() -> tuple[BinaryIO, BinaryIO]:
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


def _exit_with(descriptor: int) -> None:
    """End the process as soon as nobody can read its answers any more, even in the middle of a job."""
    watcher = select.poll()
    watcher.register(descriptor, 0)  # no event but the loss of the other end
    while not watcher.poll():
        pass
    os._exit(HOST_GONE)


def _lines(requests: BinaryIO) -> Iterator[bytes]:
    while line := requests.readline(MAX_LINE_BYTES + 1):
        yield line
        while not line.endswith(b"\n"):  # what is left of a line that was too long
            line = requests.readline(1 << 20)
            if not line:
                return


def _read_payload(request: dict[str, Any], requests: BinaryIO) -> None:
    """Put the bytes that follow a request in place of their number."""
    size = request.get("payload")
    if size is None:
        return
    if not isinstance(size, int) or not 0 <= size <= MAX_LINE_BYTES:
        raise RuntimeFault(f"a payload holds at most {MAX_LINE_BYTES} bytes, got {size!r:.80}")
    request["payload"] = requests.read(size)
    if len(request["payload"]) < size:
        raise RuntimeFault("the connection ended within a payload")


def _run_job(message: dict[str, Any], progress: Progress) -> object:
    name = message.get("job")
    if not isinstance(name, str) or name not in JOBS:
        near = get_close_matches(str(name), JOBS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise RuntimeFault(f"the agent has no job {name!r}", hint=f"{meant}jobs are: {', '.join(JOBS)}")
    kind, run = map(_import, JOBS[name])
    return run(decode(kind, message, f"the job {name!r}", ignore_unknown=True), progress)


def _import(name: str) -> Any:  # noqa: ANN401
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _progress_to(answers: BinaryIO, number: object) -> Progress:
    def progress(stage: str, *, done: float = 0, of: float = 0, holder: str | None = None) -> None:
        event = ProgressEvent(stage, done, of, holder)
        _send(answers, encode_line({"id": number, "event": "progress", **encode(event)}))

    return progress


def _send(answers: BinaryIO, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[answers.write(view) :]
