"""Builds the root file system of emulated boards: Debian's Python for aarch64 and the libraries that wheels need.

Packages are unpacked, never installed, so that it takes no root rights and nothing in them is executed. All boards
share one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from devices.emulated.build_cache import build_once, cache_folder, find_program, run_builder

# Debian 12, with the Python and the glibc that its packages are.
SUITE, PYTHON, GLIBC = "bookworm", "3.11", (2, 36)
DEBIAN_PACKAGES = (
    "base-files",
    "libgcc-s1",
    "libgomp1",
    f"libpython{PYTHON}-stdlib",
    "libstdc++6",
    "python3",
    "zlib1g",
)
_WHAT = "the root file system of emulated boards"
_DEADLINE_S = 600.0


def build_root() -> Path:
    """Return the root file system, built now if it is not there yet (about 10 s and 80 MB).

    Raises:
        MissingPartError: mmdebstrap is not installed.
        PreparationError: It failed: no network, no space.
    """
    return build_once(root_path(), _make, what=_WHAT, deadline_s=_DEADLINE_S)


def root_path() -> Path:
    """Return where the root file system is, or would be."""
    digest = hashlib.sha256(" ".join((SUITE, *DEBIAN_PACKAGES)).encode()).hexdigest()[:12]
    return cache_folder() / f"root-{SUITE}-{digest}"


def _make(folder: Path) -> None:
    run_builder(
        [
            find_program("mmdebstrap"),
            "--mode=chrootless",
            "--variant=extract",
            "--architectures=arm64",
            f"--include={','.join(DEBIAN_PACKAGES)}",
            SUITE,
            os.fspath(folder),
        ],
        what=_WHAT,
        deadline_s=_DEADLINE_S,
        hint=f"it needs Debian's packages ({SUITE}, arm64); check the network and try again",
    )
    if not (folder / "usr" / "bin" / f"python{PYTHON}").is_file():
        raise FileNotFoundError(2, f"mmdebstrap left no Python {PYTHON}")
