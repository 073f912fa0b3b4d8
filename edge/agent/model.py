"""Loading the model a request names, and the arrays it runs on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from converters.errors import ModelFileError
from edge.agent.request import count, field
from edge.runtime.errors import ModelInputError

if TYPE_CHECKING:
    from numpy import generic
    from numpy.typing import NDArray

    from edge.runtime import Model


def load_model(request: dict[str, Any]) -> Model:
    """Load the model a request names; edge.runtime verifies the file first."""
    from edge.runtime import load

    runtime, delegates = field(request, "runtime", str, None), field(request, "delegates", list, [])
    return load(model_path(request), runtime=runtime, threads=count(request, "threads", 1), delegates=delegates)


def model_path(request: dict[str, Any]) -> str:
    """Return the path of the model a request names, checked to be a file."""
    path = field(request, "model", str)
    if not os.path.isfile(path):  # noqa: PTH113  (a path of this machine as text, for the message)
        raise ModelFileError(f"there is no model file {path!r} on this device")
    return path


def plausible_inputs(model: Model) -> list[NDArray[generic]]:
    """Return one array per input that the model can run on; a dimension that is free becomes 1."""
    from edge.runtime.synthetic_inputs import plausible_array

    strings = [each.name for each in model.inputs if each.dtype == "bytes"]
    if strings:
        raise ModelInputError(f"input {strings[0]!r} takes texts", hint="give the inputs with the job")
    shapes = [[1 if size < 0 else size for size in each.shape] for each in model.inputs]
    return [
        plausible_array(shape, each.dtype, seed=index)
        for index, (shape, each) in enumerate(zip(shapes, model.inputs, strict=True))
    ]
