"""Deploying over SSH: how little is sent, several boards at once, a clock that is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy
from sshd import OpenSSH

from devices.ssh.address import Address
from devices.ssh.device import SSHDevice
from devices.ssh.keys import HostKey
from edge.workflows.deployment import Deployment, DeployRequest, release_status, rollback

EDGE = str(Path(sys.executable).with_name("edge"))
MOST_BYTES_FOR_NOTHING = 4096
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define SHIFT (-1700000000L)
int clock_gettime(clockid_t id, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += SHIFT;
    return status;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture
def models(shared_data):
    folder = shared_data / "edgetpu_pairs"
    return [folder / f"{name}.tflite" for name in ("mobilenet_v1_0.25_128_quant", "keras_lstm_mnist_ptq")]


def board_at(server: OpenSSH, port: int) -> SSHDevice:
    address = Address("127.0.0.1", server.user, port, str(server.identity))
    return SSHDevice("board", address, pins={"board": (HostKey.of("board", server.host_key),)})


def test_a_second_deployment_of_the_same_file_sends_next_to_nothing(openssh, models, tmp_path):
    model = tmp_path / "described.tflite"  # with a description, as `edge convert` writes it
    shutil.copy(models[0], model)
    from converters.files import sha256_of

    described = {"schema": "edge-artifact/1", "name": "described", "sha256": sha256_of(model), "labels": ["x"] * 500}
    model.with_suffix(".json").write_text(json.dumps(described))
    with FaultyProxy(openssh.port) as proxy:
        first = Deployment(DeployRequest(model=model)).to(board_at(openssh, proxy.port))
        assert first.sent_bytes > model.stat().st_size
        assert proxy.passed["up"] > model.stat().st_size
        proxy.arm(None)
        again = Deployment(DeployRequest(model=model)).to(board_at(openssh, proxy.port))
        assert (again.unchanged, again.sent_bytes, again.release) == (True, 0, first.release)
        assert again.golden.passed  # it was run once more
        assert proxy.passed["up"] < MOST_BYTES_FOR_NOTHING
    assert first.root == str(openssh.home / ".local/share/edge-convert/deployed")


def test_what_was_profiled_there_is_not_sent_again(openssh, models):
    with board_at(openssh, openssh.port) as device:
        device.place(models[1])
        done = Deployment(DeployRequest(model=models[1], golden="none")).to(device)
    assert done.sent_bytes == 0


def test_a_board_whose_clock_is_wrong(own_places, tmp_path, models, require_part):
    if shutil.which("cc") is None:
        require_part("a C compiler", "apt install gcc")
    (tmp_path / "clock.c").write_text(CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    with OpenSSH(tmp_path / "sshd") as server:
        python = server.home / ".local/share/edge-convert/venv/bin/python"
        right, wrong = python.read_text(), f'#!/bin/sh\nLD_PRELOAD={library} exec "{sys.executable}" "$@"\n'

        def deploy(model: Path):
            return Deployment(DeployRequest(model=model, golden="none")).to(board_at(server, server.port))

        first = deploy(models[0])
        python.write_text(wrong)  # 54 years back
        said = subprocess.run([python, "-c", "import time; print(time.time())"], capture_output=True, check=True)
        assert float(said.stdout) < 1e9
        second = deploy(models[1])
        assert [each.number for each in release_status(board_at(server, server.port)).releases] == [1, 2]
        assert rollback(board_at(server, server.port)).release == first.release
        python.write_text(right)
        third = deploy(models[1])
        assert third.previous == first.release
        status = release_status(board_at(server, server.port))
        assert (status.damaged, status.current) == ((), third.release)
        assert status.find(second.release).deployed[:3] == "202"  # a label, by the clock of who deployed


@pytest.fixture
def inventory(openssh, own_places, tmp_path, monkeypatch):
    """Two names for the board and one for a board that is off, two of them in a group."""
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("one", "two"):
        done = edge(
            "devices", "add", name, f"{openssh.user}@127.0.0.1", "--port", str(openssh.port), "--identity",
            str(openssh.identity), "--fingerprint", openssh.fingerprint, "--group", "lab",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    path = tmp_path / "config" / "devices.toml"
    path.write_text(path.read_text() + '\n[devices.off]\nhost = "127.0.0.1"\nport = 9\ngroups = ["lab"]\n')


def edge(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGE, *args], capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
        env={**os.environ},
    )  # fmt: skip


def test_a_group_each_result_told_one_failure_stopping_nobody(inventory, openssh, models, tmp_path):
    root = str(tmp_path / "root")  # one folder for both: they deploy at the same moment, and one waits
    done = edge("deploy", str(models[0]), "--to", "lab", "--release-root", root, "--json")
    assert done.returncode == 10, done.stderr
    results = {each["device"]: each for each in json.loads(done.stdout)}
    assert set(results) == {"one", "two", "off"}
    assert all("error" not in results[name] for name in ("one", "two")), done.stderr
    assert sorted(results[name]["unchanged"] for name in ("one", "two")) == [False, True]
    assert results["one"]["release"] == results["two"]["release"]
    assert results["off"]["exit_code"] == 10
    assert "error: off: " in done.stderr
    assert "1 of 3 devices failed: off" in done.stderr
    shown = edge("deploy", "--to", "one,two", "--release-root", root, "--status")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("0001-") == 2
