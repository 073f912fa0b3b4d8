"""Checks the Edge TPU's requirements at run time: its delegate, its runtime's version, the system's packages.

Facts about versions that work together are reports of users and the packages' own files, not measurements:
google-coral/pycoral (setup.py, issue 137), google-coral/edgetpu (issues 812, 873), feranick/libedgetpu
(debian/changelog), feranick/TFlite-builds (issue 8).
"""

from __future__ import annotations

import platform
import re
import shlex
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edge.runtime.errors import DelegateError

# What Google's library is called, by `platform.system()` (google-coral/pycoral, pycoral/utils/edgetpu.py).
LIBRARIES = MappingProxyType({"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"})
OS_RELEASE = Path("/etc/os-release")
# `pycoral/utils/edgetpu.py`: the bus, the number of the stick or chip, or both.
_DEVICE = re.compile(r"(usb|pci)(:[0-9]{1,2})?|:[0-9]{1,2}")
_PACKAGE = b"DWN1"
_VERSION = re.compile(r"RuntimeVersion\((\d+)\)")


@dataclass(frozen=True)
class System:
    """The properties that decide which delegate fits: os-release's ID and VERSION_ID, Python's version and bits.

    `id` is "macos" or "windows" on these.
    """

    id: str | None
    version: str | None
    python: tuple[int, int]
    bits: int


def here(os_release: Path = OS_RELEASE) -> System:
    """Return the current system."""
    try:
        text = os_release.read_text("utf-8", "replace")
    except OSError:
        text = ""
    fields = dict(_pair(line) for line in text.splitlines() if "=" in line)
    own = {"Darwin": ("macos", platform.mac_ver()[0]), "Windows": ("windows", platform.release())}
    name, version = own.get(platform.system(), (fields.get("ID"), fields.get("VERSION_ID")))
    major, minor = platform.python_version_tuple()[:2]
    return System(name, version or None, (int(major), int(minor)), sys.maxsize.bit_length() + 1)


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    try:
        words = shlex.split(value)
    except ValueError:
        words = [value]
    return key.strip(), " ".join(words)


def advice(system: System) -> str:
    """Return what to install for the Edge TPU on a system, and how well it is confirmed."""
    python = f"Python {system.python[0]}.{system.python[1]}"
    version = system.version if system.id in ("debian", "raspbian") else None
    if system.bits == 32:
        return (
            f"this is a 32-bit system ({python}): ai-edge-litert has no wheels for it; only old tflite-runtime wheels "
            "with libedgetpu1-std may work; use a 64-bit system"
        )
    if version == "11":
        return (
            f"on Debian 11 (bullseye, {python}): libedgetpu1-std from Google's coral-edgetpu-stable packages, with "
            "tflite-runtime 2.5.0.post1 (Python 3.9; this toolkit's agent needs 3.10, so a newer system is better); "
            "then --delegate edgetpu"
        )
    if version == "12":
        return (
            f"on Debian 12 (bookworm, {python}): libedgetpu1-std of feranick/libedgetpu, the build for your runtime's "
            "TensorFlow version (16.0tf2.17 or newer), with tflite-runtime or ai-edge-litert; Google's own package "
            "crashes with tflite-runtime 2.12 and newer; then --delegate edgetpu"
        )
    if version == "13":
        return (
            f"on Debian 13 (trixie, {python}): unconfirmed: there is no report of libedgetpu with ai-edge-litert on "
            "Python 3.13; try libedgetpu1-std of feranick/libedgetpu, newest build; then --delegate edgetpu; "
            "confirmed is Debian 12 (bookworm)"
        )
    name = " ".join(each for each in (system.id, system.version) if each) or "this system"
    library = LIBRARIES[{"macos": "Darwin", "windows": "Windows"}.get(system.id or "", "Linux")]
    return (
        f"on {name} ({python}) nothing is known to work; confirmed is Debian 12 (bookworm) with libedgetpu1-std of "
        f"feranick/libedgetpu; install it or give the library's path: --delegate /path/to/{library}"
    )


def check_device(text: str) -> str:
    """Return the name of a TPU as libedgetpu understands it: usb, pci, usb:0, pci:1 or :0.

    Raises:
        DelegateError: The text has another form.
    """
    if _DEVICE.fullmatch(text):
        return text
    raise DelegateError(
        f"cannot read the TPU {text!r}", hint="write usb, pci, usb:N, pci:N or :N; numbers count from 0"
    )


def require_delegate(path: Path, custom: Sequence[str], *, has_delegate: bool) -> None:
    """Refuse a compiled model without a delegate: no runtime has its operator.

    Raises:
        DelegateError: The model has the Edge TPU's operator and there is no delegate.
    """
    from converters.tflite.values import EDGE_TPU_OPERATOR  # needs NumPy, which facts of a board must not

    if EDGE_TPU_OPERATOR in custom and not has_delegate:
        raise DelegateError(
            f"{path} was compiled for Google's Edge TPU: its operator {EDGE_TPU_OPERATOR} runs only through the "
            "Edge TPU's delegate, and none was given; the file was not run",
            hint=advice(here()),
        )


def least_runtime(options: bytes) -> int | None:
    """Return the oldest Edge TPU runtime that runs a compiled operator; None where its package does not state it.

    The operator's options hold a flatbuffer with the identifier DWN1, whose first field is this number
    (google-coral/libedgetpu, executable/executable.fbs).
    """
    at = options.find(_PACKAGE) - 4
    if at < 0:
        return None
    try:
        table = at + int(struct.unpack_from("<I", options, at)[0])
        vtable = table - int(struct.unpack_from("<i", options, table)[0])
        if vtable < 0 or struct.unpack_from("<H", options, vtable)[0] < 6:
            return None
        field = int(struct.unpack_from("<H", options, vtable + 4)[0])
        return int(struct.unpack_from("<i", options, table + field)[0]) if field else None
    except struct.error:
        return None


def check_runtime(path: Path, least: int | None, version: str | None) -> None:
    """Refuse a library whose Edge TPU runtime is older than a compiled model requires.

    Raises:
        DelegateError: It is older.
    """
    found = _VERSION.search(version or "")
    if found is not None and least is not None and int(found[1]) < least:
        raise DelegateError(
            f"{path} needs Edge TPU runtime {least} or newer, the delegate's library has {found[1]}",
            hint=f"install a newer libedgetpu1-std, or compile with edgetpu_compiler --min_runtime_version {found[1]}",
        )
