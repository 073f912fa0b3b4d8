"""External delegates: shared libraries that take operators over from the runtime."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edge.runtime.errors import DelegateError
from edge.runtime.interpreters import RUNTIMES, attribute_of, first_line

# Names for the libraries people use most; anything else is a path.
KNOWN: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "edgetpu": {"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"},
})  # fmt: skip

_SYMBOLS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


@dataclass(frozen=True)
class Delegate:
    """A delegate's library (a path, or a name that the loader finds) and the options it is given."""

    library: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str | Delegate | Mapping[str, Any]) -> Delegate:
        """Read "LIBRARY;key=value;...", or the mapping that `to_json` wrote.

        Raises:
            DelegateError: An option has no "=", or the value is of another form.
        """
        if isinstance(value, Delegate):
            return value
        if isinstance(value, Mapping):
            return cls._from_json(value)
        library, *words = str(value).split(";")
        pairs = [word.partition("=") for word in words if word]
        wrong = [key for key, equals, _ in pairs if not (key and equals)]
        if wrong or not library:
            raise DelegateError(f"cannot read the delegate {value!r}", hint="write LIBRARY;key=value;key=value")
        return cls(_library(library), {key: text for key, _, text in pairs})

    @classmethod
    def _from_json(cls, value: Mapping[str, Any]) -> Delegate:
        library, options = value.get("library"), value.get("options", {})
        if not isinstance(library, str) or not isinstance(options, Mapping):
            raise DelegateError(f"cannot read the delegate {dict(value)!r}", hint="it has a library and options")
        return cls(_library(library), {str(key): str(text) for key, text in options.items()})

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {"library": self.library, "options": dict(self.options)}


def load_delegates(runtime: str, delegates: Sequence[str | Delegate | Mapping[str, Any]]) -> list[object]:
    """Load the libraries for a runtime.

    Raises:
        DelegateError: A library is missing, is no delegate, or refuses (no device is attached, say).
    """
    return [_load(runtime, Delegate.parse(value)) for value in delegates]


def _load(runtime: str, delegate: Delegate) -> object:
    load = attribute_of(runtime, RUNTIMES[runtime].load_delegate)
    try:
        library = ctypes.CDLL(delegate.library)  # the runtimes' own loaders fail untidily where this fails
        for symbol in _SYMBOLS:
            getattr(library, symbol)
        loaded: object = load(delegate.library, dict(delegate.options))
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        options = "".join(f";{key}={text}" for key, text in delegate.options.items())
        raise DelegateError(
            f"{runtime} cannot load the delegate {delegate.library}{options}: {first_line(error)}",
            hint=f"check that the library is installed and its device attached; known names: {', '.join(KNOWN)}",
        ) from error
    return loaded


def _library(name: str) -> str:
    return KNOWN[name].get(platform.system(), name) if name in KNOWN else name
