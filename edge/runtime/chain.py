"""Runs the pieces of a model one after another, each in its own interpreter with its own delegates.

With one Edge TPU for each piece, `Chain.stream` keeps all of them busy: while one piece works on an input, the piece
before it works on the next.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from converters.artifact.chain_manifest import ChainManifest, read_manifest
from converters.errors import ModelFileError
from edge.runtime.delegates import Delegate
from edge.runtime.errors import InferenceError, ModelInputError
from edge.runtime.model import Model, load_model
from edge.runtime.tensor_spec import Array

DEADLINE_S = 120.0
_AGAIN = "load the chain again"
T = TypeVar("T")
Values = dict[str, Array]
Delegates = Sequence[str | Delegate | Mapping[str, Any]]


class Worker(Generic[T]):
    """One thread that does one job after another.

    It is a daemon: the threads of concurrent.futures are joined when the interpreter ends, and one that is stuck in
    native code would hold that up.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = SimpleQueue()
        self._lock = Lock()
        self._stopped = self._at_work = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Append a job to the queue; return the future of its result."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Finish the running job and cancel those that wait."""
        with self._lock:
            self._stopped = True
        self._jobs.put(None)

    @property
    def is_at_work(self) -> bool:
        """Whether a job is running; where it is False after `stop`, none will start."""
        with self._lock:
            return self._at_work

    def join(self, timeout_s: float) -> bool:
        """Wait for the running job; return whether the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            with self._lock:
                self._at_work = not self._stopped
            if self._at_work:
                self._do(job, future)
            else:
                future.cancel()

    def _do(self, job: Callable[[], T], future: Future[T]) -> None:
        try:
            tell = partial(future.set_result, job())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits for the result
            tell = partial(future.set_exception, error)
        with self._lock:
            self._at_work = False
        tell()


def load_chain(
    manifest: str | os.PathLike[str],
    *,
    runtime: str | None = None,
    threads: int = 1,
    delegates: Sequence[Delegates] = (),
) -> Chain:
    """Verify the pieces of a model and make them ready to run.

    Args:
        manifest: NAME-segments.json, with the pieces alongside.
        runtime: As for `edge.runtime.load`.
        threads: Threads of each piece's kernels.
        delegates: The delegates of each piece, in order: [["edgetpu;device=usb:0"], ["edgetpu;device=usb:1"]]; () for
            none.

    Raises:
        ModelFileError: The manifest or a piece is damaged, or a piece is not the named one.
        ModelInputError: There are not as many lists of delegates as pieces.
        RuntimeFault: As for `edge.runtime.load`.
    """
    found = read_manifest(manifest)
    if delegates and len(delegates) != len(found.pieces):
        raise ModelInputError(f"delegates were given for {len(delegates)} pieces, there are {len(found.pieces)}")
    with ExitStack() as loaded:
        models = []
        for index, piece in enumerate(found.pieces):
            own = delegates[index] if delegates else ()
            model = load_model(piece.file, runtime=runtime, threads=threads, delegates=own)
            models.append(loaded.enter_context(model))
            if hashlib.sha256(model.verified.data).hexdigest() != piece.sha256:
                raise ModelFileError(f"{piece.file} is not the piece that the manifest names", hint="cut it again")
        loaded.pop_all()
    return Chain(found, models)


class Chain:
    """The pieces, ready to run; a context manager that frees them at the end."""

    def __init__(self, manifest: ChainManifest, models: Sequence[Model]) -> None:
        self.manifest = manifest
        self.models = tuple(models)
        self._stuck = self._closed = False
        self._streams: list[list[Worker[Values]]] = []
        self._late: list[tuple[int, Worker[Values]]] = []

    def __enter__(self) -> Chain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for workers in tuple(self._streams):
            self._end(workers, DEADLINE_S)
        at_work = {index for index, worker in self._late if worker.is_at_work}
        for index, model in enumerate(self.models):
            if index not in at_work:  # what is still at work is freed with its thread
                model.close()

    def run(self, *arrays: npt.ArrayLike) -> tuple[Array, ...]:
        """Run one inference on raw arrays, as `Model.run`."""
        values = self._name_inputs(arrays)
        for index in range(len(self.models)):
            values = self._step(index, values)
        return self._results(values)

    def stream(
        self, inputs: Iterable[Sequence[npt.ArrayLike]], *, deadline_s: float = DEADLINE_S
    ) -> Iterator[tuple[Array, ...]]:
        """Run many inferences, the pieces at the same time on successive inputs; yield outputs in the inputs' order.

        Args:
            inputs: The arrays of each inference; read as far ahead as there are pieces.
            deadline_s: The longest wait for one result.

        Raises:
            ModelInputError: An input does not fit.
            InferenceError: A piece failed, or was not done in time; the chain cannot be used again.
        """
        workers = [Worker[Values]() for _ in self.models]
        self._streams.append(workers)
        waiting: deque[Future[Values]] = deque()
        try:
            for arrays in inputs:
                waiting.append(self._submit(workers, self._name_inputs(arrays)))
                if len(waiting) > len(self.models):
                    yield self._results(self._result(waiting.popleft(), deadline_s))
            while waiting:
                yield self._results(self._result(waiting.popleft(), deadline_s))
        finally:
            self._end(workers, deadline_s)

    def _end(self, workers: list[Worker[Values]], deadline_s: float) -> None:
        """Stop the workers of a stream and wait for their running jobs."""
        if workers not in self._streams:
            return
        self._streams.remove(workers)
        for worker in workers:
            worker.stop()
        end = time.monotonic() + (0 if self._stuck else deadline_s)
        for index, worker in enumerate(workers):  # one that is stuck in native code is not waited for
            if not worker.join(max(0, end - time.monotonic())):
                self._late.append((index, worker))
        self._stuck |= bool(self._late)

    def _submit(self, workers: Sequence[Worker[Values]], values: Values) -> Future[Values]:
        before: Future[Values] = Future()
        before.set_result(values)
        for index, worker in enumerate(workers):
            before = worker.submit(partial(self._after, index, before))
        return before

    def _after(self, index: int, before: Future[Values]) -> Values:
        return self._step(index, before.result())

    def _name_inputs(self, arrays: Sequence[npt.ArrayLike]) -> dict[str, Any]:
        if self._closed:
            raise InferenceError("the chain is closed", hint=_AGAIN)
        if self._stuck:
            raise InferenceError("a piece of the chain was not done in time and may still be running", hint=_AGAIN)
        names = self.manifest.inputs
        if len(arrays) != len(names):
            raise ModelInputError(f"the model has {len(names)} inputs ({', '.join(names)}), got {len(arrays)} arrays")
        return dict(zip(names, arrays, strict=True))

    def _step(self, index: int, values: Values) -> Values:
        piece = self.manifest.pieces[index]
        outputs = self.models[index].run(*(values[name] for name in piece.inputs))
        return {**values, **dict(zip(piece.outputs, outputs, strict=True))}

    def _result(self, future: Future[Values], deadline_s: float) -> Values:
        try:
            return future.result(timeout=deadline_s)
        except CancelledError as error:
            raise InferenceError("the chain is closed", hint=_AGAIN) from error
        except FutureTimeoutError as error:
            self._stuck = True
            raise InferenceError(f"a piece was not done within {deadline_s:g} s", hint=_AGAIN) from error

    def _results(self, values: Mapping[str, Array]) -> tuple[Array, ...]:
        return tuple(values[name] for name in self.manifest.outputs)
