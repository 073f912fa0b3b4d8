"""Runs a model file on pictures and arrays: the work of `edge run`.

The file is verified here; native code sees it only in a child process, the agent, so that a crash or a hang there ends
as an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from converters.artifact.sidecar import artifact_of
from devices.local import LocalDevice
from devices.messages.machine_jobs import RuntimeVersion
from devices.messages.model_jobs import InferRequest, ModelSetup
from devices.messages.protocol import decode_array, encode_array
from edge.agent.client import AgentClient, ByteStream
from edge.agent.messages import specs_of
from edge.data.input_arrays import InputReader
from edge.errors import DataError, InputError
from edge.models.labels import imagenet_labels, read_embedded_labels, read_labels
from edge.runtime.delegates import Delegate, explain_crash
from edge.runtime.errors import AgentDeadlineError, CrashedError, ModelInputError
from edge.runtime.model import Guess, top_classes
from edge.runtime.tensor_spec import Array
from edge.runtime.verified_model import VerifiedModel, verify_file

if TYPE_CHECKING:
    from devices.contract import Device

DEADLINE_S = 120.0
MEMORY_SHARE = 0.75
_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """A model and the inputs to run it on.

    Attributes:
        model: The .tflite file; its description is read from the .json file alongside, if there is one.
        sources: Pictures, .npy arrays (one input) or .npz archives (inputs by name).
        top: How many classes to name.
        threads: Threads of the kernels.
        runtime: Name of the TFLite runtime; None takes the first installed.
        labels: "imagenet", a file with one name per line, or None for those of the artifact.
        preprocess: A mode of `Preprocessing.for_mode`; None for that of the artifact or of the model's own scale.
        delegates: External delegates.
        deadline_s: Longest time for loading the model and each group of pictures.
    """

    model: Path
    sources: tuple[Path, ...]
    top: int = 5
    threads: int = 1
    runtime: str | None = None
    labels: str | None = None
    preprocess: str | None = None
    delegates: tuple[Delegate, ...] = ()
    deadline_s: float = DEADLINE_S


@dataclass(frozen=True)
class OutputSummary:
    """The summary of an output that is not a vector of classes; the numbers are None where they are not finite."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    minimum: float | None
    maximum: float | None
    mean: float | None


@dataclass(frozen=True)
class Prediction:
    """The prediction for one source: its best classes, or a summary of its outputs."""

    source: Path
    classes: tuple[Guess, ...] | None
    outputs: tuple[OutputSummary, ...]


@dataclass(frozen=True)
class Inference:
    """All predictions, the runtime that computed them, and notes for the user."""

    model: Path
    runtime: str
    runtime_version: str | None
    preprocessing: str | None
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...]


class InferenceSession(AbstractContextManager["InferenceSession"]):
    """The child process that runs models; started when first needed, and again after it died."""

    def __init__(self, device: Device | None = None) -> None:
        self._device = device or LocalDevice()
        self._agent: AgentClient | None = None
        self.crashes = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process; may be repeated."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.__exit__(None, None, None)

    def infer(
        self, request: InferenceRequest, runs: Sequence[Sequence[Array]]
    ) -> tuple[list[list[Array]], RuntimeVersion]:
        """Run a model on arrays as it stores them.

        Returns:
            The outputs of each run, and the runtime.

        Raises:
            RuntimeFault: The model or an input was refused.
            CrashedError: The child died; the next call starts another.
            AgentDeadlineError: It did not answer in time and was ended; the next call starts another.
        """
        try:
            setup = ModelSetup(
                model=self._device.place(request.model),
                runtime=request.runtime,
                threads=request.threads,
                delegates=specs_of(request.delegates),
            )
            job = InferRequest(setup, inputs=tuple(tuple(map(encode_array, arrays)) for arrays in runs))
            result = self._start().call(job, deadline_s=request.deadline_s)
        except CrashedError as error:
            self.crashes += 1
            self.close()
            raise explain_crash(error, request.delegates) from error
        except AgentDeadlineError:
            self.close()
            raise
        return [[decode_array(value) for value in outputs] for outputs in result.outputs], result.runtime

    def _start(self) -> AgentClient:
        if self._agent is None:
            agent = AgentClient.start(self._open)
            agent.__enter__()
            self._agent = agent
        return self._agent

    def _open(self) -> ByteStream:
        return self._device.open((*_limit_memory(self._device), *self._device.agent_argv()))


def run_inference(request: InferenceRequest, session: InferenceSession) -> Inference:
    """Run a model on pictures and arrays.

    Raises:
        InputError: The model or a source is not there.
        ModelFileError: The model did not pass verification, or its description is of another file.
        ModelInputError: A picture or array does not fit, or it is not known how to scale pixels.
        DataError: A source or the labels cannot be read.
        RuntimeFault: The child process failed, crashed or did not answer.
    """
    _require(request.model)
    verified = verify_file(request.model)
    artifact = artifact_of(request.model)
    reader = InputReader.of(verified, artifact, request.preprocess)
    labels = _labels(request, verified, artifact.labels if artifact else None)
    answers: list[Prediction] = []
    runtime: RuntimeVersion | None = None
    for group in _groups(request.sources, reader):
        outputs, runtime = session.infer(request, [arrays for _, arrays in group])
        pairs = zip((source for source, _ in group), outputs, strict=True)
        answers += [_prediction(source, verified, arrays, (request.top, labels)) for source, arrays in pairs]
    return Inference(
        model=request.model,
        runtime=str(runtime.name if runtime else None),
        runtime_version=runtime.version if runtime else None,
        preprocessing=reader.described,
        predictions=tuple(answers),
        notes=reader.notes,
    )


def _require(model: Path) -> None:
    if not model.is_file():
        names = sorted(path.name for path in model.parent.glob("*.tflite")) if model.parent.is_dir() else []
        near = get_close_matches(model.name, names, n=3) or names[:3]
        hint = f"in {model.parent} there is {', '.join(near)}" if near else "give the path of a .tflite file"
        raise InputError(f"there is no model file {model}", hint=hint)


def _limit_memory(device: Device) -> tuple[str, ...]:
    """Return a command prefix that limits memory, so that a hostile model cannot exhaust this machine's."""
    if device.kind != "local":
        return ()
    limit = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * MEMORY_SHARE) // 1024
    return ("sh", "-c", 'ulimit -d "$0" 2>/dev/null; exec "$@"', str(limit))


def _groups(sources: Sequence[Path], reader: InputReader) -> Iterator[list[tuple[Path, list[Array]]]]:
    """Yield sources with their arrays, in groups of the size of one job."""
    group: list[tuple[Path, list[Array]]] = []
    size = 0
    for source in sources:
        arrays = reader.read(source)
        size += sum(array.nbytes for array in arrays)
        if group and size > _BATCH_BYTES:
            yield group
            group, size = [], sum(array.nbytes for array in arrays)
        group.append((source, arrays))
    if group:
        yield group


def _labels(
    request: InferenceRequest, verified: VerifiedModel, known: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    classes = _classes(verified)
    if request.labels is None:
        return known or (None if classes is None else read_embedded_labels(verified.data, classes))
    if classes is None:
        raise DataError(f"labels were given, but {request.model} does not classify", hint="leave --labels out")
    return (
        imagenet_labels(classes) if request.labels == "imagenet" else read_labels(Path(request.labels), classes=classes)
    )


def _classes(verified: VerifiedModel) -> int | None:
    """Return the number of classes in the first output; None where it is not a vector."""
    shape = [size for size in verified.outputs[0].shape if size not in (1, -1)] if verified.outputs else []
    return shape[0] if len(shape) == 1 else None


def _prediction(
    source: Path, verified: VerifiedModel, arrays: Sequence[Array], naming: tuple[int, tuple[str, ...] | None]
) -> Prediction:
    if len(arrays) != len(verified.outputs):
        raise ModelInputError(f"the runtime gave {len(arrays)} outputs, the file declares {len(verified.outputs)}")
    real = [info.dequantize(array) for info, array in zip(verified.outputs, arrays, strict=True)]
    summaries = tuple(_summary(info.name, array) for info, array in zip(verified.outputs, real, strict=True))
    top, labels = naming
    classes = None
    if _classes(verified) is not None and real[0].size == _classes(verified) and real[0].dtype.kind in "fiu":
        classes = tuple(top_classes(real[0], top_k=top, labels=labels))
    return Prediction(source, classes, summaries)


def _summary(name: str, array: Array) -> OutputSummary:
    numbers: list[float | None] = [None, None, None]
    if array.size and array.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            wide = array.astype(np.float64)
            found = [float(wide.min()), float(wide.max()), float(wide.mean())]
        numbers = [number if np.isfinite(number) else None for number in found]
    return OutputSummary(name, array.shape, array.dtype.name, *numbers)
