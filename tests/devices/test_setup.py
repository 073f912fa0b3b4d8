"""A runtime on a board without internet: this machine with a home of its own and nothing of our environment."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from devices import board_paths as layout
from devices.bundle import agent_bundle
from devices.errors import DeadlineError, TransferError
from devices.local import LocalDevice
from devices.local_paths import cache_dir
from devices.messages.machine_jobs import RuntimeVersion
from devices.messages.model_jobs import InferRequest, ModelSetup
from devices.messages.protocol import decode_array, encode_array
from devices.solver.errors import NoRuntimeFits, SetupError, WheelError
from devices.solver.setup import plan, setup
from devices.solver.wheels import fetch
from edge.agent.client import AgentClient

FIRST, SECOND = "ai-edge-litert==1.2.0", "tflite-runtime==2.14.0"
SYSTEM_PATH = "/usr/bin:/bin"


@dataclass(frozen=True)
class Board(LocalDevice):
    """A board: its programs see another home, the system's own Python and no index of packages.

    `before` is put before the commands that start a Python of an environment.
    """

    name: str = "board"
    kind: str = "ssh"
    home: Path = Path("/nonexistent")
    path: str = SYSTEM_PATH
    before: tuple[str, ...] = ()
    sent: list[str] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def argv(self, argv):
        self.commands.append(tuple(argv))
        before = self.before if "/environments/" in argv[0] else ()
        return ("env", "-i", f"HOME={self.home}", f"PATH={self.path}", "PIP_NO_INDEX=1", *before, *argv)

    def run(self, argv, *, deadline_s, stdin=b"", env=None):
        return super().run(self.argv(argv), deadline_s=deadline_s, stdin=stdin, env=env)

    def open(self, argv, *, env=None):
        return super().open(self.argv(argv), env=env)

    def put(self, local, remote, *, deadline_s, on_transfer=None):
        self.sent.append(Path(remote).name)
        super().put(local, remote, deadline_s=deadline_s, on_transfer=on_transfer)

    @property
    def base(self):
        return self.home / ".local/share/edge-convert"


@pytest.fixture(scope="session")
def wheels(require_part):
    """Both runtimes' wheels in the user's own cache: downloaded once, then never again."""
    python = shutil.which("python3", path=SYSTEM_PATH)
    version = subprocess.run([python or "false", "-c", "import sys; print(sys.version_info[:2] in [(3, 10), (3, 11)])"],
                             capture_output=True, text=True, check=False)  # fmt: skip
    if version.stdout.strip() != "True":
        require_part("a system Python 3.10 or 3.11", "apt install python3, on Debian 12 or Ubuntu 22.04")
    board = Board(home=Path("/tmp"))
    try:
        for want in (FIRST, SECOND):
            fetch(plan(board, want))
    except WheelError as error:
        require_part("runtime wheels", str(error))
    return cache_dir()


@pytest.fixture
def board(wheels, tmp_path):
    """A fresh board."""
    (tmp_path / "home").mkdir()
    return Board(home=tmp_path / "home")


@pytest.fixture(scope="module")
def ready(wheels, tmp_path_factory):
    """A board with a runtime, and what `setup` said of it and reported meanwhile."""
    board, told = Board(home=tmp_path_factory.mktemp("home")), []
    return board, setup(board, FIRST, on_step=lambda *now: told.append(now)), told


def current(board):
    """Return the runtime in use, from the board's own files."""
    return json.loads((board.base / "venv" / "edge-convert.json").read_text())["runtime"]


def test_the_agent_runs_a_model_in_the_new_environment(ready, shared_data):
    board, found, _ = ready
    model = shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"
    python = str(board.base / "venv/bin/python")
    assert found.python == python
    with AgentClient.start(lambda: board.open((python, str(agent_bundle())))) as agent:
        assert agent.hello.runtimes == (RuntimeVersion("ai-edge-litert", "1.2.0"),)
        grey = np.full((1, 128, 128, 3), 128, np.uint8)
        request = InferRequest(ModelSetup(str(model)), ((encode_array(grey),),))
        result = agent.call(request, deadline_s=60)
    assert decode_array(result.outputs[0][0]).max() > 0
    assert agent.hello.numpy == "2.2.6"


def test_everything_is_sent_once_and_progress_is_reported(ready):
    board, found, told = ready
    assert found.sent_bytes == found.wheels_bytes > 10_000_000
    assert len(board.sent) == len(found.solution.requirements)
    sending = [(done, of) for stage, done, of in told if stage.startswith("sending")]
    assert sending == sorted(sending)
    assert sending[-1] == (found.sent_bytes, found.sent_bytes)
    assert told[-1] == ("ready", 3, 3)
    assert found.previous is None


def test_pip_is_content_with_the_environment(ready):
    board, _, _ = ready
    done = subprocess.run([sys.executable, "-m", "pip", "--python", str(board.base / "venv/bin/python"), "check"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stdout == "No broken requirements found.\n"


def test_no_python_of_the_system_was_touched_and_pip_was_not_run(ready):
    board, _, _ = ready
    assert not any("pip" in word for argv in board.commands for word in argv)
    assert sorted(each.name for each in (board.home / ".local/share").iterdir()) == ["edge-convert"]


def test_again_sends_nothing_another_keeps_the_first_and_back_sends_nothing(board):
    setup(board, FIRST)
    board.sent.clear()
    again = setup(board, FIRST)
    assert (again.sent_bytes, board.sent, again.previous) == (0, [], None)
    other = setup(board, SECOND)
    assert (current(board), other.previous) == (SECOND, FIRST)
    board.sent.clear()
    back = setup(board, FIRST)
    assert (current(board), back.sent_bytes, board.sent, back.previous) == (FIRST, 0, [], SECOND)
    assert len(list((board.base / "environments").iterdir())) == 2


def test_an_unchecked_environment_is_never_used(board):
    """The memory that NumPy needs is not there: the check fails, for real."""
    setup(board, FIRST)
    starved = replace(board, before=("prlimit", "--as=60000000"))
    with pytest.raises(SetupError, match=f"tflite-runtime 2.14.0 .*; {FIRST} stays in use"):
        setup(starved, SECOND)
    assert current(board) == FIRST
    assert [each.name[:14] for each in (board.base / "environments").iterdir()] == ["ai-edge-litert"]
    assert setup(board, SECOND).previous == FIRST


def test_a_processor_that_lacks_an_instruction_is_named(board, require_part):
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        require_part("qemu-x86_64 on x86-64", "apt install qemu-user")
    with pytest.raises(SetupError, match=r"1\.2\.0 died on the board with signal SIGILL; nothing was") as caught:
        setup(replace(board, before=(emulator, "-cpu", "Conroe")), FIRST)
    assert "an instruction that this processor lacks" in caught.value.hint
    assert not (board.base / "venv").exists()
    assert not list((board.base / "environments").iterdir())


@dataclass(frozen=True)
class Damaging(Board):
    """A board whose connection changes one byte of a wheel."""

    def put(self, local, remote, *, deadline_s, on_transfer=None):
        data = bytearray(local.read_bytes())
        data[len(data) // 2] ^= 1
        copy = self.home / "damaged"
        copy.write_bytes(data)
        super().put(copy, remote, deadline_s=deadline_s, on_transfer=on_transfer)


@dataclass(frozen=True)
class Cut(Board):
    """A board whose connection breaks at its second file."""

    def put(self, local, remote, *, deadline_s, on_transfer=None):
        if self.sent:
            raise TransferError("the connection was lost")
        super().put(local, remote, deadline_s=deadline_s, on_transfer=on_transfer)


def test_a_transfer_that_damages_is_noticed_and_fixed_by_the_next(board):
    with pytest.raises(SetupError, match="arrived damaged"):
        setup(Damaging(home=board.home), FIRST)
    assert not (board.base / "venv").exists()
    setup(board, FIRST)
    assert current(board) == FIRST


def test_a_cut_connection_leaves_nothing_and_the_next_sends_the_rest(board):
    with pytest.raises(TransferError):
        setup(Cut(home=board.home), FIRST)
    assert not (board.base / "venv").exists()
    found = setup(board, FIRST)
    assert 0 < found.sent_bytes < found.wheels_bytes


def test_two_at_once_are_told_apart(board):
    board.base.mkdir(parents=True)
    with (board.base / "setup.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(SetupError, match="another set-up is running"):
            setup(board, FIRST)
    setup(board, FIRST)


def test_a_half_built_environment_is_built_anew(board):
    name = setup(board, FIRST).environment
    folder = board.base / "environments" / name
    (folder / "edge-convert.json").unlink()
    shutil.rmtree(next(folder.glob("lib/python3*/site-packages/numpy")))
    setup(board, FIRST)
    assert current(board) == FIRST


def test_too_little_room_is_said_before_anything_is_sent(board, require_part):
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(board.home)], capture_output=True, check=False
        ).returncode
    ):
        require_part("the right to mount a small tmpfs", "run as root")
    try:
        with pytest.raises(SetupError, match=r"takes \d+ MiB on board, \d MiB are free"):
            setup(board, FIRST)
        assert board.sent == []
    finally:
        subprocess.run(["umount", str(board.home)], check=True)


def test_a_board_without_python(board):
    with pytest.raises(NoRuntimeFits, match=r"board has no Python 3: python3, .* were not found"):
        setup(replace(board, path="/nonexistent"), FIRST)


def test_another_python_of_the_board_is_taken_where_the_first_does_not_fit(board, tmp_path):
    """`python3` is one that states an old version; python3.11 is the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    old = "import platform; platform.python_version = lambda: '3.7.3'; exec(__import__('sys').stdin.read())"
    script = folder / "python3"
    script.write_text(f'#!/bin/sh\nshift\nexec /usr/bin/python3 -c "{old}" "$@"\n')
    script.chmod(0o755)
    with pytest.raises(NoRuntimeFits, match=r"Python 3\.7 is too old"):
        plan(replace(board, path=f"{folder}"))
    system = Path("/usr/bin/python3").resolve()
    (folder / "python3.11").symlink_to(system)
    assert plan(replace(board, path=f"{folder}")).python_tag.startswith("cp31")


def test_a_deadline_that_has_passed(board):
    with pytest.raises(DeadlineError):
        setup(board, FIRST, deadline_s=0)


def edge(*arguments):
    """Run the command as a process."""
    argv = [sys.executable, "-m", "edge", "devices", "setup", *arguments]
    return subprocess.run(argv, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip


def test_on_this_machine_pip_is_the_way():
    done = edge("local")
    assert (done.returncode, done.stdout) == (10, "")
    assert "error: local is this machine" in done.stderr
    assert "-m pip install ai-edge-litert==2.1.6" in done.stderr


def test_what_would_be_installed_as_text_and_json():
    text = edge("local", "--dry-run")
    assert (text.returncode, text.stderr) == (0, "")
    assert text.stdout.startswith("ai-edge-litert 2.1.6 for local: the version verified the most")
    assert max(map(len, text.stdout.splitlines())) <= 80
    told = json.loads(edge("local", "--dry-run", "--runtime", "newest", "--json").stdout)
    assert (told["name"], told["version"]) == ("ai-edge-litert", "2.3.0")


def test_an_unknown_runtime_and_an_unknown_device():
    done = edge("local", "--runtime", "ai-edge-litert==2.1.5")
    assert (done.returncode, "did you mean ai-edge-litert==2.1.6?" in done.stderr) == (8, True)
    assert edge("nowhere").returncode == 3


def test_over_a_real_ssh_server(wheels, tmp_path, monkeypatch, require_part):
    """The same over OpenSSH: then the device's own agent is the one of the new environment."""
    from sshd import SSHD, OpenSSH

    from devices.ssh.address import Address
    from devices.ssh.device import SSHDevice
    from devices.ssh.keys import HostKey

    if SSHD is None:
        require_part("an SSH server", "apt install openssh-server")
    monkeypatch.setenv("EDGE_CACHE_DIR", str(wheels))
    monkeypatch.setenv("HOME", str(tmp_path))  # no configuration and no keys of the user's own
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with OpenSSH(tmp_path / "ssh") as server:
        shutil.rmtree(server.home / ".local")
        address = Address("127.0.0.1", server.user, server.port, str(server.identity))
        pins = {"board": (HostKey.of("board", server.host_key),)}
        with SSHDevice("board", address, pins=pins) as device:
            found = setup(device, FIRST)
        with SSHDevice("board", address, pins=pins) as device:
            assert device.agent_argv()[0] == found.python == str(server.home / layout.VENV_PYTHON)
            facts = device.facts()
            assert [(each.name, each.version) for each in facts.runtimes] == [("ai-edge-litert", "1.2.0")]
            assert setup(device, FIRST).sent_bytes == 0
