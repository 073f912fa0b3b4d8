"""Enrolls a board: shows its host key to be accepted, logs in, and adds the board to the inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devices import inventory
from devices.errors import HostKeyError
from devices.inventory import Board
from devices.ssh.connect import MOST_HOPS
from devices.ssh.connection import Connection
from devices.ssh.keys import HostKey, UntrustedKey, lock_config, read_pins, read_ssh_keys, write_pins


@dataclass(frozen=True)
class Question:
    """A host key that is not pinned: whose it is, the key, and whether the user's ssh has recorded the same."""

    where: str
    key: HostKey
    known_to_ssh: bool


_NOT_ACCEPTED = (
    "nothing was stored. `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on that machine tells its key; on a "
    "terminal you are asked, a script gives --fingerprint SHA256:..."
)
Accept = Callable[[Question], bool]


def enroll(board: Board, accept: Accept, *, deadline_s: float) -> tuple[HostKey, ...]:
    """Connect to a board for the first time and, if that works, store it and the host keys.

    Args:
        board: The board; its name must be free.
        accept: Asked about each machine on the way whose key is not pinned, the board last. The time it takes does not
        count towards the deadline.
        deadline_s: Longest time for each of the attempts to connect.

    Returns:
        The keys that were accepted now.

    Raises:
        InventoryError: The name is taken or cannot be used; nothing has been connected.
        HostKeyError: A key was not accepted, or a pinned one has changed.
        LoginError: No key of the user was accepted; nothing is stored.
        UnreachableError: No answer.
    """
    inventory.check_new(board)
    accepted = _connect_asking(board, accept, deadline_s)
    with lock_config():
        pins = _without(board.name, read_pins())
        for key in accepted:
            pins[key.label] = (*(each for each in pins.get(key.label, ()) if each != key), key)
        write_pins(pins)  # before the board: one without a pin could not be used
        inventory.add_board(board)
    return accepted


def forget(name: str) -> Board:
    """Remove a board from the inventory, and its host key from the pins.

    Raises:
        UnknownDeviceError: There is none of that name.
    """
    with lock_config():
        board = inventory.remove_board(name)
        write_pins(_without(name, read_pins()))
    return board


def _connect_asking(board: Board, accept: Accept, deadline_s: float) -> tuple[HostKey, ...]:
    pins, accepted = _without(board.name, read_pins()), list[HostKey]()
    while True:
        try:
            with Connection(board.name, board.address, pins=pins) as connection:
                connection.connect(deadline_s=deadline_s)
                return tuple(accepted)
        except UntrustedKey as error:
            if error.pinned or len(accepted) >= MOST_HOPS:
                raise
            if not accept(Question(error.where, error.shown, _is_known_to_ssh(board, error.shown))):
                raise HostKeyError(
                    f"the host key of {error.where} was not accepted: {error.shown}", hint=_NOT_ACCEPTED
                ) from error
            pins[error.shown.label] = (error.shown,)
            accepted.append(error.shown)


def _is_known_to_ssh(board: Board, key: HostKey) -> bool:
    return key.key in read_ssh_keys(board.address.host, board.address.port or 22)


def _without(name: str, pins: Mapping[str, tuple[HostKey, ...]]) -> dict[str, tuple[HostKey, ...]]:
    return {label: keys for label, keys in pins.items() if label != name}
