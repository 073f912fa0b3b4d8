"""The zoo's files, made once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sparse_zoo import ZOO, write

from converters.capture_output import capture_output
from converters.tflite.reader import read_model
from converters.tflite.values import ModelInfo


@pytest.fixture(scope="session")
def zoo_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every network of the zoo as a .tflite file, by name; workers of one test run share the work and the files."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if worker else base) / "zoo"
    folder.mkdir(exist_ok=True)
    names = sorted(ZOO, reverse=worker.endswith(("1", "3", "5", "7", "9")))
    with capture_output():
        return {name: _written_once(name, folder) for name in names}


def _written_once(name: str, folder: Path) -> Path:
    path = folder / f"{name}.tflite"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return path if path.exists() else write(name, folder)


@pytest.fixture(scope="session")
def zoo_models(zoo_files: dict[str, Path]) -> dict[str, ModelInfo]:
    """The same, read."""
    return {name: read_model(path) for name, path in zoo_files.items()}


@pytest.fixture
def model_of(zoo_models: dict[str, ModelInfo]) -> Callable[[str], ModelInfo]:
    """Look up one by name."""
    return zoo_models.__getitem__
