"""`edge devices add|info|remove` as a process, against OpenSSH's server; on a pseudo-terminal, too."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import asyncssh
import pytest
from sshd import OpenSSH

EDGE = str(Path(sys.executable).with_name("edge"))
DEADLINE_S = 60.0


@pytest.fixture
def config(own_places, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGE, "devices", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S,
        check=False,
    )  # fmt: skip


def adding(server, name: str = "pi4", *more: str) -> list[str]:
    where = ["--port", str(server.port), "--identity", str(server.identity)]
    return ["add", name, f"{server.user}@127.0.0.1", *where, *more]


def on_a_terminal(arguments: list[str], answer: str) -> tuple[int, str]:
    """Run `edge devices` on a pseudo-terminal, answer its question, return status and what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([EDGE, "devices", *arguments], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, until, answered = b"", time.monotonic() + DEADLINE_S, False
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        if b"[y/N]" in shown and not answered:
            os.write(ours, answer.encode())
            answered = True
    os.close(ours)
    return process.wait(DEADLINE_S), shown.decode()


def test_add_by_fingerprint_info_and_remove(openssh, config):
    done = edge(*adding(openssh, "pi4", "--group", "lab", "--fingerprint", openssh.fingerprint))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"added pi4: {openssh.user}@127.0.0.1 port {openssh.port}")
    assert f"pi4 ssh-ed25519 {openssh.host_key.export_public_key().split()[1].decode()}" in (
        (config / "known_hosts").read_text()
    )
    listed = json.loads(edge("list", "--json").stdout)
    assert listed[-1] == {"name": "pi4", "kind": "ssh", "about": f"{openssh.user}@127.0.0.1 port {openssh.port}"}
    facts = json.loads(edge("info", "pi4", "--json").stdout)
    assert (facts["name"], facts["kind"], facts["cpu"]["cores"]) == ("pi4", "ssh", os.cpu_count())
    assert "runtimes" in edge("info", "pi4").stdout
    again = edge(*adding(openssh, "pi4", "--fingerprint", openssh.fingerprint))
    assert (again.returncode, "already" in again.stderr) == (3, True)
    gone = edge("remove", "pi4", "--json")
    assert json.loads(gone.stdout)["groups"] == ["lab"]
    assert "pi4 " not in (config / "known_hosts").read_text()
    assert edge("info", "pi4").returncode == 3


def test_add_through_a_jump_host_pins_both(openssh, config, own_places, tmp_path, monkeypatch):
    with OpenSSH(tmp_path / "gate") as gate:
        folder = own_places / ".ssh"
        folder.mkdir()
        try:
            (folder / "config").write_text(
                f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.identity}\n"
            )
            monkeypatch.chdir(openssh.folder)
            arguments = ["add", "pi4", f"{openssh.user}@127.0.0.1", "--port", str(openssh.port), "--jump", "gate",
                         "--identity", openssh.identity.name, "--fingerprint", openssh.fingerprint]  # fmt: skip
            done = edge(*arguments)
            assert (done.returncode, gate.fingerprint in done.stderr) == (10, True)
            assert not config.exists()
            done = edge(*arguments, "--fingerprint", gate.fingerprint, "--json")
            assert done.returncode == 0, done.stderr
            pinned = json.loads(done.stdout)["pinned"]
            assert [each["label"] for each in pinned] == [f"[127.0.0.1]:{gate.port}", "pi4"]
            monkeypatch.chdir("/")
            assert edge("info", "pi4").returncode == 0
        finally:
            shutil.rmtree(folder)


def test_another_fingerprint_is_refused(openssh, config):
    other = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint()
    done = edge(*adding(openssh, "pi4", "--fingerprint", other))
    assert (done.returncode, done.stdout) == (10, "")
    assert f"was not accepted: ssh-ed25519 {openssh.fingerprint}" in done.stderr
    assert not (config / "devices.toml").exists()


def test_without_a_terminal_nobody_accepts(openssh, config):
    done = edge(*adding(openssh))
    assert done.returncode == 10
    assert openssh.fingerprint in done.stderr
    assert "--fingerprint" in done.stderr
    assert not (config / "devices.toml").exists()


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_a_no_on_the_terminal_stores_nothing(openssh, config, answer):
    status, shown = on_a_terminal(adding(openssh), answer)
    assert status == 10
    assert openssh.fingerprint in shown
    assert "nothing was stored" in shown
    assert not (config / "devices.toml").exists()


def test_a_yes_on_the_terminal_pins_and_adds(openssh, config):
    status, shown = on_a_terminal(adding(openssh), "y\n")
    assert status == 0, shown
    assert f"ssh-ed25519 {openssh.fingerprint}" in shown
    assert "added pi4" in shown
    assert edge("info", "pi4").returncode == 0


def test_a_login_that_fails_adds_nothing(openssh, config, tmp_path):
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "stranger"))
    arguments = ["add", "pi4", f"{openssh.user}@127.0.0.1", "--port", str(openssh.port)]
    done = edge(*arguments, "--identity", str(tmp_path / "stranger"), "--fingerprint", openssh.fingerprint)
    assert done.returncode == 10
    assert "ssh-copy-id" in done.stderr
    assert not (config / "devices.toml").exists()
    assert not (config / "known_hosts").exists()


def test_a_board_that_was_set_up_anew_is_refused_until_it_is_added_again(own_places, config, tmp_path):
    with OpenSSH(tmp_path / "server") as server:
        before = server.fingerprint
        assert edge(*adding(server, "pi4", "--fingerprint", before)).returncode == 0
        server.new_host_key()
        done = edge("info", "pi4")
        assert done.returncode == 10
        assert before in done.stderr
        assert server.fingerprint in done.stderr
        assert "edge devices remove pi4" in done.stderr
        assert edge("remove", "pi4").returncode == 0
        assert edge(*adding(server, "pi4", "--fingerprint", server.fingerprint)).returncode == 0
        assert edge("info", "pi4").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["local", "h"], "that the toolkit uses"),
        (["-x", "h"], "No such option"),
        (["a b", "h"], "cannot name a device"),
        (["pi4", "h:22"], "not an address of a board"),
        (["pi4", "h", "--port", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_added(config, arguments, said):
    done = edge("add", *arguments)
    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert not config.exists()


def test_listing_loads_no_ssh(config):
    code = (
        "import sys\nfrom edge.cli.main import run\nrun(['devices', 'list'])\n"
        "sys.exit(sum(name.split('.')[0] in ('asyncssh', 'zeroconf', 'serial', 'tomlkit') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0
