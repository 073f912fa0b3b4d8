"""`edge profile`: predictions that the run contradicts, and several devices in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import devices.solver
from converters.targets import analysis
from devices.local import LocalDevice
from edge.cli import profile as profile_command
from edge.cli.main import run
from edge.cli.profile import command
from edge.measure.measurement_files import load_measurements
from edge.measure.sparse_verdict import verdict_on
from edge.report.write import write_report

TINY = ("--warmup-seconds", "0.01", "--window-seconds", "0.01", "--no-all-cores", "--windows", "2")
RED = "\x1b[31m"


@pytest.fixture
def model() -> Path:
    """An int8 model with one 1x1 convolution, which runs sparse nowhere."""
    return Path(devices.solver.__file__).with_name("data") / "check-int8.tflite"


@pytest.fixture
def forged(monkeypatch):
    """It is predicted that the one 1x1 convolution runs sparse, which it does not."""
    honest = analysis.analyse

    def forge(*given):
        found = honest(*given)
        return replace(found, sparse=replace(found.sparse, ran=1, reasons=()))

    monkeypatch.setattr(analysis, "analyse", forge)


def test_the_verdict_is_in_json_and_text(model):
    done = CliRunner().invoke(command, [str(model), *TINY, "--json"])
    found = json.loads(done.stdout)
    assert found["sparse_kernels"] == {"ran": 0, "of": 1}
    assert found["sparse_verdict"]["text"].startswith("sparse kernels ran: none, because ")
    assert found["sparse_verdict"]["agrees"] is not False
    assert RED not in CliRunner().invoke(command, [str(model), *TINY], color=True).stdout


@pytest.mark.usefixtures("forged")
def test_a_prediction_that_is_not_what_ran_is_red_and_strict_exits_11(model, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = tmp_path / "out.json"
    done = CliRunner().invoke(command, [str(model), *TINY, "--out", str(out)], color=True)
    assert done.exit_code == 0
    red = [line for line in done.stdout.splitlines() if RED in line]
    assert "ALARM: predicted and observed sparse kernels DISAGREE" in red[0]
    beside = CliRunner().invoke(command, [str(model), *TINY, "--json"], color=True)
    assert RED in beside.stderr
    assert json.loads(beside.stdout)["sparse_verdict"]["agrees"] is False
    assert run(["profile", str(model), *TINY, "--strict"]) == 11
    said = capsys.readouterr()
    assert "1 of 1 measurements raise an alarm: check-int8 on local: predicted" in said.err
    assert "\x1b" not in said.out, "a pipe gets no colours"
    (measurement,) = load_measurements(out)
    assert verdict_on(measurement).agrees is False
    written = write_report([out], tmp_path / "report.html")
    assert written.measurements == 1
    page = (tmp_path / "report.html").read_text()
    assert '<ul class="alarms bad"><li>check-int8 on local: predicted and observed sparse kernels DISAGREE' in page
    assert 'class="bad">DISAGREES</td>' in page


def test_each_file_on_each_device_and_what_to_ship_there(model, tmp_path, monkeypatch):
    monkeypatch.setattr(profile_command, "find_devices", lambda names: tuple(LocalDevice(name) for name in names))
    done = CliRunner().invoke(
        command, [str(model), str(model), "--on", "one,two", *TINY, "--no-kernels", "--json", "--out", f"{tmp_path}/o"]
    )
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [each["device"]["name"] for each in found] == ["one", "one", "two", "two"]
    assert [each.device.name for each in load_measurements(tmp_path / "o")] == ["one", "one", "two", "two"]
    assert "What to ship\n\none, " in done.stderr
    assert "\n\ntwo, " in done.stderr


def test_a_device_that_fails_does_not_lose_the_others(model, tmp_path):
    # What is found as QEMU does not even state its version: the emulated board cannot begin.
    (tmp_path / "qemu-aarch64").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "qemu-aarch64").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "edge", "profile", str(model), "--on", "emulated-pi4,local", *TINY, "--json"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 8
    assert [each["device"]["name"] for each in json.loads(done.stdout)] == ["local"]
    assert f"error: {model} on emulated-pi4: " in done.stderr
    assert f"error: 1 of 2 measurements could not be made: {model} on emulated-pi4" in done.stderr
    assert "What to ship" in done.stderr


def test_an_unknown_device_among_several_is_told_before_anything_runs(model):
    done = subprocess.run(
        [sys.executable, "-m", "edge", "profile", str(model), "--on", "local,emulated-pi44"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    assert "emulated-pi4" in done.stderr
