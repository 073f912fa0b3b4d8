"""`edge devices` as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EDGE = str(Path(sys.executable).with_name("edge"))


def edge(*arguments: str, **environment: str):
    """Run `edge devices` with these arguments."""
    return subprocess.run(
        [EDGE, "devices", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "EDGE_CONFIG_DIR": "/nonexistent", **environment},
    )


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_list(arguments):
    text = edge(*arguments)
    assert (text.returncode, text.stderr) == (0, "")
    rows = text.stdout.splitlines()
    assert [row.split()[:2] for row in rows[:3]] == [["NAME", "KIND"], ["local", "local"], ["emulated-pi3", "emulated"]]
    assert max(map(len, rows)) <= 80
    told = json.loads(edge(*arguments, "--json").stdout)
    assert told[0] == {"name": "local", "kind": "local", "about": "this machine"}
    assert {each["name"] for each in told if each["kind"] == "emulated"} == {
        "emulated-pi3", "emulated-pi4", "emulated-pi5", "emulated-zero2w",
    }  # fmt: skip


def test_info_is_readable_in_80_columns():
    done = edge("info", "local")
    assert (done.returncode, done.stderr) == (0, "")
    rows = done.stdout.splitlines()
    assert max(map(len, rows)) <= 80
    assert rows[0] == "device        local (local)"
    assert any(row.startswith("runtimes      ") and "none" not in row for row in rows)


def test_info_as_json():
    done = edge("info", "local", "--json")
    facts = json.loads(done.stdout)
    assert facts["cpu"]["cores"] == os.cpu_count()
    assert facts["python"]["version"] == sys.version.split()[0]
    assert set(facts["os"]) == {"id", "version", "name", "kernel"}


def test_unknown_name_is_answered_with_the_nearest():
    done = edge("info", "lokal")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: there is no device 'lokal'\nhint: did you mean local? devices are: local, ")


@pytest.mark.parametrize("command", ["info", "setup"])
def test_an_unknown_board_may_be_one_that_was_never_added(command):
    done = edge(command, "pi4")
    assert (done.returncode, done.stdout) == (3, "")
    assert "`edge devices add` adds a board" in done.stderr


def test_a_broken_agent_is_a_message(tmp_path):
    (tmp_path / "resource.py").write_text("raise ImportError('no resource here')")
    done = edge("info", "local", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (10, "")
    assert "the agent on local ended with status 1 and reported no facts" in done.stderr
    assert "hint: it wrote: ImportError: no resource here" in done.stderr


def test_tensorflow_is_not_loaded():
    code = (
        "import sys\nfrom edge.cli.main import run\nrun(['devices', 'info', 'local'])\n"
        "sys.exit(sum(name.split('.')[0] in ('tensorflow', 'keras', 'numpy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0
