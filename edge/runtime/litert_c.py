"""Binds the part of LiteRT's C API that its profiler needs, through ctypes.

The stock wheels carry it as libLiteRt.so; the Python API of the wheel does not reach the profiler. The C API moves
between releases: every symbol is probed for, and versions that were not checked are refused rather than guessed at.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edge.runtime.tensor_spec import plausible_array

DISTRIBUTION = "ai-edge-litert"
# First version whose signatures are those below, and the first one that was not checked.
FIRST_VERSION, FIRST_UNCHECKED = (2, 1, 6), (2, 4, 0)
CPU = 1  # kLiteRtHwAcceleratorCpu
ALIGNMENT_BYTES = 64  # LITERT_HOST_MEMORY_BUFFER_ALIGNMENT
MOST_RANK = 8
# LiteRtElementType, the values of TfLiteType
DTYPES = {
    1: "float32", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64", 9: "int8",
    10: "float16", 11: "float64", 12: "complex128", 13: "uint64", 16: "uint32", 17: "uint16",
}  # fmt: skip
STATUSES = {
    1: "invalid argument", 2: "out of memory", 3: "runtime failure", 5: "unsupported", 6: "not found",
    500: "file could not be read", 501: "not a valid flatbuffer",
}  # fmt: skip
SYMBOLS = (
    "LiteRtCreateEnvironment", "LiteRtDestroyEnvironment", "LiteRtCreateModelFromFile", "LiteRtDestroyModel",
    "LiteRtCreateOptions", "LiteRtDestroyOptions", "LiteRtSetOptionsHardwareAccelerators", "LiteRtCreateOpaqueOptions",
    "LiteRtAddOpaqueOptions", "LiteRtCreateCompiledModel", "LiteRtDestroyCompiledModel",
    "LiteRtCompiledModelGetProfiler", "LiteRtStartProfiler", "LiteRtStopProfiler", "LiteRtResetProfiler",
    "LiteRtGetNumProfilerEvents", "LiteRtGetProfilerEvents", "LiteRtRunCompiledModel", "LiteRtGetModelSignature",
    "LiteRtGetNumSignatureInputs", "LiteRtGetNumSignatureOutputs", "LiteRtGetSignatureInputTensorByIndex",
    "LiteRtGetSignatureOutputTensorByIndex", "LiteRtGetRankedTensorType",
    "LiteRtGetCompiledModelInputBufferRequirements", "LiteRtGetCompiledModelOutputBufferRequirements",
    "LiteRtGetTensorBufferRequirementsBufferSize", "LiteRtCreateTensorBufferFromHostMemory",
    "LiteRtDestroyTensorBuffer",
)  # fmt: skip


class UnavailableError(Exception):
    """The profiler is not available; the text says why. Never leaves this package."""


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * MOST_RANK),
        ("strides", ctypes.c_uint32 * MOST_RANK),
    )


class _RankedType(ctypes.Structure):
    _fields_ = (("element_type", ctypes.c_int), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),
        ("metadata1", ctypes.c_uint64),
        ("metadata2", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


@dataclass(frozen=True)
class Event:
    """One event of the profiler: what, of which type (a bit of TFLite's EventType), for how long, of which node."""

    tag: str
    type: int
    elapsed_us: int
    node: int


# Destroys nothing: the payloads of options are this module's own.
_KEEP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda payload: None)


class Session:
    """A compiled model with its profiler and buffers."""

    def __init__(self, call: Callable[..., None], compiled: ctypes.c_void_p, buffers: tuple[Any, Any]) -> None:
        self._call = call
        sides = [part for each in buffers for part in (ctypes.c_size_t(len(each)), each)]
        self._run: tuple[Any, ...] = (compiled, ctypes.c_size_t(0), *sides)
        self._profiler = ctypes.c_void_p()
        call("LiteRtCompiledModelGetProfiler", compiled, ctypes.byref(self._profiler))
        if not self._profiler:
            raise UnavailableError("the runtime gave no profiler")

    def run(self) -> None:
        """Run one inference."""
        self._call("LiteRtRunCompiledModel", *self._run)

    def run_profiled(self) -> list[Event]:
        """Run one inference and return its events in their order."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 0))()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return [
            Event((each.tag or b"").decode("utf-8", "replace"), each.type, each.elapsed_us, each.metadata1)
            for each in events
        ]


def runtime_version() -> str:
    """Return the installed version of LiteRT.

    Raises:
        UnavailableError: None is installed, or one whose C API was not checked.
    """
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise UnavailableError(f"{DISTRIBUTION} is not installed; no other runtime has the profiler") from None
    numbers = tuple(int(each) for each in re.findall(r"\d+", version)[:3])
    if not FIRST_VERSION <= numbers < FIRST_UNCHECKED:
        checked = f"{'.'.join(map(str, FIRST_VERSION))} up to, not including, {'.'.join(map(str, FIRST_UNCHECKED))}"
        raise UnavailableError(f"{DISTRIBUTION} {version} is installed; checked are {checked}")
    return version


@contextmanager
def open_session(path: str | os.PathLike[str], *, threads: int) -> Iterator[Session]:
    """Compile a model for the CPU with profiling on, its inputs filled; free every handle at the end.

    Raises:
        UnavailableError: The runtime lacks the API or refuses the model.
    """
    call = _bind(_library())
    with ExitStack() as handles:

        def create(kind: str, *arguments: Any, destroy: str | None = None) -> ctypes.c_void_p:  # noqa: ANN401
            handle = ctypes.c_void_p()
            call(f"LiteRtCreate{kind}", *arguments, ctypes.byref(handle))
            if destroy:
                handles.callback(call, f"LiteRtDestroy{destroy}", handle)
            return handle

        environment = create("Environment", ctypes.c_int(0), None, destroy="Environment")
        model = create("ModelFromFile", environment, os.fsencode(path), destroy="Model")
        options = create("Options", destroy="Options")
        call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(CPU))
        payloads = [
            (b"runtime_options_string", ctypes.create_string_buffer(b"enable_profiling = true\n")),
            (b"xnnpack", ctypes.create_string_buffer(b"num_threads = %d\n" % threads)),
        ]
        for identifier, payload in payloads:
            call("LiteRtAddOpaqueOptions", options, create("OpaqueOptions", identifier, payload, _KEEP))
        compiled = create("CompiledModel", environment, model, options, destroy="CompiledModel")
        memory: list[Any] = []
        buffers = tuple(_buffers(call, create, model, compiled, side, memory) for side in ("Input", "Output"))
        yield Session(call, compiled, (buffers[0], buffers[1]))
        del memory[:], payloads[:]


def _buffers(
    call: Callable[..., None],
    create: Callable[..., ctypes.c_void_p],
    model: ctypes.c_void_p,
    compiled: ctypes.c_void_p,
    side: str,
    memory: list[Any],
) -> Any:  # noqa: ANN401
    """Return the buffers of one side as a C array; what they point to is kept in `memory`."""
    signature, count = ctypes.c_void_p(), ctypes.c_size_t()
    call("LiteRtGetModelSignature", model, ctypes.c_size_t(0), ctypes.byref(signature))
    call(f"LiteRtGetNumSignature{side}s", signature, ctypes.byref(count))
    handles = []
    for index in range(count.value):
        tensor, needs, size = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
        ranked = _RankedType()
        call(f"LiteRtGetSignature{side}TensorByIndex", signature, ctypes.c_size_t(index), ctypes.byref(tensor))
        call("LiteRtGetRankedTensorType", tensor, ctypes.byref(ranked))
        shape, dtype = _shape_and_dtype(ranked, f"{side.lower()} {index}")
        where = (compiled, ctypes.c_size_t(0), ctypes.c_size_t(index), ctypes.byref(needs))
        call(f"LiteRtGetCompiledModel{side}BufferRequirements", *where)
        call("LiteRtGetTensorBufferRequirementsBufferSize", needs, ctypes.byref(size))
        values = plausible_array(shape, dtype, seed=index)
        array = _allocate_aligned(max(size.value, values.nbytes))
        array[: values.nbytes] = np.frombuffer(values.tobytes(), np.uint8)
        memory.append(array)
        begin = ctypes.c_void_p(array.ctypes.data)
        arguments = (ctypes.byref(ranked), begin, ctypes.c_size_t(array.nbytes), None)
        handles.append(create("TensorBufferFromHostMemory", *arguments, destroy="TensorBuffer"))
    return (ctypes.c_void_p * len(handles))(*handles)


def _shape_and_dtype(ranked: _RankedType, what: str) -> tuple[list[int], str]:
    layout = ranked.layout
    shape = list(layout.dimensions[: min(layout.rank, MOST_RANK)])
    if layout.rank > MOST_RANK or any(size < 0 for size in shape):
        raise UnavailableError(f"{what} of the model has the dynamic shape {shape}")
    if ranked.element_type not in DTYPES:
        raise UnavailableError(f"{what} of the model has an element type ({ranked.element_type}) it cannot be given")
    return shape, DTYPES[ranked.element_type]


def _allocate_aligned(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    raw = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
    begin = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[begin : begin + size]


def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("ai_edge_litert")
    folders = found.submodule_search_locations if found else None
    path = Path(next(iter(folders or [""]))) / "libLiteRt.so"
    if not path.is_file():
        raise UnavailableError("the installed runtime has no libLiteRt.so")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"libLiteRt.so does not load: {error}") from error
    lacking = [name for name in SYMBOLS if not hasattr(library, name)]
    if lacking:
        raise UnavailableError(f"libLiteRt.so lacks {', '.join(lacking)}")
    return library


def _bind(library: ctypes.CDLL) -> Callable[..., None]:
    """Return a function that calls one of the library's by name and makes a status other than 0 an error."""

    def call(name: str, *arguments: Any) -> None:  # noqa: ANN401
        function = getattr(library, name)
        function.restype = None if name.startswith("LiteRtDestroy") else ctypes.c_int
        status = function(*arguments)
        if status:
            raise UnavailableError(f"{name} answered {STATUSES.get(status, 'an error')} (status {status})")

    return call
