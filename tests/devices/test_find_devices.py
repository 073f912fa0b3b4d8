"""Several devices by one list of names."""

from __future__ import annotations

import pytest

from devices.errors import InventoryError, UnknownDeviceError
from devices.registry import find_devices


@pytest.fixture
def inventory(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path))
    return tmp_path / "devices.toml"


def names(*asked):
    return [device.name for device in find_devices(asked)]


def test_groups_are_their_boards_and_nothing_comes_twice(inventory):
    inventory.write_text(
        '[devices.one]\nhost = "127.0.0.1"\ngroups = ["lab"]\n[devices.two]\nhost = "127.0.0.1"\ngroups = ["lab"]\n'
    )
    assert names("two", "lab", "local", "emulated-pi4", "local") == ["two", "one", "local", "emulated-pi4"]
    with pytest.raises(UnknownDeviceError, match="'three'"):
        names("local", "three")


def test_what_is_built_in_needs_no_inventory(inventory):
    inventory.write_text("not toml at all")
    assert names("local", "emulated-pi5", "local") == ["local", "emulated-pi5"]
    with pytest.raises(InventoryError):
        names("local", "mine")
