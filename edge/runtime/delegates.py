"""Loads external delegates: shared libraries that take operators over from the runtime."""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edge.runtime import coral
from edge.runtime.coral_state import coral_state
from edge.runtime.errors import CrashedError, DelegateError
from edge.runtime.interpreters import RUNTIMES, attribute_of, first_line

# Names for the libraries people use most, by the system that loads them; anything else is a path.
KNOWN: Mapping[str, Mapping[str, str]] = MappingProxyType({"edgetpu": coral.LIBRARIES})

_SYMBOLS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
_PREFIX = "Failed to load delegate from"  # what the runtimes' loaders put before the library's own words


@dataclass(frozen=True)
class Delegate:
    """A delegate's library (a path, a name that the loader finds, or a known name) and its options.

    A known name is resolved when the library is loaded, which may be on a board with another system.
    """

    library: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.library + "".join(f";{key}={text}" for key, text in self.options.items())

    @property
    def is_edgetpu(self) -> bool:
        """Whether the library has the name of Google's."""
        return "edgetpu" in re.split(r"[/\\]", self.library)[-1]

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
        return cls(library, {key: text for key, _, text in pairs})

    @classmethod
    def _from_json(cls, value: Mapping[str, Any]) -> Delegate:
        library, options = value.get("library"), value.get("options", {})
        if not isinstance(library, str) or not isinstance(options, Mapping):
            raise DelegateError(f"cannot read the delegate {dict(value)!r}", hint="it has a library and options")
        return cls(library, {str(key): str(text) for key, text in options.items()})

    def here(self) -> Delegate:
        """Return it with a known name resolved to the library's name on the current system."""
        names = KNOWN.get(self.library, {})
        return Delegate(names.get(platform.system(), self.library), self.options)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {"library": self.library, "options": dict(self.options)}


@dataclass(frozen=True)
class Loaded:
    """A delegate that a runtime has loaded; `edgetpu_version` is the version string of Google's library, else None."""

    delegate: Delegate
    handle: object
    edgetpu_version: str | None


def load_delegates(runtime: str, delegates: Sequence[str | Delegate | Mapping[str, Any]]) -> list[Loaded]:
    """Load the libraries for a runtime.

    Raises:
        DelegateError: A library is missing, is no delegate, or refuses (for example, no device is attached).
    """
    return [_load(runtime, Delegate.parse(value).here()) for value in delegates]


def with_options(
    delegates: Sequence[Delegate], options: Mapping[str, str], *, tpu: str | None = None
) -> tuple[Delegate, ...]:
    """Return delegates with further options and, for Google's, the TPU to use.

    Args:
        delegates: As given; a TPU without a delegate stands for Google's.
        options: For the one delegate there is.
        tpu: A TPU's name, such as usb:0; None leaves the choice to the library.

    Raises:
        DelegateError: There is not exactly one delegate for the options, or the TPU's name is invalid.
    """
    more = dict(options)
    if tpu is not None:
        more["device"] = coral.check_device(tpu)
        delegates = delegates or (Delegate.parse("edgetpu"),)
    if not more:
        return tuple(delegates)
    if len(delegates) != 1:
        raise DelegateError(
            f"options were given for one delegate, there are {len(delegates)}",
            hint="append the options to each one: --delegate 'LIBRARY;key=value'",
        )
    return (Delegate(delegates[0].library, {**delegates[0].options, **more}),)


def explain_crash(error: CrashedError, delegates: Sequence[Delegate]) -> CrashedError:
    """Return the error of a process that died with delegates loaded, with the usual cause."""
    if not delegates:
        return error
    said = f" {error.hint}" if error.hint else ""
    return CrashedError(
        f"{error}, with the delegate {', '.join(map(str, delegates))} loaded",
        hint="a delegate's library and the runtime must be built for the same TensorFlow version: libedgetpu "
        f"16.0tf2.17 goes with tflite-runtime 2.17.{said}",
    )


def _load(runtime: str, delegate: Delegate) -> Loaded:
    load = attribute_of(runtime, RUNTIMES[runtime].load_delegate)
    try:
        library = ctypes.CDLL(delegate.library)  # the runtimes' own loaders fail untidily where this fails
    except OSError as error:
        raise _refuse(runtime, delegate, first_line(error), _hint_missing(delegate, str(error))) from error
    absent = [symbol for symbol in _SYMBOLS if not hasattr(library, symbol)]
    if absent:
        hint = "the library is no TFLite external delegate, or one of another generation; give another path"
        raise _refuse(runtime, delegate, f"it lacks the entry point {', '.join(absent)}", hint)
    try:
        handle: object = load(delegate.library, dict(delegate.options))
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        said = _own_words(error)
        raise _refuse(runtime, delegate, said or "it gave no reason", _hint_refused(delegate)) from error
    return Loaded(delegate, handle, _edgetpu_version(library))


def _refuse(runtime: str, delegate: Delegate, why: str, hint: str) -> DelegateError:
    return DelegateError(f"{runtime} cannot load the delegate {delegate}: {why}", hint=hint)


def _own_words(error: BaseException) -> str:
    """Return the library's own message, without the line that the loaders put before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " / ".join(line for line in lines if not line.startswith(_PREFIX))


def _edgetpu_version(library: ctypes.CDLL) -> str | None:
    if not hasattr(library, "edgetpu_version"):
        return None
    library.edgetpu_version.argtypes, library.edgetpu_version.restype = [], ctypes.c_char_p
    version: bytes | None = library.edgetpu_version()
    return None if version is None else version.decode("utf-8", "replace")


def _hint_missing(delegate: Delegate, said: str) -> str:
    if any(words in said for words in ("wrong ELF class", "invalid ELF header", "file too short")):
        return f"the library is built for another processor than this {platform.machine()}, or is no library"
    if delegate.is_edgetpu:
        return coral.advice(coral.here())
    return f"check the path on the device that runs the model; known names: {', '.join(KNOWN)}"


def _hint_refused(delegate: Delegate) -> str:
    if not delegate.is_edgetpu:
        return "the library was found and refused: check its options and that its device is attached"
    state = coral_state()
    found = [*state["usb"], *state["pci"]]
    if not found and not state["nodes"]:
        return "no Edge TPU is attached: USB has neither 1a6e:089a nor 18d1:9302, PCIe no 1ac1:089a"
    closed = [each for each in found if not each["is_open"]]
    if closed:
        first = closed[0]
        where = first["node"] or f"{first['name']} (it has no driver)"
        return f"the Edge TPU {where} may not be opened (group {first['group']}): `edge devices scan` shows the fix"
    return "an Edge TPU is attached and may be opened: is another process using it, or --tpu naming another one?"
