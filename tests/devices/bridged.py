"""A bridge at the far end of a noisy line, run as on a board: one zip, by an isolated Python."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from noise import NoisyLine

from firmware_tools.console.provision import bridge_program


@contextlib.contextmanager
def bridge(line: NoisyLine, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the bridge to a TCP port of this machine at the far end of a line."""
    program = folder / "bridge.pyz"
    program.write_bytes(bridge_program())
    far = os.open(line.far, os.O_RDWR | os.O_NOCTTY)
    process = subprocess.Popen(
        [sys.executable, "-I", program, str(port)], stdin=far, stdout=far, start_new_session=True
    )
    os.close(far)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
