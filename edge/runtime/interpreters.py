"""Finds and opens the TFLite runtimes, by name and in order of preference."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from types import MappingProxyType
from typing import Any

from edge.runtime.errors import InferenceError, RuntimeMissingError


@dataclass(frozen=True)
class Source:
    """The origin of a runtime: its distribution, its package, and the attributes of its interpreter and loader."""

    distribution: str
    package: str
    module: str
    interpreter: str
    load_delegate: str
    install: str


RUNTIMES: Mapping[str, Source] = MappingProxyType({
    "ai-edge-litert": Source("ai-edge-litert", "ai_edge_litert", "ai_edge_litert.interpreter", "Interpreter",
                             "load_delegate", "pip install ai-edge-litert"),
    "tflite-runtime": Source("tflite-runtime", "tflite_runtime", "tflite_runtime.interpreter", "Interpreter",
                             "load_delegate",
                             "pip install tflite-runtime==2.14.0 'numpy<2', with Python 3.11 or older"),
    "tf.lite": Source("tensorflow", "tensorflow", "tensorflow", "lite.Interpreter", "lite.experimental.load_delegate",
                      "pip install tensorflow"),
})  # fmt: skip


@dataclass(frozen=True)
class RuntimeInfo:
    """The runtime that runs a model."""

    name: str
    version: str | None


def find_installed() -> tuple[RuntimeInfo, ...]:
    """Return the runtimes that are installed, importing none of them."""
    return tuple(_info(name) for name, source in RUNTIMES.items() if importlib.util.find_spec(source.package))


def choose(name: str | None) -> RuntimeInfo:
    """Return the requested runtime, or the first that is installed.

    Raises:
        RuntimeMissingError: It is unknown or not installed; the message says which are.
    """
    present = {info.name: info for info in find_installed()}
    if name is None and present:
        return next(iter(present.values()))
    if name in present:
        return present[name]
    there = f"installed: {', '.join(present)}" if present else "none is installed"
    if name is None:
        raise RuntimeMissingError(f"no TFLite runtime: {there}", hint=RUNTIMES["ai-edge-litert"].install)
    if name in RUNTIMES:
        raise RuntimeMissingError(f"the runtime {name} is not installed; {there}", hint=RUNTIMES[name].install)
    near = get_close_matches(name, RUNTIMES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(RUNTIMES)}"
    raise RuntimeMissingError(f"there is no runtime {name!r}; {there}", hint=hint)


def open_interpreter(info: RuntimeInfo, data: bytes, *, threads: int, delegates: Sequence[object]) -> Any:  # noqa: ANN401
    """Return a runtime's interpreter of a model in memory, its tensors allocated.

    Raises:
        RuntimeMissingError: The package is there but cannot be imported.
        InferenceError: The runtime refuses the model.
    """
    source = RUNTIMES[info.name]
    make = attribute_of(info.name, source.interpreter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite announces its successor at every use
        try:
            interpreter = make(model_content=data, num_threads=threads, experimental_delegates=list(delegates) or None)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError, TypeError) as error:
            raise InferenceError(
                f"{info.name} {info.version} refuses the model: {first_line(error)}",
                hint="another runtime, or another recipe, may suit this model; `edge inspect` shows its operators",
            ) from error
    return interpreter


def attribute_of(name: str, attribute: str) -> Any:  # noqa: ANN401
    """Import a runtime and return one of its attributes."""
    source = RUNTIMES[name]
    try:
        value: Any = importlib.import_module(source.module)
    except Exception as error:  # an import may fail in any way: a wrong NumPy, a library that is missing
        raise RuntimeMissingError(
            f"the runtime {name} is installed but cannot be imported: {first_line(error)}", hint=source.install
        ) from error
    for part in attribute.split("."):
        value = getattr(value, part)
    return value


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _info(name: str) -> RuntimeInfo:
    try:
        return RuntimeInfo(name, metadata.version(RUNTIMES[name].distribution))
    except metadata.PackageNotFoundError:
        return RuntimeInfo(name, None)
