"""`edge --help` and `edge inspect` against the same commands of an earlier commit: whole processes, turn by turn.

The earlier commit is the last before the rooms were rebuilt; BASE=COMMIT in the environment names another.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = os.environ.get("BASE", "5d69479b6686b404d235e3d046e7bde542a2e90f")
MODEL = ROOT / "devices" / "solver" / "data" / "check-fp32.tflite"
RUNS = 15
COMMANDS = {"edge_help": ["--help"], "edge_inspect": ["inspect", str(MODEL)]}


def main() -> None:
    """Print the ratio of the medians of each command."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", BASE], cwd=ROOT, check=False, capture_output=True)
        if archive.returncode:
            sys.exit(f"{BASE} is not in this clone: git fetch --unshallow, or BASE=COMMIT")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for name, arguments in COMMANDS.items():
            compare(name, arguments, Path(folder))


def compare(name: str, arguments: list[str], earlier: Path) -> None:
    """Run one command of both, in turns, and print both medians and their ratio."""
    for source in (ROOT, earlier):
        seconds(arguments, source)  # compiles the modules
    pairs = [(seconds(arguments, ROOT), seconds(arguments, earlier)) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name} {ours * 1e3:.0f} ms")
    print(f"{name}_earlier {theirs * 1e3:.0f} ms")
    print(f"{name}_vs_earlier {ours / theirs:.2f} ratio")


def seconds(arguments: list[str], source: Path) -> float:
    """Return the wall time of `python -m edge ARGUMENTS` with the sources in a folder."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "edge", *arguments],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=source,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
