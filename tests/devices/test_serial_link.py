"""A stream over a serial line that flips bytes: complete, in order, with its end; other states of the line."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import os
import random
import socket
import sys
import threading
import zipfile

import pytest
from bridged import bridge
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import NoisyLine

from firmware_tools.console.provision import bridge_program
from firmware_tools.errors import LineError, NoAnswerError
from firmware_tools.line import WRITE_S, SerialLine
from firmware_tools.serial_link import bridge as board_end
from firmware_tools.serial_link.frames import ACK, DATA, Frames, LinkQuality, frame
from firmware_tools.serial_link.reliable import Link
from firmware_tools.serial_link.tunnel import Tunnel, dismiss, is_bridge

DEADLINE_S = 10.0


@pytest.fixture
def echo():
    """The port of a server that echoes all bytes until the other end closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def there_and_back(tunnel: Tunnel, data: bytes) -> bytes:
    def send() -> None:
        tunnel.socket.sendall(data)
        tunnel.socket.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    tunnel.socket.settimeout(60)
    got = bytearray()
    while piece := tunnel.socket.recv(1 << 16):
        got += piece
    sender.join(10)
    return bytes(got)


@pytest.mark.parametrize("flips", [0.0, 0.01, 0.02])
def test_everything_arrives_though_bytes_are_flipped(echo, tmp_path, flips, record_property):
    data = random.Random(1).randbytes(40_000)
    with NoisyLine(flips=flips, seed=2) as line, bridge(line, echo, tmp_path):
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            assert there_and_back(tunnel, data) == data
            assert tunnel.resent or not flips  # on a busy machine some is said twice though nothing was lost
        assert (line.flipped > 500) == (flips > 0)
        record_property("counted", f"{line.flipped} of {line.passed} bytes flipped, {tunnel.resent} frames sent again")


def test_one_session_after_another_and_the_end_of_the_bridge(echo, tmp_path):
    with NoisyLine() as line, bridge(line, echo, tmp_path) as process:
        for number in range(3):
            with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
                assert there_and_back(tunnel, bytes([number]) * 1000) == bytes([number]) * 1000
        with SerialLine(line.near) as port:
            assert is_bridge(port, deadline_s=DEADLINE_S)
            dismiss(port, deadline_s=DEADLINE_S)
        assert process.wait(10) == 0


def test_a_session_that_was_abandoned_gives_way_to_a_new_one(echo, tmp_path):
    with NoisyLine() as line, bridge(line, echo, tmp_path):
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            tunnel.socket.sendall(b"half a sen")
            line.cut_after = line.passed  # the cable is pulled: not even a farewell arrives
        assert line.was_cut.wait(DEADLINE_S)
        line.cut_after = None
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            assert there_and_back(tunnel, b"whole") == b"whole"


def test_a_new_session_with_the_number_of_an_abandoned_one_is_a_new_one(echo, tmp_path, monkeypatch):
    monkeypatch.setattr("firmware_tools.serial_link.tunnel._harmless", lambda kind: 4242)
    with NoisyLine() as line, bridge(line, echo, tmp_path):
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            tunnel.socket.sendall(b"half a sen")
            assert tunnel.socket.recv(10, socket.MSG_WAITALL) == b"half a sen"
            line.cut_after = line.passed
        assert line.was_cut.wait(DEADLINE_S)
        line.cut_after = None
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            assert there_and_back(tunnel, b"whole") == b"whole"


def test_what_nobody_reads_does_not_keep_the_port(echo, tmp_path):
    with NoisyLine() as line, bridge(line, echo, tmp_path):
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            tunnel._inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            tunnel.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                tunnel.socket.sendall(bytes(1 << 22))
        assert not tunnel._thread.is_alive()
        SerialLine(line.near).close()


def test_a_reboot_ends_the_session_with_little_data_sent(echo, tmp_path, monkeypatch):
    monkeypatch.setattr("firmware_tools.serial_link.tunnel.SILENCE_S", 1.0)
    with NoisyLine() as line, bridge(line, echo, tmp_path) as process:
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S) as tunnel:
            process.kill()
            process.wait(DEADLINE_S)
            before = len(line.carried["down"])
            tunnel.socket.settimeout(DEADLINE_S)
            tunnel.socket.sendall(bytes(20_000))
            with pytest.raises(ConnectionResetError):
                tunnel.socket.recv(1)
        assert len(line.carried["down"]) - before < 10_000


def test_silence_counts_only_while_an_answer_is_owed():
    link = Link(1)
    link.frames(0.0)
    assert link.silence_s(1000.0) == 0.0
    link.send(b"question")
    link.frames(1000.0)
    assert link.silence_s(1005.0) == 5.0
    link.receive(ACK, b"\x08\0\0\0\0", 1005.0)
    link.frames(1005.0)
    assert link.silence_s(2000.0) == 0.0


def test_three_interrupts_of_a_person_end_the_bridge(echo, tmp_path):
    with NoisyLine() as line, bridge(line, echo, tmp_path) as process, SerialLine(line.near) as port:
        assert is_bridge(port, deadline_s=DEADLINE_S)
        port.write(b"\x03\x03\x03")
        assert process.wait(10) == 0


def test_an_abandoned_session_is_given_up(monkeypatch):
    monkeypatch.setattr(board_end, "SILENCE_S", 0.3)
    with NoisyLine() as line, socket.create_server(("127.0.0.1", 0)) as listener:
        far = os.open(line.far, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        bridge = board_end.Bridge(far, listener.getsockname()[1])
        thread = threading.Thread(target=bridge.run, daemon=True)
        thread.start()
        with Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S):
            line.cut_after = line.passed  # nobody is there any more
            with listener.accept()[0] as connection:
                connection.settimeout(DEADLINE_S)
                assert connection.recv(1) == b""
        line.cut_after = None
        with SerialLine(line.near) as port:
            dismiss(port, deadline_s=DEADLINE_S)
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        os.close(far)


def test_a_bridge_without_a_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with NoisyLine() as line, bridge(line, port, tmp_path), pytest.raises(NoAnswerError, match="Connection refused"):
        Tunnel(SerialLine(line.near), deadline_s=DEADLINE_S)


def test_no_bridge_on_the_line():
    with NoisyLine() as line:
        with SerialLine(line.near) as port:
            assert not is_bridge(port, deadline_s=0.2)
        with pytest.raises(NoAnswerError, match="no bridge answers") as caught:
            Tunnel(SerialLine(line.near), deadline_s=0.2)
    assert "--bridge" in caught.value.hint


def test_the_bridge_is_written_for_python_3_7():
    with zipfile.ZipFile(io.BytesIO(bridge_program())) as program:
        sources = {name: program.read(name).decode() for name in program.namelist()}
    assert {"firmware_tools/serial_link/bridge.py", "__main__.py"} <= set(sources)
    for name, text in sources.items():
        tree = ast.parse(text, name, feature_version=(3, 7))
        roots = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert roots - set(sys.stdlib_module_names) <= {"firmware_tools"}


def test_ports_that_cannot_be_opened(tmp_path):
    with pytest.raises(LineError, match="No such file") as caught:
        SerialLine(str(tmp_path / "ttyUSB0"))
    assert "plugged in" in caught.value.hint
    with NoisyLine() as line, SerialLine(line.near), pytest.raises(LineError, match="another program has it"):
        SerialLine(line.near)


def test_a_slow_line_may_take_as_long_as_it_takes_something(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("firmware_tools.line.time.monotonic", lambda: float(next(clock)))
    master, slave = os.openpty()
    with SerialLine(os.ttyname(slave)) as line:
        left = 1 << 20

        def read() -> None:
            nonlocal left
            while left:
                left -= len(os.read(master, 1 << 16))

        reader = threading.Thread(target=read)
        reader.start()
        line.write(bytes(left))
        reader.join(DEADLINE_S)
        assert (left, next(clock) > 2 * WRITE_S) == (0, True)
    os.close(slave)
    os.close(master)


def test_a_line_that_takes_nothing():
    master, slave = os.openpty()
    with SerialLine(os.ttyname(slave)) as line, pytest.raises(LineError, match="accepts no more"):
        line.write(bytes(1 << 20), silence_s=0.1)
    os.close(slave)
    os.close(master)


def test_the_other_end_of_a_line_goes_away():
    master, slave = os.openpty()
    with SerialLine(os.ttyname(slave)) as line:
        os.close(slave)
        os.close(master)
        with pytest.raises(LineError, match="broke"):
            line.read(1.0)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=5))
def test_frames_come_out_as_they_went_in_however_they_are_cut(body, cuts):
    stream = b"\0garbage\0" + frame(DATA, 7, body) + frame(ACK, 9, b"\0\0")
    found, frames = [], Frames()
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
        found += frames.feed(stream[begin:end])
    assert found == [(DATA, 7, body), (ACK, 9, b"\0\0")]
    assert frames.damaged == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=9000))
def test_no_noise_makes_a_frame_or_takes_much_memory(noise):
    frames = Frames()
    assert frames.feed(noise) == []
    assert len(frames._pending) <= 4096


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=20_000), st.integers(0, 2**32), st.floats(0, 0.5))
def test_two_ends_whose_frames_get_lost_at_random(data, seed, loss):
    chance, here, there = random.Random(seed), Link(1), Link(1)
    now, unsent, got = 0.0, data, b""
    for _ in range(20_000):
        now += 0.05
        room = here.room
        here.send(unsent[:room])
        unsent = unsent[room:]
        for source, goal in ((here, there), (there, here)):
            for kind, _, body in Frames().feed(source.frames(now)):
                if chance.random() >= loss:
                    goal.receive(kind, body, now)
        got += there.take()
        if len(got) >= len(data):
            break
    assert got == data


def test_frames_grow_on_a_quiet_line_and_shrink_on_a_noisy_one():
    quiet, noisy = LinkQuality(), LinkQuality()
    for _ in range(500):
        quiet.count_frame(200, lost=False)
    chance = random.Random(0)
    for _ in range(500):
        length = noisy.payload + 13
        noisy.count_frame(length, lost=chance.random() > 0.99**length)
    assert quiet.payload == 1024
    assert 20 <= noisy.payload <= 45
    assert noisy.damage == pytest.approx(0.01, rel=0.5)
