"""Boards over SSH: the contract against OpenSSH's server and another implementation, and what only SSH has."""

from __future__ import annotations

import pytest
from device_contract import DeviceContract
from sshd import InProcess

from devices.ssh.address import Address
from devices.ssh.device import SSHDevice
from devices.ssh.keys import HostKey

DEADLINE_S = 30.0


def device_on(server, name: str = "board") -> SSHDevice:
    """A device whose host key is pinned."""
    address = Address("127.0.0.1", server.user, server.port, str(server.identity))
    return SSHDevice(name, address, pins={name: (HostKey.of(name, server.host_key),)})


@pytest.fixture(scope="module")
def over_openssh(openssh):
    with device_on(openssh) as device:
        yield device


@pytest.fixture(scope="module")
def over_another(tmp_path_factory, own_places):
    with InProcess(tmp_path_factory.mktemp("in_process")) as server, device_on(server) as device:
        yield device


class TestOpenSSH(DeviceContract):
    @pytest.fixture
    def device(self, over_openssh):
        return over_openssh


class TestAnotherServer(DeviceContract):
    @pytest.fixture
    def device(self, over_another):
        return over_another
