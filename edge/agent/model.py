"""Loading the model a request names, and the arrays it runs on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edge.agent.request import count, field
from edge.runtime.errors import ModelInvalidError

if TYPE_CHECKING:
    import numpy as np

    from edge.runtime import Model


def load_model(request: dict[str, Any]) -> Model:
    """Load the model a request names; edge.runtime verifies the file first."""
    from edge import runtime

    name = field(request, "runtime", str, None)
    delegates = tuple(field(request, "delegates", list, []))
    path = model_path(request)
    if not hasattr(runtime, "load"):
        from edge.agent.bare import BareModel

        return BareModel(path, count(request, "threads", 1))
    return runtime.load(path, runtime=name, threads=count(request, "threads", 1), delegates=delegates)


def model_path(request: dict[str, Any]) -> str:
    """Return the path of the model a request names, checked to be a file."""
    path = field(request, "model", str)
    if not os.path.isfile(path):  # noqa: PTH113  (a path of this machine as text, for the message)
        raise ModelInvalidError(f"there is no model file {path!r} on this device")
    return path


def plausible_inputs(model: Model, seed: int = 0) -> list[np.ndarray]:
    """Return one array per input that every model can run on.

    Floating point: uniform in [-1, 1). 8-bit: all values. Wider integers and truth values: zeros, since they are
    often indices and another value might be out of their range.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    return [_plausible(generator, tuple(each.shape), np.dtype(each.dtype)) for each in model.inputs]


def _plausible(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    import numpy as np

    if dtype.kind == "f":
        return generator.uniform(-1, 1, shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return np.zeros(shape, dtype)
