"""`edge --help` against `python -c "import click"`: whole processes, turn by turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
EDGE = str(Path(sys.executable).with_name("edge"))


def seconds(command: list[str]) -> float:
    """Return the wall time of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the ratio of the medians."""
    ours, bare = [EDGE, "--help"], [sys.executable, "-c", "import click"]
    seconds(ours), seconds(bare)
    pairs = [(seconds(ours), seconds(bare)) for _ in range(RUNS)]
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"edge_help {a * 1e3:.0f} ms")
    print(f"import_click {b * 1e3:.0f} ms")
    print(f"edge_help_vs_import_click {a / b:.2f} ratio")


main()
