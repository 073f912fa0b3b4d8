"""Captures what the native code of TensorFlow and absl prints, for the error message when something fails."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO

_STDOUT, _STDERR = 1, 2
_TAIL_LINES = 12


class CapturedOutput:
    """The output of native code so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def text(self) -> str:
        """Return everything captured so far."""
        sys.stdout.flush()
        return os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0).decode(errors="replace")

    def tail(self) -> str:
        """Return the last lines, for an error message."""
        return "\n".join(self.text().splitlines()[-_TAIL_LINES:])


@contextlib.contextmanager
def capture_output() -> Iterator[CapturedOutput]:
    """Send file descriptors 1 and 2 to a temporary file, while Python's sys.stdout and sys.stderr still reach the user.

    Process-wide: output of other threads to the descriptors is captured as well. May be nested.
    """
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        for descriptor in (_STDOUT, _STDERR):
            stack.enter_context(_redirect(descriptor, file))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield CapturedOutput(file)


@contextlib.contextmanager
def _redirect(descriptor: int, file: IO[bytes]) -> Iterator[None]:
    name = "stdout" if descriptor == _STDOUT else "stderr"
    stream = getattr(sys, name)
    stream.flush()
    original = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    replacement: io.TextIOWrapper | None = None
    if _writes_to(stream, descriptor):
        replacement = os.fdopen(os.dup(original), "w", buffering=1, encoding=stream.encoding, errors=stream.errors)
        setattr(sys, name, replacement)
    try:
        yield
    finally:
        if replacement is not None:
            setattr(sys, name, stream)
            with contextlib.suppress(OSError):
                replacement.close()
        os.dup2(original, descriptor)
        os.close(original)


def _writes_to(stream: object, descriptor: int) -> bool:
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False
