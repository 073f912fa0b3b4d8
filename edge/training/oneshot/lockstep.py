"""Where values wait between two steps: in memory as far as they fit, the rest in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from edge.errors import OutputError
from edge.training.oneshot.layer_program import Values

MEMORY_BYTES = 1 << 29


class SpillStore:
    """Arrays under a name; a context manager that removes its folder at the end.

    Args:
        memory_bytes: what may stay in memory, all names together.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes, self._used = memory_bytes, 0
        self._held: dict[str, Values] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> SpillStore:
        """Start empty."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget everything."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def put(self, name: str, values: Values) -> None:
        """Keep values under a name that is free.

        Raises:
            OutputError: they do not fit into memory, and the temporary folder cannot be written.
        """
        size = sum(array.nbytes for array in values.values())
        if self._used + size <= self._memory_bytes:
            self._held[name] = values
            self._used += size
            return
        try:
            np.savez(self._file(name), **{str(number): array for number, array in values.items()})  # type: ignore[arg-type]
        except OSError as error:
            raise OutputError(
                f"values between layers could not be kept in {tempfile.gettempdir()}: {error.strerror or error}",
                hint="take fewer pictures (--limit), or a larger temporary folder (TMPDIR)",
            ) from error

    def take(self, name: str) -> Values:
        """Return the values of a name, and forget it."""
        if name in self._held:
            values = self._held.pop(name)
            self._used -= sum(array.nbytes for array in values.values())
            return values
        file = self._file(name)
        with np.load(file) as stored:
            read: Mapping[str, np.ndarray] = dict(stored)
        file.unlink()
        return {int(number): array for number, array in read.items()}

    def _file(self, name: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="edge-prune-")
        return Path(self._folder.name) / f"{name}.npz"
