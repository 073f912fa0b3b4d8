"""What the tests of the meters share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory, monkeypatch):
    """A configuration folder of the test's own: the user's meters.toml never matters."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(folder))
    return folder
