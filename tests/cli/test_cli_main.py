"""The command line as a process: exit codes, suggestions, help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cli.main import COMMANDS

EDGE = str(Path(sys.executable).with_name("edge"))


def edge(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGE, *args], capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )


def test_help_names_every_command_and_loads_none_of_them():
    code = (
        "import sys\nfrom edge.cli.main import run\nassert run(['--help']) == 0\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'rich', 'asyncssh', 'serial'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_and_json(name):
    done = edge(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout or "Commands:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", ["coral", "devices", "firmware", "meter"])
def test_no_summary_of_a_command_is_cut_at_80_columns(name):
    done = edge(name, "--help", COLUMNS="80")
    summaries = done.stdout.partition("Commands:\n")[2].splitlines()
    assert summaries
    assert [each for each in summaries if each.endswith("...")] == []


def test_an_unknown_command_is_answered_with_the_nearest():
    done = edge("profil")
    assert done.returncode == 2
    assert "Did you mean profile?" in done.stderr


def test_the_short_script_is_edge_convert():
    done = subprocess.run([EDGE + "-convert", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, "--to" in done.stdout) == (0, True)


def test_a_missing_file_is_a_message_with_a_hint_and_a_code():
    done = edge("inspect", "nowhere.tflite")
    assert done.returncode in (2, 3)
    assert "nowhere.tflite" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_our_own_is_exit_1_without_a_traceback_unless_asked(tmp_path):
    broken = "from edge.cli import main; main.COMMANDS['inspect'] = ('nowhere.at.all', ''); main.main(['inspect'])"
    for debug, shown in (("", False), ("1", True)):
        done = subprocess.run(
            [sys.executable, "-c", broken], capture_output=True, text=True, check=False,
            env={**os.environ, "EDGE_DEBUG": debug},
        )  # fmt: skip
        assert done.returncode == 1
        assert "internal error" in done.stderr
        assert ("Traceback" in done.stderr) is shown


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"'{EDGE}' models | true"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_ends_with_130():
    code = (
        "import os, signal\nfrom edge.cli import main\n"
        "main.cli.invoke = lambda ctx: os.kill(os.getpid(), signal.SIGINT)\nmain.main(['models'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert "interrupted" in done.stderr


def test_the_end_of_a_file_is_no_interrupt():
    code = (
        "from edge.cli import main\n"
        "def end(ctx): raise EOFError('no data left')\n"
        "main.cli.invoke = end\nmain.main(['models'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "internal error: EOFError: no data left" in done.stderr


def test_what_a_file_says_cannot_steer_the_terminal(tmp_path):
    (tmp_path / "odd.json").write_text('{"schema": "edge-measurement/1", "\\u001b[31mred\\u0007\\u202e": 1}')
    # A terminal gets all of a message; a pipe would get it without colours anyway.
    code = (
        "import io, sys; from edge.cli.main import run\n"
        "class Terminal(io.StringIO):\n"
        "    isatty = lambda self: True\n"
        "sys.stderr = Terminal()\n"
        f"status = run(['report', {str(tmp_path / 'odd.json')!r}])\n"
        "print(ascii(sys.stderr.getvalue())); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "there is no field '?[31mred??'" in done.stdout
    assert "x1b" not in done.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_says_names_that_its_encoding_cannot(encoding):
    code = "from edge.cli.output import print_json; print_json({'name': 'na\\udcffme \\u00b5'})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"name": "na\udcffme µ"}
