"""Classifies functions of a runtime's library as kernels by their symbols.

XNNPACK names its microkernels TYPES_OPERATION[_ACTIVATION]_ukernel_TILE__INSTRUCTIONS, for example
xnn_f32_gemm_minmax_ukernel_7x8__asm_aarch64_neonfma_ld128 (XNNPACK, doc/microkernel-naming-conventions.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OTHER = "other functions"
# The family of XNNPACK's sparse matrix products; instructions in it prove that a sparse kernel ran.
SPARSE = "spmm"
XNNPACK_REST, THREADS, PYTHON, LIBRARIES = "XNNPACK, around its kernels", "thread pool", "Python", "system libraries"
_TYPE = re.compile(r"x?[a-z]{1,2}\d{1,2}[a-z]?|xx")  # f32, qs8, qc8w, x32, xx: number types, not operations
_ACTIVATIONS = {"minmax", "relu", "linear", "fp32", "rndnu", "rndnu16", "magic"}
_NAMED = re.compile(r"(\d+)(\w+)")


@dataclass(frozen=True)
class Role:
    """A function's readable name, and its family: the operation, without number type and tile."""

    name: str
    family: str


def role_of(file: str, symbol: str) -> Role:
    """Classify a function by its file and its symbol."""
    if file.startswith("python"):
        return Role(PYTHON, PYTHON)
    if not _is_runtime(file):
        return Role(file, LIBRARIES)
    if symbol.startswith("xnn_"):
        return Role(symbol, _operation(symbol) or XNNPACK_REST)
    if symbol.startswith("pthreadpool_"):
        return Role(symbol, THREADS)
    name = demangled(symbol)
    return Role(name, name.partition("::")[0] if "::" in name else file)


def demangled(symbol: str) -> str:
    """Return the qualified name of a C++ symbol without its template's and its own arguments; others as they are.

    Only the leading names of the Itanium C++ ABI's mangling (section 5.1) are read: enough to distinguish functions.
    """
    head = re.match(r"_ZN?[KL]*", symbol)
    if head is None or not symbol.startswith("_Z"):
        return symbol
    names, rest = [], symbol[head.end() :]
    while found := _NAMED.match(rest):
        size, text = int(found[1]), found[2]
        names.append("(anonymous)" if text.startswith("_GLOBAL__N_") else text[:size])
        rest = text[size:]
    return "::".join(names) or symbol


def _operation(symbol: str) -> str | None:
    before, ukernel, _ = symbol.partition("_ukernel")
    if not ukernel:
        return None
    words = [word for word in before.removeprefix("xnn_").split("_") if word not in _ACTIVATIONS]
    return "_".join(word for word in words if not _TYPE.fullmatch(word)) or "_".join(words)


def _is_runtime(file: str) -> bool:
    return any(word in file for word in ("litert", "LiteRt", "tensorflow", "tflite"))
