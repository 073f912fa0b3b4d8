"""Runs the pieces of a model one after another, each in its own interpreter with its own delegates.

With one Edge TPU for each piece, `Chain.stream` keeps all of them busy: while one piece works on an input, the piece
before it works on the next.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from converters.errors import ModelFileError
from edge.runtime.delegates import Delegate
from edge.runtime.errors import InferenceError, ModelInputError
from edge.runtime.model import Model, load_model
from edge.runtime.tensor_spec import Array
from edge.runtime.worker import Worker

SCHEMA = "edge-segments/1"
DEADLINE_S = 120.0
_AGAIN = "load the chain again"
Values = dict[str, Array]
Delegates = Sequence[str | Delegate | Mapping[str, Any]]


@dataclass(frozen=True)
class Piece:
    """One file of a chain, and the names of what goes in and out, in the file's order."""

    file: Path
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """How the pieces belong together: the whole model's inputs and outputs by name, and the pieces in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    pieces: tuple[Piece, ...]


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read NAME-segments.json, which `edge coral segment` writes beside the pieces.

    Raises:
        ModelFileError: It cannot be read, is none, or reads what no piece before has written.
    """
    file = Path(path)
    try:
        value = json.loads(file.read_text("utf-8"))
        if value["schema"] != SCHEMA:
            raise ValueError(f"its schema is {value['schema']!r}, expected {SCHEMA!r}")
        found = Manifest(
            tuple(map(str, value["inputs"])),
            tuple(map(str, value["outputs"])),
            tuple(_piece(file.parent, each) for each in value["segments"]),
        )
        _check(found)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{file} is no manifest of segments: {said}", hint="edge coral segment writes it"
        ) from error
    return found


def load_chain(
    manifest: str | os.PathLike[str],
    *,
    runtime: str | None = None,
    threads: int = 1,
    delegates: Sequence[Delegates] = (),
) -> Chain:
    """Verify the pieces of a model and make them ready to run.

    Args:
        manifest: NAME-segments.json, with the pieces beside it.
        runtime: As for `edge.runtime.load`.
        threads: Threads of each piece's kernels.
        delegates: Those of each piece, in order: [["edgetpu;device=usb:0"], ["edgetpu;device=usb:1"]]; () for none.

    Raises:
        ModelFileError: The manifest or a piece is damaged, or a piece is not the one it names.
        ModelInputError: The delegates are not those of each piece.
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

    def __init__(self, manifest: Manifest, models: Sequence[Model]) -> None:
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
            InferenceError: A piece failed, or was not done in time; then the chain is of no more use.
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
        """Let the workers of a stream do no more, once, and wait for what they are at."""
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
            raise InferenceError("a piece of the chain was not done in time and may still be at work", hint=_AGAIN)
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


def _piece(folder: Path, value: Mapping[str, Any]) -> Piece:
    name = str(value["file"])
    if Path(name).name != name:
        raise ValueError(f"{name!r} is no file beside it")
    names = [tuple(str(each["name"]) for each in value[side]) for side in ("inputs", "outputs")]
    return Piece(folder / name, str(value["sha256"]), *names)


def _check(manifest: Manifest) -> None:
    known = set(manifest.inputs)
    for piece in manifest.pieces:
        unknown = sorted(set(piece.inputs) - known)
        if unknown:
            raise ValueError(f"{piece.file.name} reads {unknown[0]!r}, which no piece before it writes")
        known.update(piece.outputs)
    if not manifest.pieces or set(manifest.outputs) - known:
        raise ValueError("no piece writes its outputs")
