"""`edge meter` as a process: in a pipe, on a terminal of 80 columns, interrupted, killed, unplugged."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from meter_peers import CsvPeer, Ppk2Peer, Tc66cPeer
from meter_reading import wait_until

from devices.meters.lookup import find_meter
from devices.meters.meter_contract import MeterInfo
from devices.meters.recorder import Recorder
from devices.meters.recording import Recording, load_recording, save_recording
from firmware_tools.trace import Trace

EDGE = [str(Path(sys.executable).with_name("edge")), "meter"]
DEADLINE_S = 60.0


def edge(*arguments, **environment):
    return subprocess.run(
        [*EDGE, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S,
        check=False, env=os.environ | environment,
    )  # fmt: skip


@pytest.fixture
def recorded(tmp_path):
    """A recording of two seconds, and what it holds."""
    count = 2000
    power = np.where(np.arange(count) < count // 2, 2.0, 4.0)
    info = MeterInfo("edge", "bench", "INA226", {}, 1000.0, 0.01, 0.001, "sheet", "meter", has_trigger=True,
                     is_estimate=False)  # fmt: skip
    trace = Trace(np.arange(count) * 1e-3, power, 5 + 0 * power, power / 5, np.zeros(count, np.uint8), 2, 1)
    save_recording(tmp_path / "a.edgetrace", Recording(info, trace, np.empty((0, 2)), "then", {}))
    return tmp_path / "a.edgetrace", trace


def test_kinds_and_list():
    told = json.loads(edge("kinds", "--json").stdout)
    assert [each["kind"] for each in told][:2] == ["edge", "ppk2"]
    shown = edge("kinds").stdout
    assert "supply_mv" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert isinstance(json.loads(edge("list", "--json").stdout), list)
    assert edge("list").returncode == 0


def test_read_in_a_pipe(recorded):
    path, _ = recorded
    done = edge("read", f"replay:{path}", "--set", "realtime=yes")
    assert done.returncode == 0, done.stderr
    assert "peak 4 W, least 2 W" in done.stdout
    assert "2000 samples, 2 lost" in done.stdout
    assert "1 kHz effective" in done.stdout
    assert "uncertainty 1.00%" in done.stderr
    assert any("effective" in line for line in done.stderr.splitlines())


def test_the_summary_of_a_recording_fits_80_columns_and_names_the_files_written(recorded, tmp_path):
    path, _ = recorded
    full = load_recording(path)
    info = replace(full.info, identity="a name " * 20, accuracy_source="a long story " * 20)
    damaged = replace(full.trace, lost=123_456, damaged=1_234_567)
    save_recording(path, replace(full, info=info, trace=damaged, incomplete="the reason is long " * 9))
    read = edge("read", f"replay:{path}")
    assert (read.returncode, "1234567 damaged\n    " in read.stdout) == (0, True)
    assert max(len(line) for line in (read.stdout + read.stderr).splitlines() if str(path) not in line) <= 80
    as_csv, as_npz = tmp_path / "r.csv", tmp_path / "r.npz"
    written = [f"written to {as_csv}", f"written to {as_npz}"]
    assert edge("export", path, "--csv", as_csv).stdout.splitlines()[-2:] == [f"recorded in {path}", written[0]]
    again = edge("record", f"replay:{path}", "--out", tmp_path / "b", "--csv", as_csv, "--npz", as_npz)
    assert again.stdout.splitlines()[-2:] == written
    assert edge("export", path).stdout.splitlines()[-1] == f"recorded in {path}"


def test_read_as_json(recorded):
    path, trace = recorded
    told = json.loads(edge("read", f"replay:{path}", "--json").stdout)
    energy_j = np.dot(np.diff(trace.time_s), (trace.power_w[1:] + trace.power_w[:-1]) / 2)
    assert told["power"]["mean_w"] == pytest.approx(energy_j / 1.999)
    assert told["rates"] == {
        "samples": 2000, "duration_s": pytest.approx(1.999), "delivered_hz": pytest.approx(1000),
        "changed_hz": pytest.approx(1 / 1.999), "effective_hz": pytest.approx(1000), "lost": 2, "damaged": 1,
        "lost_share": pytest.approx(2 / 2002),
    }  # fmt: skip


def on_a_terminal(arguments, columns, until_shown=None):
    """Run on a pseudo-terminal, interrupt it once `until_shown` was shown; return the status and all that was shown."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [*EDGE, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown, deadline, interrupted = b"", time.monotonic() + DEADLINE_S, False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        if until_shown is not None and until_shown in shown and not interrupted:
            process.send_signal(signal.SIGINT)
            interrupted = True
    os.close(ours)
    return process.wait(DEADLINE_S), shown.decode()


def test_read_on_a_terminal_of_80_columns(recorded):
    path, _ = recorded
    status, shown = on_a_terminal(["read", f"replay:{path}", "--set", "realtime=yes", "--seconds", "2"], 80)
    assert status == 0, shown
    assert "\u2588" in shown
    assert "4 W" in shown
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))  # without what moves the cursor
    assert max(len(line) for line in lines if "\u2588" in line) <= 80
    assert "peak 4 W, least 2 W" in shown.splitlines()[-2]
    assert "2000 samples, 2 lost" in shown.splitlines()[-1]


def test_ctrl_c_ends_reading_with_the_result(recorded):
    with Ppk2Peer() as peer:
        status, shown = on_a_terminal(["read", f"ppk2:{peer.port}"], 80, until_shown=b"Ctrl-C ends")
        wait_until(lambda: b"\x07" in peer.heard[-2:])  # stopped
    assert status == 0, shown
    assert "kHz effective" in shown.splitlines()[-1]


def test_record_until_the_time_is_over(recorded, tmp_path):
    path, trace = recorded
    out, as_csv, as_npz = (tmp_path / name for name in ("b.edgetrace", "b.csv", "b.npz"))
    done = edge("record", f"replay:{path}", "--out", out, "--csv", as_csv, "--npz", as_npz, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rates"]["samples"] == 2000
    assert np.array_equal(load_recording(out).trace.power_w, trace.power_w)
    assert as_csv.read_text().count("\n") == 2001
    with np.load(as_npz, allow_pickle=False) as read:
        assert len(read["time_s"]) == 2000
    again = edge("record", f"replay:{path}", "--out", out)
    assert again.returncode == 13
    assert "--force" in again.stderr
    assert edge("record", f"replay:{path}", "--out", out, "--force").returncode == 0


def test_a_recording_that_was_cut_stays_so_when_it_is_replayed(recorded, tmp_path):
    path, _ = recorded
    cut, again = tmp_path / "cut.edgetrace", tmp_path / "again.edgetrace"
    save_recording(cut, replace(load_recording(path), incomplete="the meter was unplugged"))
    assert "INCOMPLETE: the meter was unplugged" in edge("read", f"replay:{cut}").stdout
    told = json.loads(edge("record", f"replay:{cut}", "--out", again, "--json").stdout)
    assert told["incomplete"] == "the meter was unplugged"
    assert load_recording(again).incomplete == "the meter was unplugged"
    with find_meter(f"replay:{cut}") as meter:
        recorder = Recorder(meter, path=tmp_path / "third.edgetrace")
        with recorder:
            recorder._thread.join(DEADLINE_S)
        assert recorder.recording().incomplete == "the meter was unplugged"
    assert load_recording(tmp_path / "third.edgetrace").incomplete == "the meter was unplugged"


def test_an_export_never_replaces_the_recording(recorded, tmp_path):
    path, _ = recorded
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for arguments in (("--csv", path), ("--npz", tmp_path / "link"), ("--csv", "x", "--npz", "x")):
        done = edge("export", path, *arguments)
        assert done.returncode == 13
        assert "overwrite itself" in done.stderr
    assert path.read_bytes() == before


def test_a_replay_is_never_recorded_over_itself(recorded, tmp_path):
    path, _ = recorded
    before = path.read_bytes()
    (tmp_path / "link").hardlink_to(path)
    for arguments in (("--out", path), ("--out", tmp_path / "link"), ("--out", tmp_path / "b", "--csv", path)):
        done = edge("record", f"replay:{path}", *arguments, "--force")
        assert done.returncode == 13, done.stderr
        assert "overwrite itself" in done.stderr
    assert path.read_bytes() == before
    assert not (tmp_path / "b").exists()


def test_what_no_recording_holds_is_refused_before_it_begins(tmp_path):
    with Ppk2Peer() as peer:
        done = edge("record", f"ppk2:{peer.port}", "--out", tmp_path / "a", "--seconds", "3600")
        assert b"\x06" not in peer.heard
    assert done.returncode == 3, done.stderr
    assert "record for at most 600 s" in done.stderr
    assert not (tmp_path / "a").exists()


def test_control_characters_of_a_name_never_reach_the_terminal(own_config):
    (own_config / "meters.toml").write_text(
        '[meters."a\\u001b[2J"]\nkind = "csv"\naddress = "/dev/\\u009b31m\\u0007"\n'
    )
    done = edge("list")
    assert done.returncode == 0, done.stderr
    assert "meters.toml" in done.stdout
    assert not set("\x1b\x07\x9b") & set(done.stdout + done.stderr)


def test_control_characters_of_a_recording_never_reach_the_terminal(recorded):
    path, _ = recorded
    hostile = load_recording(path)
    info = replace(hostile.info, name="a\rb", identity="x\x1b[2Jfake\nmean 9 W", accuracy_source="\x9b31m\x07")
    save_recording(path, replace(hostile, info=info, incomplete="\x1b]0;pwn\x07"))
    for arguments in (("export", path), ("read", f"replay:{path}")):
        done = edge(*arguments)
        assert done.returncode == 0
        assert not set("\x1b\x07\x9b\r") & set(done.stdout + done.stderr)
        assert not any(line.startswith("mean 9 W") for line in (done.stdout + done.stderr).splitlines())


@contextlib.contextmanager
def running(*arguments):
    """A process that is gone in the end."""
    process = subprocess.Popen([*EDGE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def recording(meter, out):
    """A process that records, and has written something."""
    with running("record", meter, "--out", str(out)) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not (out.exists() and out.stat().st_size > 2000):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        yield process


def test_record_ends_cleanly_at_an_interrupt(tmp_path):
    out = tmp_path / "a.edgetrace"
    with Ppk2Peer() as peer, recording(f"ppk2:{peer.port}", out) as process:
        process.send_signal(signal.SIGINT)
        told, talk = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, talk
    back = load_recording(out)
    assert f"{len(back.trace)} samples" in told
    assert back.incomplete is None
    assert len(back.arrivals)


def test_record_that_is_killed_keeps_what_was_written(tmp_path):
    out = tmp_path / "a.edgetrace"
    with Ppk2Peer() as peer, recording(f"ppk2:{peer.port}", out) as process:
        process.kill()
        process.wait(DEADLINE_S)
    back = load_recording(out)
    assert len(back.trace) > 1000
    assert back.incomplete
    told = edge("export", out, "--csv", tmp_path / "a.csv")
    assert told.returncode == 0
    assert "INCOMPLETE" in told.stdout
    assert (tmp_path / "a.csv").exists()


def test_record_of_a_meter_that_is_unplugged(tmp_path):
    out = tmp_path / "a.edgetrace"
    with Ppk2Peer() as peer, recording(f"ppk2:{peer.port}", out) as process:
        peer.unplug()
        told, talk = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 10
    assert told == ""
    assert "hint:" in talk
    back = load_recording(out)
    assert f"the {len(back.trace)} samples before the failure are in {out}" in talk
    assert back.incomplete


def test_read_of_a_meter_that_is_unplugged_shows_what_came():
    with CsvPeer() as peer, running("read", f"csv:{peer.port}") as process:
        shown = []
        for line in iter(process.stderr.readline, ""):
            shown.append(line)
            if "effective" in line:
                break
        assert process.poll() is None, shown
        peer.unplug()
        talk, told = process.stderr.read(), process.stdout.read()
        assert process.wait(DEADLINE_S) == 10
    assert "until then:" in talk
    assert "mean 2.00" in told


def test_record_on_a_disk_that_fills_up(tmp_path, small_disk):
    noise = np.random.default_rng(1).normal(size=50_000)
    lines = "".join(f"{at / 1000},{power}\n" for at, power in enumerate(noise))
    (tmp_path / "noise.csv").write_text(f"time_s,power_w\n{lines}")
    done = edge("record", f"replay:{tmp_path}/noise.csv", "--set", "piece=1000", "--out", small_disk / "a.edgetrace")
    assert done.returncode == 13
    assert "No space left" in done.stderr
    kept = len(load_recording(small_disk / "a.edgetrace").trace)
    assert f"the {kept} samples written before are valid" in done.stderr


def test_record_on_a_full_disk(recorded):
    done = edge("record", f"replay:{recorded[0]}", "--out", "/dev/full", "--force")
    assert done.returncode == 13
    assert "No space left" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("read", "nothing"), 3, "KIND:ADDRESS"),
        (("read", "ppk2:/dev/nothing"), 3, "edge meter list"),
        (("read", "ppk2:/dev/null", "--set", "mode=source"), 3, "supply_mv"),
        (("read", "ppk2:/dev/null", "--set", "mode"), 2, "NAME=VALUE"),
        (("read", "ppk2:/dev/null", "--set", "modes=x"), 3, "did you mean mode"),
        (("calibrate", "ppk2:/dev/null", "--shunt-ohm", "0.1"), 3, "only our own meter"),
        (("calibrate", "edge:/dev/null"), 2, "--reference-amps"),
        (("calibrate", "edge:/dev/null", "--shunt-ohm", "0.1", "--reference-amps", "1"), 2, "Give"),
        (("calibrate", "edge:/dev/null", "--shunt-ohm", "99"), 3, "not plausible"),
        (("calibrate", "edge:/dev/null", "--shunt-ohm", "nan"), 3, "not plausible"),
        (("calibrate", "edge:/dev/null", "--reference-amps", "0"), 3, "cannot be used"),
        (("export", "/dev/null"), 3, "not a file"),
        (("read", "ppk2:/dev/null", "--seconds", "nan"), 2, "is not a duration"),
        (("record", "ppk2:/dev/null", "--out", "a", "--seconds", "inf"), 2, "is not a duration"),
        (("calibrate", "edge:/dev/null", "--shunt-ohm", "0.1", "--seconds", "nan"), 2, "is not a duration"),
        (("record", "ppk2:/dev/null", "--out", "a", "--csv", "./a"), 13, "overwrite itself"),
        (("reed", "x"), 2, "Did you mean read"),
    ],
)
def test_what_goes_wrong_is_a_message(arguments, status, said):
    done = edge(*arguments)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "internal error" not in done.stderr


def test_a_package_that_is_missing_is_named(tmp_path):
    (tmp_path / "cryptography.py").write_text("raise ImportError('not installed')\n")
    with Tc66cPeer() as peer:
        done = edge("read", f"tc66c:{peer.port}", "--seconds", "1", PYTHONPATH=str(tmp_path))
    assert done.returncode == 8, done.stderr
    assert "the package 'cryptography' is not installed" in done.stderr
    assert "pip install 'edge-convert[host]'" in done.stderr
