"""The root file system that programs of an emulated board see: Debian's Python for aarch64 and what wheels need.

Packages are unpacked, never installed, so that it takes no root rights and nothing in them is executed. All boards
share one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from devices.emulated.build_cache import found_program, kept_folder, made_by, once

SUITE, PYTHON, GLIBC = "bookworm", "3.11", (2, 36)
PACKAGES = (
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


def root_folder() -> Path:
    """Return the root file system, made now if it is not there yet (about 10 s and 80 MB).

    Raises:
        MissingPartError: mmdebstrap is not installed.
        PreparationError: It failed: no network, no space.
    """
    return once(root_path(), _make, what=_WHAT, deadline_s=_DEADLINE_S)


def root_path() -> Path:
    """Return where the root file system is, or would be."""
    digest = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    return kept_folder() / f"root-{SUITE}-{digest}"


def _make(draft: Path) -> None:
    made_by(
        [
            found_program("mmdebstrap"),
            "--mode=chrootless",
            "--variant=extract",
            "--architectures=arm64",
            f"--include={','.join(PACKAGES)}",
            SUITE,
            os.fspath(draft),
        ],
        what=_WHAT,
        deadline_s=_DEADLINE_S,
        hint=f"it needs Debian's packages ({SUITE}, arm64); check the network and try again",
    )
    if not (draft / "usr" / "bin" / f"python{PYTHON}").is_file():
        raise FileNotFoundError(2, f"mmdebstrap left no Python {PYTHON}")
