"""What every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
