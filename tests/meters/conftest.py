"""Fixtures for the tests of the meters."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory, monkeypatch):
    """A configuration folder of the test's own: the user's meters.toml never matters."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs root rights to mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)
