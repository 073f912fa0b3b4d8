"""`edge report` as a process: what it prints, writes and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REAL = Path(__file__).parent.parent / "measure" / "data" / "mobilenet_v1_0.25_128_quant.json"


def edge(*arguments, cwd, code=0):
    command = [sys.executable, "-m", "edge", "report", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_a_page_by_default(tmp_path):
    done = edge(REAL, cwd=tmp_path)
    assert done.stdout.startswith("report.html (")
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "mobilenet_v1_0.25_128_quant" in text


def test_what_was_written_fits_a_terminal(tmp_path):
    path, headline = edge(REAL, "--out", "a-report-with-a-longer-name.md", cwd=tmp_path).stdout.splitlines()
    assert path.startswith("a-report-with-a-longer-name.md (")
    assert headline.strip().startswith("INVALID: the measurement")


def test_json_says_what_was_written(tmp_path):
    done = edge(REAL, "--out", "r.md", "--title", "Tuesday", "--json", cwd=tmp_path)
    said = json.loads(done.stdout)
    text = (tmp_path / "r.md").read_text()
    assert said["format"] == "md"
    assert said["bytes"] == len(text.encode())
    assert said["measurements"] == 1
    assert text.startswith("# Tuesday\n")


def test_format_beats_suffix(tmp_path):
    edge(REAL, "--out", "r.txt", "--format", "json", cwd=tmp_path)
    assert json.loads((tmp_path / "r.txt").read_text())["schema"] == "edge-report/1"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.json"], 3, ["none.json", "No such file", "edge profile"]),
        (["text.json"], 3, ["text.json is not JSON", "hint:"]),
        (["empty.json"], 3, ["empty list", "hint:"]),
        (["other.json"], 3, ["edge-other/1", "edge-measurement/1"]),
        ([str(REAL), "--out", "r.pdf"], 3, [".html", ".md", "--format"]),
        ([str(REAL), "--out", "text.json/r.html"], 13, ["could not write", "hint:"]),
        ([str(REAL), "--format", "pdf"], 2, ["html", "md", "json"]),
        ([], 2, ["RESULT.json"]),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, arguments, code, words):
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "other.json").write_text('{"schema": "edge-other/1"}')
    done = edge(*arguments, cwd=tmp_path, code=code)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty.json", "other.json", "text.json"]


def test_nothing_heavy_is_imported(tmp_path):
    code = (
        "import sys; from edge.cli.main import run\n"
        f"assert run(['report', {str(REAL)!r}, '--out', 'r.md']) == 0\n"
        "heavy = {'tensorflow', 'keras', 'vl_convert', 'jinja2', 'ai_edge_litert'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
