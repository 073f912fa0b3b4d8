"""A board without a network: deployed to over a serial line of which every hundredth byte is flipped."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest
from bridged import bridge
from noise import NoisyLine

from devices.errors import DeadlineError, DeviceError, UnreachableError
from devices.inventory import Board, add_board, find_board, remove_board
from devices.ssh.address import Address
from devices.ssh.connect import reach
from devices.ssh.device import SSHDevice, inventory_device
from devices.ssh.keys import HostKey, write_pins
from edge.workflows.deployment import Deployment, DeployRequest, release_status
from firmware_tools.line import SerialLine

MODEL = "mobilenet_v1_0.25_128_quant"
PIECE_BYTES = 1 << 15


@pytest.fixture
def model(shared_data):
    return shared_data / "edgetpu_pairs" / f"{MODEL}.tflite"


def board_over(line: NoisyLine, server) -> SSHDevice:
    address = Address("localhost", server.user, None, str(server.identity), serial=line.near)
    return SSHDevice("board", address, pins={"board": (HostKey.of("board", server.host_key),)})


@pytest.mark.slow
def test_a_model_is_deployed_and_proven_though_bytes_are_flipped(openssh, shared_data, tmp_path, record_property):
    model = shared_data / "edgetpu_pairs" / "keras_lstm_mnist_ptq.tflite"
    with NoisyLine(flips=0.01, seed=3) as line, bridge(line, openssh.port, tmp_path):
        with board_over(line, openssh) as device:
            done = Deployment(DeployRequest(model=model)).to(device)
            assert done.golden.passed
            assert done.sent_bytes > model.stat().st_size
            status = release_status(device)
            assert (status.damaged, status.current) == ((), done.release)
        record_property("counted", f"{line.flipped} of {line.passed} bytes flipped while {done.sent_bytes} were sent")
        assert line.flipped > 0.005 * line.passed


def impatient_once_cut(line: NoisyLine, device: SSHDevice) -> threading.Thread:
    """Have the connection ask for a sign of life often, once there can be none: a busy machine gives none for long."""

    def shorten() -> None:
        assert line.was_cut.wait(120)
        connection = device.connection
        connection._thread._loop.call_soon_threadsafe(connection._links.board.set_keepalive, 0.3, 2)

    thread = threading.Thread(target=shorten)
    thread.start()
    return thread


def test_a_pulled_cable_in_the_middle_and_the_rest_later(own_places, model, tmp_path, require_part):
    from sshd import SSHD, OpenSSH

    if SSHD is None:
        require_part("OpenSSH's server", "apt install openssh-server")
    with OpenSSH(tmp_path / "sshd") as server, NoisyLine() as line, bridge(line, server.port, tmp_path):
        with board_over(line, server) as device:
            device.agent_argv()  # the agent is there, so that what follows is the model
            impatient = impatient_once_cut(line, device)
            line.cut_after = line.passed + model.stat().st_size // 2
            with pytest.raises(DeviceError):
                Deployment(DeployRequest(model=model, golden="none")).to(device)
            impatient.join(10)
        line.cut_after = None
        with board_over(line, server) as device:
            done = Deployment(DeployRequest(model=model, golden="none")).to(device)
        assert done.sent_bytes < model.stat().st_size // 2 + 4 * PIECE_BYTES
        assert done.release


def test_a_connection_that_is_given_up_gives_the_port_back_at_once(own_places):
    with NoisyLine() as line:

        async def give_up() -> None:
            connecting = asyncio.ensure_future(reach("board", Address("localhost", serial=line.near), {}))
            while not line.passed:  # it asks for a bridge
                await asyncio.sleep(0.01)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            SerialLine(line.near).close()

        asyncio.run(give_up())


def test_a_line_that_takes_nothing_any_more_is_given_back(openssh, tmp_path, monkeypatch):
    (tmp_path / "large").write_bytes(random.Random(0).randbytes(4 << 20))
    with NoisyLine() as line, bridge(line, openssh.port, tmp_path), board_over(line, openssh) as device:
        device.run(["true"], deadline_s=20)
        line.cut_after = line.passed
        monkeypatch.setattr("devices.ssh.connection.SERIAL_S", 0.5)
        monkeypatch.setattr("devices.ssh.connection.CLOSE_S", 0.3)
        with pytest.raises(DeadlineError):
            device.put(tmp_path / "large", str(tmp_path / "goal"), deadline_s=0.5)
        device.close()
        SerialLine(line.near).close()


def test_an_inventory_remembers_the_line(openssh, tmp_path):
    with NoisyLine() as line, bridge(line, openssh.port, tmp_path):
        write_pins({"wired": (HostKey.of("wired", openssh.host_key),)})
        add_board(Board("wired", Address("localhost", openssh.user, None, str(openssh.identity), serial=line.near)))
        try:
            assert find_board("wired").address.serial == line.near
            with inventory_device("wired") as device:
                assert device.run(["echo", "here"], deadline_s=20).require_success().stdout == b"here\n"
        finally:
            remove_board("wired")


def test_a_line_without_a_bridge_has_a_hint(openssh, monkeypatch):
    monkeypatch.setattr("devices.ssh.links.BRIDGE_S", 0.3)
    with NoisyLine() as line, board_over(line, openssh) as device, pytest.raises(UnreachableError) as caught:
        device.run(["true"], deadline_s=20)
    assert "edge devices console" in caught.value.hint
