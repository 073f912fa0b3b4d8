"""Locates the cache folder, which can be rebuilt, and the user's configuration folder."""

from __future__ import annotations

import os
from pathlib import Path

_NAME = "edge-convert"


def cache_dir() -> Path:
    """Return the folder for downloads, root file systems and compiled parts; EDGE_CACHE_DIR overrides it."""
    chosen = os.environ.get("EDGE_CACHE_DIR")
    if chosen:
        return Path(chosen).absolute()
    from platformdirs import user_cache_path

    return user_cache_path(_NAME)


def config_dir() -> Path:
    """Return the folder of devices.toml and the pinned host keys; EDGE_CONFIG_DIR overrides it."""
    chosen = os.environ.get("EDGE_CONFIG_DIR")
    if chosen:
        return Path(chosen).absolute()
    from platformdirs import user_config_path

    return user_config_path(_NAME)
