"""`edge profile --energy` on a board over SSH: the real command, OpenSSH's server, the agent that was sent there.

The meter at a pseudo-terminal follows what the board's agent computes; windows are short by the command's own options.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pty_meter import IDLE_W, PtyMeter, agent_threads
from test_energy_command import DEADLINE_S, EDGE, check_joules

from devices.meters.recording import load_recording
from edge.measure.measurement_files import load_measurements

sys.path.append(str(Path(__file__).parents[1] / "devices"))

from sshd import SSHD, OpenSSH

# Nothing but the energy takes time.
SHORT = ["--warmup-seconds", "0", "--windows", "1", "--window-seconds", "0.01", "--no-kernels", "--no-all-cores"]
# Work that no load code takes, so that windows are under way.
IN_WINDOWS_S = 3.0


@pytest.fixture(scope="module")
def board(tmp_path_factory, require_part):
    """A board called pi4 in an inventory of its own, and the server that it is."""
    if SSHD is None:
        require_part("OpenSSH's server", "apt install openssh-server")
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch, OpenSSH(tmp_path_factory.mktemp("sshd")) as server:
        patch.setenv("HOME", str(folder))
        patch.setenv("EDGE_CONFIG_DIR", str(folder / "config"))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        added = subprocess.run(
            [*EDGE, "devices", "add", "pi4", f"{server.user}@127.0.0.1", "--port", str(server.port), "--identity",
             str(server.identity), "--fingerprint", server.fingerprint], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        yield server


@pytest.fixture(scope="module")
def model(shared_data):
    """A model whose inference takes about half a millisecond."""
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


def profiling(model, meter, *words):
    """Start the command; the meter watches the board, whose server this process is."""
    meter.watch(os.getpid())
    words = ["profile", model, "--on", "pi4", *SHORT, "--energy", f"edge:{meter.path}", *words]
    return subprocess.Popen([*EDGE, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_nothing_is_left(board):
    """Check that no agent runs there, and no half of a file lies there."""
    until = time.monotonic() + 30
    while agent_threads(os.getpid(), (bytes(board.home),)):
        assert time.monotonic() < until, "something still runs"
        time.sleep(0.02)
    below = [path.name for path in board.home.rglob("*") if path.is_file()]
    assert not [name for name in below if name.endswith(".part")]


@pytest.mark.slow
def test_a_board_over_ssh_has_its_joules(board, model, tmp_path):
    path = tmp_path / "result.json"
    with PtyMeter() as meter:
        process = profiling(model, meter, "--energy-windows", 2, "--energy-window-seconds", 0.5, "--out", path)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        check_nothing_is_left(board)
    measurement = load_measurements(path)[0]
    energy = measurement.energy
    check_joules(energy, meter)
    assert min(window.mean_w for window in energy.windows) > IDLE_W
    assert energy.idle.before_w == pytest.approx(IDLE_W, rel=0.1)
    assert (measurement.device.name, measurement.device.facts["kind"]) == ("pi4", "ssh")
    assert energy.alignment.method in ("load code", "round trips")
    assert "energy per inference: " in out


def gone_wrong(board, model, folder, go_wrong):
    """Let something go wrong while windows are measured; return status, messages, measurement and recording."""
    path, trace = folder / "result.json", folder / "run.edgetrace"
    with PtyMeter() as meter:
        process = profiling(
            model, meter, "--energy-windows", 100, "--energy-window-seconds", 0.5, "--out", path, "--json",
            "--energy-trace", trace,
        )  # fmt: skip
        meter.wait_for_work(IN_WINDOWS_S, DEADLINE_S)
        go_wrong(meter)
        out, err = process.communicate(timeout=DEADLINE_S)
        check_nothing_is_left(board)
    measurement = load_measurements(path)[0]
    assert json.loads(out) == json.loads(path.read_text())
    assert measurement.latency_ms is not None
    assert measurement.energy is None
    assert sorted(each.name for each in folder.iterdir()) == ["result.json", "run.edgetrace"]
    return process.returncode, err, measurement, load_recording(trace)


@pytest.mark.slow
def test_a_meter_that_is_unplugged_within_a_window_ends_the_run(board, model, tmp_path):
    status, err, measurement, kept = gone_wrong(board, model, tmp_path, PtyMeter.unplug)
    assert status == 10, err
    assert "error: the energy was not measured: the line /dev/pts/" in err
    assert "hint: is the cable plugged in at both ends?" in err
    assert [each.partition("/")[0] for each in measurement.validity.reasons if each.startswith("energy: ")] == [
        "energy: not measured: the line "
    ]
    assert len(kept.trace)
    assert kept.incomplete.startswith("the line ")


@pytest.mark.slow
def test_a_board_whose_connection_breaks_within_a_window_keeps_the_rest(board, model, tmp_path):
    status, err, measurement, kept = gone_wrong(board, model, tmp_path, lambda _: board.end_connections())
    assert status == 10, err
    assert "error: the energy was not measured: the connection to pi4 broke" in err
    assert "hint: the rest was measured" in err
    assert any(each.startswith("energy: not measured: the connection") for each in measurement.validity.reasons)
    assert kept.incomplete.startswith("the connection to pi4 broke")
