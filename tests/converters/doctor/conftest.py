"""The zoo's files, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sparse_zoo import ZOO, write

from converters.modelfile import read_model
from converters.modelvalues import ModelInfo
from converters.quiet import quiet


@pytest.fixture(scope="session")
def zoo_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every network of the zoo as a .tflite file, by name."""
    folder = tmp_path_factory.mktemp("zoo")
    with quiet():
        return {name: write(name, folder) for name in ZOO}


@pytest.fixture(scope="session")
def zoo_models(zoo_files: dict[str, Path]) -> dict[str, ModelInfo]:
    """The same, read."""
    return {name: read_model(path) for name, path in zoo_files.items()}


@pytest.fixture
def model_of(zoo_models: dict[str, ModelInfo]) -> Callable[[str], ModelInfo]:
    """Look up one by name."""
    return zoo_models.__getitem__
