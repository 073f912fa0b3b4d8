"""Files placed on a board by their content: sent once, checked on the board, resumed after a cut."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from pathlib import Path

import pytest
from sshd import Keys, OpenSSH

from devices import board_paths as layout
from devices.bundle import agent_bundle
from devices.errors import CommandFailedError, DeviceError, TransferError, UnreachableError
from devices.ssh.address import Address
from devices.ssh.device import SSHDevice
from devices.ssh.keys import HostKey

SIZE = 3_000_000
DEADLINE_S = 20.0


class Counting:
    """A loopback proxy that counts what is sent to the server, and cuts the connection after `most` bytes."""

    def __init__(self, port: int) -> None:
        self._port, self.sent, self.most = port, 0, 1 << 62
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Counting:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [client, server]
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, into, counted in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._pass_on, args=(source, into, counted), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pass_on(self, source: socket.socket, into: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(1 << 14):
                if counted and self.sent + len(data) > self.most:
                    break
                into.sendall(data)
                self.sent += len(data) * counted
        except OSError:
            pass
        for each in (source, into):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


@pytest.fixture
def server(own_places, tmp_path, require_part):
    with OpenSSH(tmp_path / "server") as made:
        yield made


@pytest.fixture
def proxy(server):
    with Counting(server.port) as made:
        yield made


def device_through(proxy: Counting, server: Keys) -> SSHDevice:
    address = Address("127.0.0.1", server.user, proxy.port, str(server.identity))
    return SSHDevice("board", address, pins={"board": (HostKey.of("board", server.host_key),)})


def drafts(server: Keys) -> list[Path]:
    return list((server.home / layout.ROOT).rglob("*.part"))


def test_it_lies_under_its_sum_and_is_sent_once(server, proxy, model):
    with device_through(proxy, server) as device:
        path = Path(device.place(model))
        sum_ = hashlib.sha256(model.read_bytes()).hexdigest()
        assert path == server.home / layout.MODELS / f"{sum_}.tflite"
        assert path.read_bytes() == model.read_bytes()
        assert proxy.sent > path.stat().st_size
        before = proxy.sent
        assert device.place(model) == str(path)
        assert proxy.sent - before < 1000
    before = proxy.sent
    with device_through(proxy, server) as device:
        assert device.place(model) == str(path)
        assert device.place(model.rename(model.with_name("renamed.tflite"))) == str(path)
    assert proxy.sent - before < 8000  # a handshake, a login and a question
    assert not drafts(server)


def test_what_was_damaged_on_the_board_is_sent_again(server, proxy, model):
    with device_through(proxy, server) as device:
        path = Path(device.place(model))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with device_through(proxy, server) as device:
        device.place(model)
    assert path.read_bytes() == model.read_bytes()


def test_after_a_cut_only_the_rest_is_sent(server, proxy, model):
    proxy.most = SIZE * 3 // 4
    with device_through(proxy, server) as device:
        with pytest.raises(UnreachableError):
            device.place(model)
        assert not list((server.home / layout.MODELS).glob("*.tflite"))
        (draft,) = drafts(server)
        assert 0 < draft.stat().st_size < SIZE
        proxy.sent, proxy.most = 0, 1 << 62
        path = Path(device.place(model))
    assert path.read_bytes() == model.read_bytes()
    assert proxy.sent < SIZE * 3 // 4
    assert not drafts(server)


@pytest.mark.parametrize("size", [10, SIZE // 2, SIZE + 10])
def test_a_draft_that_is_no_beginning_of_it_is_sent_whole(server, proxy, model, size):
    with device_through(proxy, server) as device:
        goal = server.home / layout.MODELS / f"{hashlib.sha256(model.read_bytes()).hexdigest()}.tflite"
        goal.parent.mkdir(parents=True)
        (goal.parent / f".{goal.name}.part").write_bytes(b"\xff" * size)
        assert Path(device.place(model)).read_bytes() == model.read_bytes()
    assert not drafts(server)


def test_a_folder_that_cannot_be_made(server, proxy, model):
    (server.home / layout.MODELS).parent.mkdir(parents=True, exist_ok=True)
    (server.home / layout.MODELS).write_text("in the way")
    with device_through(proxy, server) as device, pytest.raises(CommandFailedError, match="mkdir"):
        device.place(model)


def test_a_model_that_is_not_here(server, proxy, tmp_path):
    with device_through(proxy, server) as device, pytest.raises(TransferError, match="cannot be read"):
        device.place(tmp_path / "missing.tflite")


def test_a_board_without_sha256sum_is_told(server, proxy, model):
    tools = server.folder / "tools"
    tools.mkdir()
    for name in ("sh", "env", "mkdir", "wc"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    server.write_settings({'/home"\n': f'/home" "PATH={tools}"\n'})
    with device_through(proxy, server) as device, pytest.raises(DeviceError, match="sha256sum"):
        device.place(model)


def test_the_agent_is_placed_and_started_by_the_boards_own_python(server, proxy):
    with device_through(proxy, server) as device:
        python, path = device.agent_argv()
        assert python == str(server.home / layout.VENV_PYTHON)
        assert Path(path).read_bytes() == agent_bundle().read_bytes()
        before = proxy.sent
        assert device.agent_argv() == (python, path)
        assert proxy.sent - before < 1000
        (server.home / layout.VENV_PYTHON).unlink()
        assert device.agent_argv() == ("python3", path)
