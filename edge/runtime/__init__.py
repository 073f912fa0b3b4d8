"""Runs models on a board: one small API over the TFLite runtimes; files are verified before native code reads them.

    from edge.runtime import load

    with load("mobilenet_v2-int8.tflite", threads=4) as model:
        guesses = model.classify(pixels, labels=labels)

Importing this package loads neither NumPy nor a runtime; `load` does.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.artifact.record import ArtifactRecord
    from converters.artifact.sidecar import artifact_of
    from edge.runtime.chain import Chain, load_chain
    from edge.runtime.delegates import Delegate
    from edge.runtime.model import Guess, Model
    from edge.runtime.tensor_spec import TensorSpec
    from edge.runtime.verified_model import VerifiedModel, verify_file

_EXPORTS = {
    "ArtifactRecord": "converters.artifact.record",
    "Chain": "edge.runtime.chain",
    "Delegate": "edge.runtime.delegates",
    "Guess": "edge.runtime.model",
    "Model": "edge.runtime.model",
    "Preprocessing": "converters.artifact.preprocessing",
    "TensorSpec": "edge.runtime.tensor_spec",
    "VerifiedModel": "edge.runtime.verified_model",
    "artifact_of": "converters.artifact.sidecar",
    "load_chain": "edge.runtime.chain",
    "verify_file": "edge.runtime.verified_model",
}
__all__ = [
    "ArtifactRecord",
    "Chain",
    "Delegate",
    "Guess",
    "Model",
    "Preprocessing",
    "TensorSpec",
    "VerifiedModel",
    "artifact_of",
    "load",
    "load_chain",
    "verify_file",
]


def load(
    path: str | os.PathLike[str],
    *,
    runtime: str | None = None,
    threads: int = 1,
    delegates: Sequence[str | Delegate | dict[str, Any]] = (),
) -> Model:
    """Verify a .tflite file and make it ready to run.

    Args:
        path: The model.
        runtime: "ai-edge-litert", "tflite-runtime" or "tf.lite"; None takes the first of these that is installed.
        threads: How many threads the kernels may use.
        delegates: External delegates: a library's path or a known name such as "edgetpu", either with options
            appended ("libedgetpu.so.1;device=usb:0"), or `Delegate` values.

    Raises:
        ModelFileError: The file did not pass verification; native code has not read it.
        RuntimeMissingError: No runtime is installed, or not the requested one.
        DelegateError: A delegate's library could not be loaded.
        InferenceError: The runtime refused the model.
    """
    from edge.runtime.model import load_model

    return load_model(path, runtime=runtime, threads=threads, delegates=delegates)


def __getattr__(name: str) -> object:
    """Import a public name of a submodule when it is first used."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
