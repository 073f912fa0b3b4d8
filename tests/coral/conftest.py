"""A delegate library for the tests, built from C: real loading, real options, real failures; no accelerator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("stand_in.c")


@pytest.fixture(scope="session")
def build_delegate(tmp_path_factory, require_part):
    """A function that builds the stand-in with given definitions and returns the library's path."""
    folder = tmp_path_factory.mktemp("delegates")

    def build(*definitions: str, name: str = "stand_in") -> Path:
        library = folder / f"lib{name}.so"
        command = ["gcc", "-O1", "-shared", "-fPIC", *(f"-D{each}" for each in definitions), "-o", library, SOURCE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            require_part("a C compiler", "apt install gcc")
        return library

    return build


@pytest.fixture(scope="session")
def stand_in(build_delegate) -> str:
    """The path of a delegate library that claims the Edge TPU's operator and fills its outputs."""
    return str(build_delegate())


@pytest.fixture(scope="session")
def pairs(shared_data) -> Path:
    """Models beside what the Edge TPU compiler made of them."""
    return shared_data / "edgetpu_pairs"
