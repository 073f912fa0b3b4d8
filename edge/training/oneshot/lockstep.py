"""Runs two networks side by side and stores their values between steps: in memory, then in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import OutputError
from edge.training.oneshot.layer_program import LayerProgram, Values

MEMORY_BYTES = 1 << 29
ImageBatches = Callable[[], Iterable[NDArray[Any]]]


class SpillStore:
    """Stores arrays by name; a context manager that removes its folder at the end.

    Args:
        memory_bytes: the most that stays in memory, all names together.
        folder: where its temporary folder is made; None: the system's folder for temporary files.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, *, folder: Path | None = None) -> None:
        self._memory_bytes, self._used, self._parent = memory_bytes, 0, folder
        self._in_memory: dict[str, Values] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> SpillStore:
        """Start empty."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop everything."""
        self._in_memory.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def put(self, name: str, values: Values) -> None:
        """Store values under an unused name.

        Raises:
            OutputError: they do not fit into memory, and the temporary folder cannot be written.
        """
        size = sum(array.nbytes for array in values.values())
        if self._used + size <= self._memory_bytes:
            self._in_memory[name] = values
            self._used += size
            return
        try:
            np.savez(self._file(name), **{str(number): array for number, array in values.items()})  # type: ignore[arg-type]
        except OSError as error:
            place = self._parent or tempfile.gettempdir()
            raise OutputError(
                f"values between layers could not be stored in {place}: {error.strerror or error}",
                hint="take fewer images (--limit), or a larger temporary folder (TMPDIR)",
            ) from error

    def take(self, name: str) -> Values:
        """Return the values of a name and drop it."""
        if name in self._in_memory:
            values = self._in_memory.pop(name)
            self._used -= sum(array.nbytes for array in values.values())
            return values
        file = self._file(name)
        with np.load(file) as stored:
            read: Mapping[str, np.ndarray] = dict(stored)
        file.unlink()
        return {int(number): array for number, array in read.items()}

    def _file(self, name: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="edge-prune-", dir=self._parent)
        return Path(self._folder.name) / f"{name}.npz"


class Lockstep:
    """Runs both networks on all images, step by step; values that later steps need are kept in the store."""

    def __init__(self, dense: LayerProgram, pruned: LayerProgram, images: ImageBatches, store: SpillStore) -> None:
        self.dense, self.pruned, self.images = dense, pruned, images
        self._store, self._count, self._at = store, 0, 0

    def begin(self) -> None:
        """Store the images as the first values."""
        for index, x in enumerate(self.images()):
            for name, program in self._both():
                self._store.put(f"{name}-{index}", {program.inputs[0]: x})
            self._count = index + 1

    def go_to(self, number: int, visit: Callable[[Values, Values], None]) -> None:
        """Run both networks up to a step and visit the values there, batch by batch: dense and pruned."""
        for index in range(self._count):
            values = []
            for name, program in self._both():
                values.append(program.run(self._store.take(f"{name}-{index}"), self._at, number))
                self._store.put(f"{name}-{index}", values[-1])
            visit(values[0], values[1])
        self._at = number

    def _both(self) -> tuple[tuple[str, LayerProgram], ...]:
        return ("dense", self.dense), ("pruned", self.pruned)
