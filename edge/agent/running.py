"""Loads the model that a request names and runs it: the jobs `infer` and `kernels`, and parts that other jobs share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from converters.errors import ModelFileError
from devices.messages.machine_jobs import RuntimeVersion
from devices.messages.model_jobs import InferRequest, InferResult, ModelSetup
from devices.messages.protocol import EncodedArray, Progress, ProtocolError, decode_array, encode_array
from edge.agent import sysfs
from edge.agent.messages import KernelsRequest, KernelsResult
from edge.runtime.delegates import Delegate
from edge.runtime.errors import ModelInputError, RuntimeFault

if TYPE_CHECKING:
    from numpy import generic
    from numpy.typing import NDArray

    from edge.runtime import Model

_last: tuple[tuple[object, ...], Model] | None = None


def infer(request: InferRequest, progress: Progress) -> InferResult:
    """Run the model on each group of arrays; progress after each."""
    model = reuse_model(request.setup)
    outputs = []
    for done, arrays in enumerate(request.inputs, 1):
        outputs.append(tuple(map(encode_array, model.run(*decode_inputs(arrays)))))
        progress("run", done=done, of=len(request.inputs))
    return InferResult(tuple(outputs), runtime_of(model), sysfs.peak_rss_bytes())


def profile_kernels(request: KernelsRequest, progress: Progress) -> KernelsResult:
    """Return the kernel profile, or why there is none."""
    from edge.runtime import kernels

    path = find_model(request.setup.model)
    with pin_processors(request.setup.cpus):
        found = kernels.profile_kernels(path, threads=request.setup.threads, runs=request.runs)
    return KernelsResult(None, found.reason) if isinstance(found, kernels.Unavailable) else KernelsResult(found)


def load_model(setup: ModelSetup) -> Model:
    """Load the model of a request; edge.runtime verifies the file first."""
    from edge.runtime import load

    delegates = [Delegate(each.library, each.options) for each in setup.delegates]
    return load(find_model(setup.model), runtime=setup.runtime, threads=setup.threads, delegates=delegates)


def reuse_model(setup: ModelSetup) -> Model:
    """Load the model of a request, or take the one of the job before if neither the file nor the setup has changed."""
    global _last
    status = os.stat(find_model(setup.model))  # noqa: PTH116
    wanted = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, repr(setup))
    if _last is None or _last[0] != wanted:
        _last = None  # free the memory of the one before first
        _last = (wanted, load_model(setup))
    return _last[1]


def find_model(path: str) -> str:
    """Return the path, checked to be a file."""
    if not os.path.isfile(path):  # noqa: PTH113  (a path of this machine as text, for the message)
        raise ModelFileError(f"there is no model file {path!r} on this device")
    return path


def runtime_of(model: Model) -> RuntimeVersion:
    """Return the runtime that runs a model."""
    return RuntimeVersion(model.runtime.name, model.runtime.version)


def decode_inputs(arrays: Iterable[EncodedArray]) -> list[NDArray[generic]]:
    """Return the arrays that a request carries.

    Raises:
        ModelInputError: One of them is not an encoded array.
    """
    try:
        return [decode_array(each) for each in arrays]
    except ProtocolError as error:
        raise ModelInputError(str(error)) from error


def plausible_inputs(model: Model) -> list[NDArray[generic]]:
    """Return one array per input that the model can run on; a dimension that is free becomes 1."""
    from edge.runtime.tensor_spec import plausible_array

    strings = [each.name for each in model.inputs if each.dtype == "bytes"]
    if strings:
        raise ModelInputError(f"input {strings[0]!r} takes strings", hint="give the inputs with the job")
    shapes = [[1 if size < 0 else size for size in each.shape] for each in model.inputs]
    return [
        plausible_array(shape, each.dtype, seed=index)
        for index, (shape, each) in enumerate(zip(shapes, model.inputs, strict=True))
    ]


@contextmanager
def pin_processors(cpus: tuple[int, ...] | None) -> Iterator[None]:
    """Run only on these processors, if any are named; threads that start meanwhile inherit it.

    Raises:
        RuntimeFault: This process may not use one of them.
    """
    if cpus is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    if not cpus or not allowed.issuperset(cpus):
        raise RuntimeFault(
            f"asked for processors {list(cpus)}, this process may use {sorted(allowed)}",
            hint="name processors it may use",
        )
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
