"""What can go wrong on the way to a board, against OpenSSH's server: each ends in time, with the error that says it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import asyncssh
import pytest
from sshd import OpenSSH

from devices.contract import Exit
from devices.errors import DeadlineError, DeviceError, HostKeyError, LoginError, TransferError, UnreachableError
from devices.messages.machine_jobs import FactsRequest
from devices.ssh.address import Address
from devices.ssh.device import SSHDevice
from devices.ssh.keys import HostKey, UntrustedKey
from edge.agent.client import AgentClient

DEADLINE_S = 20.0


def device_on(server, *, port: int | None = None, key=None, **address) -> SSHDevice:
    """A device whose host key is pinned; another key, port or address may be given."""
    given = {"user": server.user, "identity": str(server.identity), **address}
    pins = {"board": (HostKey.of("board", key or server.host_key),)}
    return SSHDevice("board", Address("127.0.0.1", port=port or server.port, **given), pins=pins)


@pytest.fixture
def device(openssh):
    with device_on(openssh) as made:
        yield made


@contextlib.contextmanager
def silent_server():
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refused(device: SSHDevice, error: type[DeviceError], match: str) -> DeviceError:
    """Use a device, which must end in this error; return the error."""
    with device, pytest.raises(error, match=match) as caught:
        device.run(["true"], deadline_s=DEADLINE_S)
    return caught.value


def test_unknown_host_key_is_refused_with_its_fingerprint(openssh):
    address = Address("127.0.0.1", openssh.user, openssh.port, str(openssh.identity))
    error = refused(SSHDevice("board", address, pins={}), HostKeyError, "is not pinned")
    assert openssh.fingerprint in str(error)
    assert "ssh-keygen -lf" in error.hint


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_changed_host_key_is_refused_with_both_fingerprints(openssh, kind):
    other = asyncssh.generate_private_key(kind)
    error = refused(device_on(openssh, key=other), UntrustedKey, "has changed")
    assert openssh.fingerprint in str(error)
    assert other.get_fingerprint() in str(error)
    assert "edge devices remove board" in error.hint


def test_what_the_user_s_own_ssh_knows_pins_no_board(openssh, ssh_folder):
    key = openssh.host_key.export_public_key().decode()
    (ssh_folder / "known_hosts").write_text(f"[127.0.0.1]:{openssh.port} {key}")
    address = Address("127.0.0.1", openssh.user, openssh.port, str(openssh.identity))
    refused(SSHDevice("board", address, pins={}), HostKeyError, "is not pinned")


def test_a_key_that_is_not_accepted(openssh, tmp_path):
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "stranger"))
    error = refused(device_on(openssh, identity=str(tmp_path / "stranger")), LoginError, "accepted no key")
    assert f"ssh-copy-id -p {openssh.port} {openssh.user}@127.0.0.1" in error.hint


@pytest.mark.parametrize("content", [None, "no key at all"], ids=["missing", "broken"])
def test_a_key_file_that_cannot_be_used(openssh, tmp_path, content):
    if content is not None:
        (tmp_path / "key").write_text(content)
    refused(device_on(openssh, identity=str(tmp_path / "key")), LoginError, "cannot be used")


def test_nobody_listens(openssh):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused(device_on(openssh, port=port), UnreachableError, "cannot be reached")


def test_a_name_that_leads_nowhere(openssh):
    device = SSHDevice("board", Address("no-such-board.invalid"), pins={})
    error = refused(device, UnreachableError, r"'no-such-board\.invalid' cannot be resolved")
    assert "edge devices scan" in error.hint


def test_something_that_is_no_ssh_server(openssh):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n" * 100)

        thread = threading.Thread(target=answer)
        thread.start()
        refused(device_on(openssh, port=listener.getsockname()[1]), UnreachableError, "cannot be reached")
        thread.join()


def test_a_server_that_never_answers(openssh):
    with silent_server() as port, device_on(openssh, port=port) as device:
        for ask in (
            lambda: device.run(["true"], deadline_s=0.3),
            lambda: device.facts(deadline_s=0.3),
            lambda: device.put(openssh.identity, "/tmp/never", deadline_s=0.3),
            lambda: device.get("/tmp/never", openssh.folder / "never", deadline_s=0.3),
        ):
            with pytest.raises(DeadlineError, match=r"within 0\.\d+ s"):
                ask()


def test_a_command_that_hangs_is_ended(device):
    with pytest.raises(DeadlineError, match="sh on board did not end within"):
        device.run(["sh", "-c", "sleep 60; echo 44218391"], deadline_s=0.3)
    until = time.monotonic() + DEADLINE_S
    while b"44218391" in (listed := device.run(["ps", "-eo", "args"], deadline_s=DEADLINE_S).stdout):
        assert time.monotonic() < until, listed


def test_the_server_dies_under_a_command_and_the_next_use_connects_again(openssh):
    with device_on(openssh) as device:
        with device.open(["sh", "-c", "echo ready; exec cat"]) as stream:
            assert stream.read(deadline_s=DEADLINE_S) == b"ready\n"
            openssh.end_connections()
            with pytest.raises(UnreachableError, match="the connection to board broke while sh ran"):
                stream.wait(deadline_s=DEADLINE_S)
            with pytest.raises(BrokenPipeError):
                stream.write(b"more", deadline_s=DEADLINE_S)
        assert device.run(["echo", "again"], deadline_s=DEADLINE_S).stdout == b"again\n"
        assert device.connection.number == 2


def test_the_server_dies_under_a_copy_and_what_was_there_stays(openssh, tmp_path):
    (tmp_path / "new").write_bytes(bytes(64 << 20))
    goal = tmp_path / "board" / "goal"
    goal.parent.mkdir()
    goal.write_text("old")

    def cut(done: int, total: int) -> None:
        if done >= total // 2:
            openssh.end_connections()

    with device_on(openssh) as device:
        with pytest.raises(UnreachableError, match="broke while"):
            device.put(tmp_path / "new", str(goal), deadline_s=DEADLINE_S, on_transfer=cut)
        assert goal.read_text() == "old"
        (tmp_path / "small").write_text("new")
        device.put(tmp_path / "small", str(goal), deadline_s=DEADLINE_S)
        assert goal.read_text() == "new"


def test_the_agent_dies_with_its_connection(openssh, shared_data):
    with device_on(openssh) as device, AgentClient.on(device) as agent:
        assert agent.call(FactsRequest(), deadline_s=DEADLINE_S).cores == os.cpu_count()
        pid = agent._stream._program.pid
        openssh.end_connections()
        with pytest.raises(UnreachableError):
            agent.call(FactsRequest(), deadline_s=DEADLINE_S)
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until and _runs(pid):
            time.sleep(0.02)
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_deadline_of_a_copy(device, tmp_path):
    (tmp_path / "new").write_bytes(bytes(64 << 20))
    (tmp_path / "board").mkdir()
    device.run(["true"], deadline_s=DEADLINE_S)
    with pytest.raises(DeadlineError, match="did not take"):
        device.put(tmp_path / "new", str(tmp_path / "board" / "goal"), deadline_s=0.02)
    assert not list((tmp_path / "board").iterdir())


@pytest.fixture
def ssh_folder(own_places):
    """The user's ~/.ssh, for one test."""
    folder = own_places / ".ssh"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_jump_host_and_its_pin(openssh, ssh_folder, tmp_path):
    with OpenSSH(tmp_path / "gate") as gate:
        shutil.copy(gate.identity, ssh_folder / "id_ed25519")
        jump = f"{gate.user}@127.0.0.1:{gate.port}"
        address = Address("127.0.0.1", openssh.user, openssh.port, str(openssh.identity), jump)
        label = f"[127.0.0.1]:{gate.port}"
        board = {"board": (HostKey.of("board", openssh.host_key),)}
        error = refused(SSHDevice("board", address, pins=board), UntrustedKey, "is not pinned")
        assert error.shown.label == label
        pins = {**board, label: (HostKey.of(label, gate.host_key),)}
        with SSHDevice("board", address, pins=pins) as device:
            port = device.run(["sh", "-c", "echo $SSH_CONNECTION"], deadline_s=DEADLINE_S).stdout.split()[3]
            assert int(port) == openssh.port
        assert len(gate.processes) == 2
        (ssh_folder / "known_hosts").write_text(f"{label} {gate.host_key.export_public_key().decode()}")
        with SSHDevice("board", address, pins=board) as device:  # what ssh knows counts for machines on the way
            assert device.run(["true"], deadline_s=DEADLINE_S).exit == Exit(0)
        (ssh_folder / "config").write_text(
            f"Host attic\n HostName 127.0.0.1\n Port {openssh.port}\n ProxyJump gate\n"
            f" IdentityFile {openssh.identity}\n"
            f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {gate.identity}\n"
        )
        with SSHDevice("board", Address("attic"), pins=pins) as device:
            assert device.run(["true"], deadline_s=DEADLINE_S).exit == Exit(0)
        assert len(gate.processes) == 4


def test_an_alias_of_the_user_s_configuration(openssh, ssh_folder):
    (ssh_folder / "config").write_text(
        f"Host attic\n  HostName 127.0.0.1\n  Port {openssh.port}\n  User {openssh.user}\n"
        f"  IdentityFile {openssh.identity}\n  SetEnv FOREIGN=1\n  RequestTTY force\n  RemoteCommand false\n"
    )
    with SSHDevice("board", Address("attic"), pins={"board": (HostKey.of("board", openssh.host_key),)}) as device:
        done = device.run(["sh", "-c", 'tty; echo "$FOREIGN"'], deadline_s=DEADLINE_S)
        assert done.stdout == b"not a tty\n\n"


def test_jump_hosts_that_lead_to_each_other(openssh, ssh_folder):
    (ssh_folder / "config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    refused(SSHDevice("board", Address("a"), pins={}), UnreachableError, "form a loop")


def test_a_configuration_that_makes_no_sense(openssh, ssh_folder):
    (ssh_folder / "config").write_text("Port nonsense\n")
    refused(device_on(openssh), DeviceError, "ssh/config")


def test_a_key_file_named_for_all_hosts_may_be_missing(openssh, ssh_folder):
    (ssh_folder / "config").write_text(f"Host *\n  IdentityFile ~/.ssh/id_nowhere\n  IdentityFile {openssh.identity}\n")
    with device_on(openssh, identity=None) as device:
        assert device.run(["true"], deadline_s=DEADLINE_S).exit == Exit(0)


def test_the_agent_s_keys_are_used(openssh, tmp_path, monkeypatch, require_part):
    if shutil.which("ssh-agent") is None:
        require_part("OpenSSH's agent", "apt install openssh-client")
    socket_path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + DEADLINE_S
        while not socket_path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
        openssh.identity.chmod(0o600)
        subprocess.run(["ssh-add", "-q", str(openssh.identity)], check=True, timeout=DEADLINE_S)
        with device_on(openssh, identity=None) as device:
            assert device.run(["true"], deadline_s=DEADLINE_S).exit == Exit(0)
    finally:
        agent.terminate()
        agent.wait(DEADLINE_S)


def test_what_cannot_be_sent_is_refused(device):
    for argv, env in (([], {}), (["echo", "a\0b"], {}), (["echo"], {"A=B": "c"}), (["echo", "x" * 200_000], {})):
        with pytest.raises(DeviceError, match=r"cannot be sent|can be sent"):
            device.run(argv, deadline_s=DEADLINE_S, env=env)


@pytest.mark.parametrize("name", ["-rf", "two words", "$(touch x)", "a\nb", "'\"`", "ümlaut é", "*"])
def test_hostile_file_names(device, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "here").write_text("content")
    device.put(tmp_path / "here", str(folder / name), deadline_s=DEADLINE_S)
    assert [each.name for each in folder.iterdir()] == [name]
    device.get(str(folder / name), tmp_path / "back", deadline_s=DEADLINE_S)
    assert (tmp_path / "back").read_text() == "content"
    program = folder / "program=1"
    program.write_text('#!/bin/sh\nprintf "%s" "$A$1"\n')
    program.chmod(0o755)
    assert device.run([str(program), name], deadline_s=DEADLINE_S, env={"A": name}).stdout.decode() == name * 2


def test_end_is_seen_though_a_child_holds_the_pipes(device):
    with device.open(["sh", "-c", "sleep 20 & echo $!"]) as stream:
        assert stream.wait(deadline_s=10) == Exit(0)
        device.run(["kill", stream.output().decode().strip()], deadline_s=DEADLINE_S).require_success()


def test_a_folder_is_no_file(device, tmp_path):
    with pytest.raises(TransferError, match="could not be copied"):
        device.put(tmp_path, str(tmp_path / "goal"), deadline_s=DEADLINE_S)
    with pytest.raises(TransferError, match="could not be copied"):
        device.get(str(tmp_path), tmp_path / "goal", deadline_s=DEADLINE_S)


def test_more_output_than_is_kept_unread(device):
    argv, size = ["head", "-c", "20000000", "/dev/zero"], 20_000_000
    assert len(device.run(argv, deadline_s=DEADLINE_S).stdout) == size
    with device.open(argv) as stream:
        waiting, until = [0], time.monotonic() + DEADLINE_S
        # Until something has come and nothing more does, for as long as other programs take.
        while waiting[-1] == 0 or waiting[-1] != waiting[-2]:
            assert time.monotonic() < until, waiting
            for _ in range(5):
                device.run(["true"], deadline_s=DEADLINE_S)
            waiting.append(len(stream._program.out))
        assert 0 < waiting[-1] < size // 2  # the rest waits on the board
        got = 0
        while data := stream.read(deadline_s=DEADLINE_S):
            got += len(data)
        assert (got, stream.wait(deadline_s=DEADLINE_S)) == (size, Exit(0))


@pytest.fixture
def talkative(own_places, tmp_path, require_part):
    """A board whose ~/.bashrc prints something, and whose SFTP server is a program of its own, as on Debian."""
    if not pwd.getpwuid(os.getuid()).pw_shell.endswith("bash"):
        require_part("bash as login shell", "chsh -s /bin/bash; it reads ~/.bashrc")
    with OpenSSH(tmp_path / "talkative") as server:
        helper = Path("/usr/lib/openssh/sftp-server")
        if not helper.exists():
            require_part("OpenSSH's SFTP server", "apt install openssh-sftp-server")
        server.write_settings({"internal-sftp": str(helper)})
        (server.home / ".bashrc").write_text("echo welcome; echo beware >&2\n")
        yield server


def test_start_up_files_that_print_something(talkative):
    with device_on(talkative) as device:
        done = device.run(["sh", "-c", "echo out; echo err >&2"], deadline_s=DEADLINE_S)
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
        with pytest.raises(TransferError, match="no files by SFTP") as caught:
            device.put(talkative.identity, "/tmp/never", deadline_s=DEADLINE_S)
        assert ".bashrc must print nothing" in caught.value.hint


def test_a_login_shell_that_runs_nothing(talkative):
    (talkative.home / ".bashrc").write_text("echo this account is closed; exit 3\n")
    with device_on(talkative) as device:
        done = device.run(["true"], deadline_s=DEADLINE_S)
        assert (done.exit, done.stdout) == (Exit(3), b"this account is closed\n")
