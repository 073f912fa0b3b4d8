"""The counting plugin, compiled on first use for the machine it runs on."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from devices.emulated.build_cache import found_program, kept_folder, made_by, once
from devices.emulated.errors import CountError
from devices.emulated.qemu import HOW_TO_COUNT, Qemu

SOURCE = Path(__file__).with_name("count.c")
_DEADLINE_S = 60.0


def counting_plugin(qemu: Qemu) -> Path:
    """Return the plugin, compiled now if this source has not been.

    Raises:
        CountError: This QEMU cannot count instructions.
        MissingPartError: gcc is not installed.
        PreparationError: It cannot be compiled.
    """
    if qemu.no_counts is not None:
        raise CountError(qemu.no_counts, hint=HOW_TO_COUNT)
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    goal = kept_folder() / f"count-{platform.machine()}-{digest}.so"
    return once(goal, _compile, what="the counting plugin", deadline_s=_DEADLINE_S)


def _compile(draft: Path) -> None:
    made_by(
        [found_program("gcc"), "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", os.fspath(draft),
         os.fspath(SOURCE), "-pthread"],
        what="the counting plugin",
        deadline_s=_DEADLINE_S,
        hint="it needs gcc and the C library's headers: sudo apt install gcc libc6-dev",
    )  # fmt: skip
