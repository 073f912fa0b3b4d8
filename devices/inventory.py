"""Reads and writes the user's boards: devices.toml in the configuration folder, which may be edited by hand.

[devices.pi4]
host = "raspberrypi.local"   # or an alias of ~/.ssh/config
user = "pi"                  # this and what follows may be left out
port = 22
identity = "~/.ssh/id_pi"
jump = "gate.example.org"
serial = "/dev/ttyUSB0"      # instead of a network, see `edge devices console --bridge`
baud = 115200
groups = ["lab"]
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.files import PRIVATE, temporary_for
from converters.targets.boards import EMULATED_PREFIX
from devices.errors import InventoryError, UnknownDeviceError
from devices.local_paths import config_dir
from devices.ssh.address import MOST_BAUD, MOST_PORT, Address, parse_destination, parse_jumps

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TEXTS = ("host", "user", "identity", "jump", "serial")
_NUMBERS = {"port": MOST_PORT, "baud": MOST_BAUD}
_KEYS = (*_TEXTS, *_NUMBERS, "groups")
_TABLE = "devices"


@dataclass(frozen=True)
class Board:
    """A board the user has added."""

    name: str
    address: Address
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse ambiguous names.

        Raises:
            InventoryError: A name with other than letters, digits, dots, dashes and underscores, or a reserved one.
        """
        for what, name in (("device", self.name), *(("group", each) for each in self.groups)):
            if not _NAME.fullmatch(name):
                raise InventoryError(
                    f"{name!r} cannot name a {what}",
                    hint="names begin with a letter or digit and have letters, digits, '.', '-' and '_', 63 at most",
                )
            if name in ("local", "all") or name.startswith(EMULATED_PREFIX):
                raise InventoryError(
                    f"{name!r} is a name that the toolkit uses itself", hint=f"choose another {what} name"
                )

    def to_json(self) -> dict[str, Any]:
        """Return its entry in devices.toml, with its name."""
        return {"name": self.name, **_settings(self)}


def inventory_path() -> Path:
    """Return the file of the user's boards."""
    return config_dir() / "devices.toml"


def entries() -> Mapping[str, Board]:
    """Return the user's boards by name, in the order of the file; none where there is no file.

    Raises:
        InventoryError: The file cannot be read, or something in it is wrong; says what and where.
    """
    if not inventory_path().exists():  # without it, nothing to parse it with is needed
        return {}
    table = _read().unwrap().get(_TABLE, {})
    if not isinstance(table, dict):
        raise _wrong(f"{_TABLE} is not a table")
    boards = {name: _board(name, raw) for name, raw in table.items()}
    for group in {group for board in boards.values() for group in board.groups} & set(boards):
        raise _wrong(f"{group!r} names both a device and a group")
    return boards


def find_board(name: str) -> Board:
    """Return one of the user's boards.

    Raises:
        UnknownDeviceError: There is none of that name.
    """
    boards = entries()
    if name not in boards:
        near = get_close_matches(name, boards, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        listed = f"there are: {', '.join(boards)}" if boards else "`edge devices add` adds one"
        raise UnknownDeviceError(f"no device {name!r} has been added", hint=meant + listed)
    return boards[name]


def members(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of devices with each group's name replaced by its members'; each once, in order.

    A name that is no group's stays as it is, whether such a device exists or not.
    """
    boards = entries()
    groups: dict[str, list[str]] = {}
    for board in boards.values():
        for group in board.groups:
            groups.setdefault(group, []).append(board.name)
    return tuple(dict.fromkeys(each for name in names for each in groups.get(name, [name])))


def check_new(board: Board) -> None:
    """Check that a board can be added.

    Raises:
        InventoryError: Its name is a device's or a group's, or one of its groups has a device's name.
    """
    boards = entries()
    if board.name in boards:
        raise InventoryError(
            f"there is a device {board.name!r} already: {boards[board.name].address}",
            hint=f"choose another name, or `edge devices remove {board.name}` first",
        )
    groups = {group for each in boards.values() for group in each.groups}
    if board.name in groups or set(board.groups) & {*boards, board.name}:
        raise InventoryError("a device and a group cannot have the same name", hint="choose another name")


def add_board(board: Board) -> None:
    """Write a new board into devices.toml; the rest of the file stays as it is, comments too.

    Raises:
        InventoryError: Its name is taken, or the file cannot be written; it is untouched then.
    """
    import tomlkit

    check_new(board)
    document = _read() if inventory_path().exists() else tomlkit.document()
    table = document.setdefault(_TABLE, tomlkit.table(is_super_table=True))
    entry = tomlkit.table()
    entry.update(_settings(board))
    table[board.name] = entry
    _write(document)


def remove_board(name: str) -> Board:
    """Remove a board from devices.toml and return it.

    Raises:
        UnknownDeviceError: There is none of that name.
        InventoryError: The file cannot be written; it is untouched then.
    """
    board = find_board(name)
    document = _read()
    del document[_TABLE][name]
    _write(document)
    return board


def _settings(board: Board) -> dict[str, Any]:
    named = {**dataclasses.asdict(board.address), "groups": list(board.groups) or None}
    return {key: value for key, value in named.items() if value is not None}


def _read() -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(inventory_path().read_text("utf-8"))
    except TOMLKitError as error:
        raise _wrong(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{inventory_path()} cannot be read: {error}") from error


def _write(document: TOMLDocument) -> None:
    try:
        with temporary_for(inventory_path(), mode=PRIVATE) as file:
            file.write_bytes(document.as_string().encode())
    except OSError as error:
        raise InventoryError(f"{inventory_path()} could not be written: {error.strerror}") from error


def _board(name: str, raw: object) -> Board:
    where = f"[{_TABLE}.{name}]"
    if not isinstance(raw, dict) or not isinstance(raw.get("host"), str):
        raise _wrong(f"{where} names no host")
    for key, value in raw.items():
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            raise _wrong(f"{where} has {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if key in _TEXTS and not isinstance(value, str):
            raise _wrong(f"{where}: {key} is not a string")
        if key in _NUMBERS and (type(value) is not int or not 0 < value <= _NUMBERS[key]):
            raise _wrong(f"{where}: {key} is not a number from 1 to {_NUMBERS[key]}")
    groups = raw.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise _wrong(f"{where}: groups is not a list of strings")
    address = Address(**{key: value for key, value in raw.items() if key != "groups"})
    parse_destination(address.host)
    parse_jumps(address.jump or "")
    if address.jump and address.serial:
        raise _wrong(f"{where} has both jump and serial")
    return Board(name, address, tuple(groups))


def _wrong(what: str) -> InventoryError:
    return InventoryError(f"{inventory_path()} cannot be used: {what}", hint="correct the file, or remove it")
