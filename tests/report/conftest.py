"""Material for reports, and a browser to open them in."""

from __future__ import annotations

import shutil

import pytest
from chromium_pipe import Browser
from sample_measurements import variants

from edge.measure.measurement_files import save_measurements
from edge.report.material import Material, read_material


@pytest.fixture
def material(tmp_path) -> Material:
    """The five variants as read from a file."""
    save_measurements(tmp_path / "five.json", variants())
    return read_material([tmp_path / "five.json"])


@pytest.fixture(scope="session")
def browser(require_part):
    """A headless Chromium for all tests of the session; each opens tabs of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        require_part("a Chromium browser", "apt-get install chromium")
    with Browser(program) as running:
        yield running
