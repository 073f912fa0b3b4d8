"""A fresh board's console: Debian's getty, login, bash and sudo on a pseudo-terminal, the machine itself untouched."""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from getty import AGETTY, PASSWORD, SUDO, UNSHARE, Getty
from noise import NoisyLine

from firmware_tools.console.login import log_in
from firmware_tools.console.provision import Steps, provision
from firmware_tools.console.terminal import Terminal
from firmware_tools.errors import LoginRefusedError, NoAnswerError, SettingError
from firmware_tools.line import SerialLine
from firmware_tools.serial_link.tunnel import is_bridge

EDGE = str(Path(sys.executable).with_name("edge"))
BLOB = struct.pack(">I11sI", 11, b"ssh-ed25519", 32) + bytes(range(32))
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()} me@here"


@pytest.fixture(scope="module")
def board(require_part):
    """A login at the far end of a line."""
    if AGETTY is None or UNSHARE is None or os.geteuid() != 0:
        require_part("a login on a port of one's own", "run as root, with util-linux")
    if SUDO is None:
        require_part("sudo", "apt install sudo")
    # Not in pytest's folders, which are closed to other users.
    with (
        tempfile.TemporaryDirectory(prefix="getty") as folder,
        NoisyLine() as line,
        Getty(line.far, Path(folder)) as getty,
    ):
        yield line, getty


def console(line: NoisyLine, *options: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run `edge devices console`."""
    argv = [EDGE, "devices", "console", "--port", line.near, "--user", "pi", "--password-stdin", *options]
    return subprocess.run(argv, input=f"{password}\n", capture_output=True, text=True, timeout=120, check=False)


def test_a_fresh_board_gets_a_key_and_a_name(board, tmp_path):
    line, getty = board
    shutil.rmtree(getty.home / ".ssh", ignore_errors=True)
    (tmp_path / "id.pub").write_text(KEY + "\n")
    for way in line.carried.values():
        way.clear()
    outside = os.uname().nodename
    done = console(line, "--ssh-key", str(tmp_path / "id.pub"), "--hostname", "kitchen-pi", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["user"], told["hostname"], told["key"], told["bridge"]) == ("pi", "kitchen-pi", "added", False)
    assert (getty.home / ".ssh/authorized_keys").read_text() == KEY + "\n"
    assert (getty.home / ".ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (getty.home / ".ssh").stat().st_mode & 0o777 == 0o700
    assert "127.0.1.1\tkitchen-pi\n" in (getty.folder / "hosts").read_text()
    assert "raspberrypi" not in (getty.folder / "hosts").read_text()
    assert os.uname().nodename == outside
    # The password went there, for the login and for sudo; it never came back, and no message has it.
    assert line.carried["down"].count(PASSWORD.encode()) == 2
    assert PASSWORD.encode() not in line.carried["up"]
    assert PASSWORD not in done.stdout + done.stderr


def test_a_key_that_is_there_is_not_added_again_and_others_stay(board, tmp_path):
    line, getty = board
    keys = getty.home / ".ssh/authorized_keys"
    keys.parent.mkdir(exist_ok=True)
    keys.write_text("ssh-ed25519 AAAA somebody@else")  # its last line not ended
    os.chown(keys.parent, 7311, 7311)
    os.chown(keys, 7311, 7311)
    (tmp_path / "id.pub").write_text(KEY + "\n")
    for expected in ("added", "present"):
        done = console(line, "--ssh-key", str(tmp_path / "id.pub"), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["key"] == expected
    assert keys.read_text() == f"ssh-ed25519 AAAA somebody@else\n{KEY}\n"


def test_addresses_are_shown_and_the_user_is_logged_out(board):
    line, _ = board
    done = console(line)
    assert done.returncode == 0, done.stderr
    assert "logged in as pi" in done.stdout
    shown = subprocess.run(["ip", "-o", "addr", "show", "scope", "global"], capture_output=True, text=True, check=True)
    for row in shown.stdout.splitlines():
        assert row.split()[3] in done.stdout
    wrong = console(line, password="guess")  # asked again: nobody is logged in any more
    assert wrong.returncode == 10
    assert "was refused" in wrong.stderr
    assert "guess" not in wrong.stderr


def test_a_key_whose_comment_has_backslashes_stays_one_line(board, tmp_path):
    line, getty = board
    keys = getty.home / ".ssh/authorized_keys"
    keys.unlink(missing_ok=True)
    key = KEY.replace("me@here", r"corp\nina@pc\c")
    (tmp_path / "id.pub").write_text(key + "\n")
    for expected in ("added", "present"):
        done = console(line, "--ssh-key", str(tmp_path / "id.pub"), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["key"] == expected
    assert keys.read_text() == key + "\n"


def test_nobody_stays_logged_in_when_a_password_is_not_given(board):
    line, _ = board

    def ask(what: str) -> str:
        if what == "sudo":
            raise KeyboardInterrupt
        return PASSWORD

    asked = []
    with SerialLine(line.near) as port:
        with pytest.raises(KeyboardInterrupt):
            provision(port, "pi", Steps(hostname="x"), ask, on_step=lambda text: None)
        provision(port, "pi", Steps(), lambda what: asked.append(what) or PASSWORD, on_step=lambda text: None)
    assert asked == ["login"]


def test_a_program_that_misses_the_ctrl_c_is_interrupted_again(board):
    # sudo does so now and then: one key that comes between its prompt and its read is lost.
    line, getty = board
    deaf = getty.home / "bin/sudo"
    deaf.parent.mkdir()
    deaf.write_text(
        "#!/bin/sh\ntrap 'trap - INT' INT\nprintf 'sudo password: ' >/dev/tty\nwhile :; do sleep 0.05; done\n"
    )
    deaf.chmod(0o755)
    (getty.home / ".bash_profile").write_text("PATH=$HOME/bin:$PATH\n")
    asked = []

    def ask(what: str) -> str:
        asked.append(what)
        if what == "sudo":
            raise KeyboardInterrupt
        return PASSWORD

    try:
        with SerialLine(line.near) as port:
            with pytest.raises(KeyboardInterrupt):
                provision(port, "pi", Steps(hostname="x"), ask, on_step=lambda text: None)
            provision(port, "pi", Steps(), ask, on_step=lambda text: None)
    finally:
        shutil.rmtree(deaf.parent)
        (getty.home / ".bash_profile").unlink()
    assert asked == ["login", "sudo", "login"]


def test_a_login_that_somebody_left_half_finished_is_not_answered_over_and_over(board):
    line, _ = board
    assert console(line).returncode == 0  # a login prompt stands there
    with SerialLine(line.near) as port:
        terminal = Terminal(port)
        terminal.type_line("pi")
        terminal.expect({"password": "Password:"}, deadline_s=30, what="the question")
        line.carried["up"].clear()
        provision(port, "pi", Steps(), lambda what: PASSWORD, on_step=lambda text: None)
    # Once for what stood there; on a busy machine the second Enter may come late and be an answer too. Not five times.
    assert 1 <= line.carried["up"].count(b"Login incorrect") <= 2


def test_what_asks_for_a_bridge_presses_no_key_of_a_login():
    with NoisyLine() as line, SerialLine(line.near) as port:
        for _ in range(60):
            assert not is_bridge(port, deadline_s=0.001)
    # A getty looks at seven bits of a byte: Ctrl-C, Ctrl-D, line feed, return, Ctrl-Z, Ctrl-backslash.
    assert not {byte & 0x7F for byte in line.carried["down"]} & set(b"\x03\x04\n\r\x1a\x1c")
    assert line.carried["down"]


def test_somebody_else_who_was_left_logged_in(board):
    line, _ = board
    with SerialLine(line.near) as port:
        log_in(Terminal(port), "pi", lambda what: PASSWORD)  # and never out
        with pytest.raises(LoginRefusedError, match="pi was logged in there, not root"):
            provision(port, "root", Steps(), lambda what: PASSWORD, on_step=lambda text: None)
    assert console(line).returncode == 0


def test_sudo_that_refuses(board):
    line, _ = board
    answers = iter([PASSWORD, "wrong"])
    with SerialLine(line.near) as port, pytest.raises(LoginRefusedError, match="sudo"):
        provision(port, "pi", Steps(hostname="x"), lambda what: next(answers), on_step=lambda text: None)
    assert console(line).returncode == 0  # the console is usable again


def test_the_bridge_takes_the_shell_s_place_and_gives_it_back(board):
    line, _ = board
    done = console(line, "--bridge", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bridge"] is True
    with SerialLine(line.near) as port:
        assert is_bridge(port, deadline_s=10)
    assert not list(Path("/tmp").glob("e??????/b.pyz"))
    again = console(line)
    assert again.returncode == 0, again.stderr
    assert "ending the bridge" in again.stderr


def test_a_silent_console():
    with NoisyLine() as line, SerialLine(line.near) as port:
        terminal = Terminal(port)
        with pytest.raises(NoAnswerError, match="nothing was received"):
            terminal.expect({"login": "login:"}, deadline_s=0.1, what="a login")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({"hostname": "a b"}, "not a valid host name"),
        ({"hostname": "x'; reboot #"}, "not a valid host name"),
        ({"key": "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret"}, "private key"),
        ({"key": "ssh-ed25519 !!!"}, "damaged"),
        ({"key": KEY + "\nssh-ed25519 more"}, "one line"),
        ({"key": KEY.replace("ssh-ed25519", "ssh-rsa", 1)}, "holds another kind"),
    ],
)
def test_steps_that_no_board_would_accept(steps, said):
    with pytest.raises(SettingError, match=said) as caught:
        Steps(**steps)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "error: there is no key {file}\n"),
        (b"\xff\xfe", "error: cannot read the key {file}: it is not text\n"),
    ],
    ids=["missing", "binary"],
)
def test_an_unreadable_key_is_reported_before_the_line_is_opened(tmp_path, content, said):
    file = tmp_path / "id.pub"
    if content is not None:
        file.write_bytes(content)
    argv = [EDGE, "devices", "console", "--port", "/dev/null", "--ssh-key", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(said.format(file=file))
    assert "ssh-keygen -t ed25519" in done.stderr
