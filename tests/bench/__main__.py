"""`make bench`: run every bench_*.py in this folder, or the one named, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """Run the benchmarks named (all of them by default); 1 if any failed."""
    known = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            print(f"no benchmark '{name}'; nearest: {near or list(known)}", file=sys.stderr)
            return 2
    status = 0
    for name in names or known:
        print(f"# {name}", flush=True)
        status |= subprocess.run([sys.executable, str(known[name])], check=False).returncode != 0
    return status


sys.exit(main(sys.argv[1:]))
