"""Instructions of MobileNetV2 1.0 at 224 px by share of zeros; random weights, as kernels look at zeros alone.

    python tests/evidence/random_weights.py [--out out/random]

Networks are pruned in blocks of 2, converted and profiled by the commands that users have; the table goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BOARDS = ("emulated-pi4", "emulated-pi5")
VARIANTS = ((None, "fp32"), (0.8, "sparse"), (0.9, "sparse"), (0.9, "sparse-fp16"), (0.9, "sparse-int8"))


def main() -> None:
    """Build, prune, convert, profile, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/random"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    files = [_made(share, recipe, out) for share, recipe in VARIANTS]
    found = _edge("profile", *files, "--on", ",".join(BOARDS), "--quick", "--strict")
    sys.stdout.write("| variant | MB | " + " | ".join(f"{board}, M instructions" for board in BOARDS))
    sys.stdout.write(" | sparse kernels |\n| --- | --- | --- | --- | --- |\n")
    for file in files:
        rows = [each for each in found if Path(each["artifact"]["path"]).name == file.name]
        counts = " | ".join(f"{each['instructions']['per_inference'] / 1e6:.2f}" for each in rows)
        ran = " / ".join(
            sorted({f"{each['sparse_kernels']['ran']} of {each['sparse_kernels']['of']}" for each in rows})
        )
        sys.stdout.write(f"| {file.stem} | {file.stat().st_size / 1e6:.2f} | {counts} | {ran} |\n")


def _made(share: float | None, recipe: str, out: Path) -> Path:
    name = "dense" if share is None else f"zeros{share * 100:.0f}"
    source = out / f"{name}.keras"
    if not source.is_file():
        _build(share, source)
    file = out / f"{name}-{recipe}.tflite"
    if not file.is_file():
        _edge("convert", source, "--to", recipe, "--preprocess", "tf", "--samples", 4, "--out", out)
    return file


def _build(share: float | None, path: Path) -> None:
    import keras

    from edge.models import build
    from edge.training.pruning import prune_magnitude

    keras.utils.set_random_seed(1)
    model = build("mobilenet_v2", padding="symmetric")
    if share is not None:
        prune_magnitude(model, share, block=2)
    model.save(path)


def _edge(*arguments: Any) -> Any:
    command = [sys.executable, "-m", "edge", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


if __name__ == "__main__":
    main()
