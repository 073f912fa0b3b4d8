"""The user's boards in devices.toml: written whole, read strictly, changed without losing what the user wrote."""

from __future__ import annotations

import resource
import threading

import pytest

from devices.errors import InventoryError, UnknownDeviceError
from devices.inventory import Board, add_board, entries, find_board, members, remove_board
from devices.registry import find_device, list_devices
from devices.ssh.address import Address, Jump, parse_destination, parse_jumps
from devices.ssh.keys import lock_config

PI = Board("pi4", Address("raspberrypi.local", "pi", 2222, "~/.ssh/id_pi", "gate"), ("lab", "slow"))


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


def test_without_a_file_there_are_no_boards(config):
    assert entries() == {}
    assert not config.exists()
    with pytest.raises(UnknownDeviceError, match="'pi4'") as caught:
        find_board("pi4")
    assert "edge devices add" in caught.value.hint


def test_a_board_comes_back_as_it_was():
    plain = Board("plain", Address("10.0.0.7"))
    add_board(PI)
    add_board(plain)
    assert entries() == {"pi4": PI, "plain": plain}
    assert remove_board("pi4") == PI
    assert entries() == {"plain": plain}


def test_the_user_s_own_words_stay(config):
    config.mkdir()
    text = '# my boards\n[devices.attic]  # upstairs\nhost = "10.0.0.7" # fixed\n'
    (config / "devices.toml").write_text(text)
    add_board(PI)
    assert (config / "devices.toml").read_text().startswith(text)
    remove_board("pi4")
    assert (config / "devices.toml").read_text().strip() == text.strip()


def test_only_the_user_may_read_it(config):
    add_board(PI)
    assert (config / "devices.toml").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in config.iterdir()) == ["devices.toml"]


def test_a_file_that_cannot_be_replaced_stays(config):
    add_board(PI)
    before = (config / "devices.toml").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limits[1]))  # as on a full disk, the next byte fails
    try:
        with pytest.raises(InventoryError, match="File too large"):
            add_board(Board("other", Address("10.0.0.8")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (config / "devices.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["", "-rf", "a b", "a/b", "a,b", "ü", "a" * 64, "local", "all", "emulated-pi4", ".."])
def test_names_that_are_refused(name):
    with pytest.raises(InventoryError) as caught:
        Board(name, Address("h"))
    assert caught.value.hint
    with pytest.raises(InventoryError):
        Board("fine", Address("h"), (name,))


def test_no_name_twice():
    add_board(PI)
    for board in (
        PI,
        Board("lab", Address("h")),
        Board("new", Address("h"), ("pi4",)),
        Board("x", Address("h"), ("x",)),
    ):
        with pytest.raises(InventoryError, match=r"already|same name"):
            add_board(board)
    assert list(entries()) == ["pi4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("devices = 1", "not a table"),
        ("[devices.pi4]", "names no host"),
        ("[devices]\npi4 = 'raspberrypi.local'", "names no host"),
        ("[devices.pi4]\nhost = 'h'\nprot = 22", "did you mean 'port'"),
        ("[devices.pi4]\nhost = 'h'\nport = 'x'", "port"),
        ("[devices.pi4]\nhost = 'h'\nport = 70000", "port"),
        ("[devices.pi4]\nhost = 'h'\nport = true", "port"),
        ("[devices.pi4]\nhost = 'h'\nuser = 7", "user is not a string"),
        ("[devices.pi4]\nhost = 'h'\ngroups = 'lab'", "groups"),
        ("[devices.pi4]\nhost = '-oProxyCommand=x'", "not an address"),
        ("[devices.pi4]\nhost = 'h'\njump = 'g:99999'", "99999"),
        ("[devices.local]\nhost = 'h'", "that the toolkit uses"),
        ("[devices.a]\nhost = 'h'\ngroups = ['b']\n[devices.b]\nhost = 'h'", "'b' names both"),
        ("[devices", "cannot be used"),
        ("[devices.pi4]\nhost = 'h'\n[devices.pi4]\nhost = 'h'", "cannot be used"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(config, text, said):
    config.mkdir()
    (config / "devices.toml").write_text(text)
    with pytest.raises(InventoryError, match=said):
        entries()
    assert find_device("local").name == "local"  # what is built in does not depend on it


def test_a_file_that_is_no_text(config):
    config.mkdir()
    (config / "devices.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InventoryError, match="cannot be read"):
        entries()


def test_groups_stand_for_their_members():
    add_board(PI)
    add_board(Board("pi5", Address("h"), ("lab",)))
    assert members(["lab"]) == ("pi4", "pi5")
    assert members(["pi5", "lab", "local", "nobody"]) == ("pi5", "pi4", "local", "nobody")


def test_boards_are_devices():
    add_board(PI)
    assert list_devices()["pi4"].about == "pi@raspberrypi.local port 2222 through gate"
    device = find_device("pi4")
    assert (device.name, device.kind) == ("pi4", "ssh")
    with pytest.raises(UnknownDeviceError, match="'pi44'") as caught:
        find_device("pi44")
    assert "did you mean pi4?" in caught.value.hint


def test_changes_wait_for_each_other():
    order = []

    def change() -> None:
        with lock_config():
            order.append("second")

    with lock_config():
        thread = threading.Thread(target=change)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("raspberrypi.local", (None, "raspberrypi.local")),
        ("pi@10.0.0.7", ("pi", "10.0.0.7")),
        ("pi@[fe80::1%eth0]", ("pi", "fe80::1%eth0")),
        ("fe80::1", (None, "fe80::1")),
        ("my_alias", (None, "my_alias")),
    ],
)
def test_destinations(text, parsed):
    assert parse_destination(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "@h", "pi@", "a b", "-oProxyCommand=x", "pi@-h", "h:22", "ssh://h", "a@b@c", "h/x"]
)
def test_what_is_no_destination(text):
    with pytest.raises(InventoryError, match="not an address"):
        parse_destination(text)


@pytest.mark.parametrize(
    ("text", "jumps"),
    [
        ("none", ()),
        ("gate", (Jump("gate", None, None),)),
        ("me@gate:2222, [::1]:22", (Jump("gate", "me", 2222), Jump("::1", None, 22))),
        ("fe80::1", (Jump("fe80::1", None, None),)),
    ],
)
def test_machines_on_the_way(text, jumps):
    assert parse_jumps(text) == jumps
