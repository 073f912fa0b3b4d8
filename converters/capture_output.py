"""Keep the native noise of TensorFlow and absl off the terminal, and at hand for the message when something fails."""

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


class Noise:
    """What native code wrote while it was kept quiet."""

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
def quiet() -> Iterator[Noise]:
    """Send file descriptors 1 and 2 to a temporary file, while Python's sys.stdout and sys.stderr still talk.

    Process-wide while it lasts: what other threads write to the descriptors is captured as well. May be nested.
    """
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        for descriptor in (_STDOUT, _STDERR):
            stack.enter_context(_diverted(descriptor, file))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield Noise(file)


@contextlib.contextmanager
def _diverted(descriptor: int, file: IO[bytes]) -> Iterator[None]:
    name = "stdout" if descriptor == _STDOUT else "stderr"
    stream = getattr(sys, name)
    stream.flush()
    kept = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    spoken: io.TextIOWrapper | None = None
    if _writes_to(stream, descriptor):
        spoken = os.fdopen(os.dup(kept), "w", buffering=1, encoding=stream.encoding, errors=stream.errors)
        setattr(sys, name, spoken)
    try:
        yield
    finally:
        if spoken is not None:
            setattr(sys, name, stream)
            with contextlib.suppress(OSError):
                spoken.close()
        os.dup2(kept, descriptor)
        os.close(kept)


def _writes_to(stream: object, descriptor: int) -> bool:
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False
