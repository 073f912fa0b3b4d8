"""What the tests of the devices share: configuration of their own, a real SSH server."""

from __future__ import annotations

import pytest
from sshd import SSHD, OpenSSH


@pytest.fixture(scope="module")
def own_places(tmp_path_factory):
    """A home folder and a configuration folder of the tests' own, and no SSH agent."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("EDGE_CONFIG_DIR", str(folder / "config"))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield folder


@pytest.fixture(scope="module")
def openssh(own_places, tmp_path_factory, require_part):
    """OpenSSH's server on 127.0.0.1."""
    if SSHD is None:
        require_part("OpenSSH's server", "apt install openssh-server")
    with OpenSSH(tmp_path_factory.mktemp("sshd")) as server:
        yield server
