"""What every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_models import converted  # noqa: F401  (a fixture)

from converters.artifact.preprocessing import Preprocessing

ROOT = Path(__file__).resolve().parent.parent
# In CI a part that is missing is a failure; elsewhere the test that needs it skips and names it.
PARTS_REQUIRED = os.environ.get("EDGE_REQUIRE_PARTS") == "1"


def missing(what: str, how: str) -> None:
    """Skip the test, naming what it needs; fail it where all parts are required."""
    text = f"needs {what}: {how}"
    if PARTS_REQUIRED:
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and pictures beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        missing("real models and pictures", f"the folder {folder} (not part of the project)")
    return folder


@pytest.fixture(scope="session")
def require_part():
    """The function `missing(what, how)` for fixtures and tests of the rooms."""
    return missing


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted (faults survived, mutants refused): worker processes swallow their own output."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "counted" and report.when == "call":
                terminalreporter.write_line(f"counted by {report.nodeid.rpartition('::')[2]}: {value}")


@pytest.fixture
def tiny():
    """The preprocessing of a model with 8x8 colour inputs."""
    return Preprocessing.for_mode("tf", 8, 8, 3)


@pytest.fixture
def save_image():
    """A function that writes a one-coloured image and returns its path."""

    def save(path, color=(10, 200, 90), size=(8, 8), mode="RGB", **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, color).save(path, **options)
        return path

    return save


@pytest.fixture
def class_folders(tmp_path, save_image):
    """A folder of two classes: 12 bright and 6 dark images."""
    folder = tmp_path / "classes"
    for index in range(12):
        save_image(folder / "bright" / f"{index:02}.png", (200 + index, 210, 220))
    for index in range(6):
        save_image(folder / "dark" / f"{index:02}.jpg", (10 + index, 20, 30))
    return folder


@pytest.fixture
def noise():
    """A function giving uint8 noise of a shape."""
    return lambda *shape: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
