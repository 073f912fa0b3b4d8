"""A board over a real SSH server whose connection can be damaged, and a way to tell what was counted."""

from __future__ import annotations

import shutil
import sys

import pytest
from deploy_bench import Bench
from faulty_proxy import FaultyProxy

from devices.ssh.address import Address
from devices.ssh.keys import HostKey


@pytest.fixture
def bench(openssh, shared_data, tmp_path):
    original = shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"
    with FaultyProxy(openssh.port) as proxy:
        address = Address("127.0.0.1", openssh.user, proxy.port, str(openssh.identity))
        pins = {"board": (HostKey.of("board", openssh.host_key),)}
        yield Bench(proxy, address, pins, tmp_path / "root", tmp_path, original)
    shutil.rmtree(tmp_path / "root", ignore_errors=True)


@pytest.fixture
def tell(capsys, record_property):
    """A function that puts what was counted into the output of the tests."""

    def line(text: str) -> None:
        record_property("counted", text)
        with capsys.disabled():
            sys.stdout.write(f"\n  {text}\n")

    return line
