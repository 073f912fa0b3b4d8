"""The README is true: its walk works as written, its tables name what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WALK = dict(re.findall(r"<!-- walk: (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL))


@pytest.mark.slow
def test_the_walk_from_keras_to_a_report(tmp_path):
    (tmp_path / "cnn.py").write_text(WALK["cnn.py"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", WALK["sh"]], cwd=tmp_path, env={**os.environ, "PATH": path}, timeout=300,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "digits-fp32.tflite", "digits-fp32.json", "digits-int8.tflite", "digits-int8.json",
        "profile.json", "report.html",
    }  # fmt: skip
    assert "<html" in (tmp_path / "out" / "report.html").read_text()


def test_the_table_of_commands_is_complete():
    named = re.findall(r"^\| `edge ([a-z]+)`", README, re.MULTILINE)
    assert named == list(COMMANDS)


def test_the_exit_codes_are_those_of_the_error_classes():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    used = set()
    for room in ("edge", "converters", "devices"):
        for path in (ROOT / room).rglob("*.py"):
            used |= {int(code) for code in re.findall(r"^    exit_code = (\d+)$", path.read_text(), re.MULTILINE)}
    assert used <= told
    assert told - used == {0, 2, 130}


def test_what_the_readme_shows_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
