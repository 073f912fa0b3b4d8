"""The job `infer`: run a model on given arrays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edge.agent import sysfs
from edge.agent.model import load_model, model_path
from edge.agent.protocol import decode_array, encode_array
from edge.agent.request import field
from edge.runtime.errors import ModelInputError

if TYPE_CHECKING:
    from edge.runtime import Model

_loaded: tuple[tuple[object, ...], Model] | None = None


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Answer with the outputs of each run; progress after each."""
    runs = field(request, "inputs", list)
    if not all(isinstance(each, list) for each in runs):
        raise ModelInputError("the job 'infer' wants 'inputs' as a list of runs, each a list of arrays")
    model = loaded(request)
    outputs = []
    for done, arrays in enumerate(runs, 1):
        outputs.append([encode_array(each) for each in model.run(*(decode_array(each) for each in arrays))])
        progress(stage="run", done=done, of=len(runs))
    return {
        "outputs": outputs,
        "runtime": {"name": model.runtime.name, "version": model.runtime.version},
        "peak_rss_bytes": sysfs.peak_rss_bytes(),
    }


def loaded(request: dict[str, Any]) -> Model:
    """Load the model a request names, or take the one of the job before if nothing about it changed."""
    global _loaded
    status = os.stat(model_path(request))  # noqa: PTH116
    identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    asked = (*identity, *(repr(request.get(name)) for name in ("model", "runtime", "threads", "delegates")))
    if _loaded is None or _loaded[0] != asked:
        _loaded = None  # free the memory of the one before first
        _loaded = (asked, load_model(request))
    return _loaded[1]
