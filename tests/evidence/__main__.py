"""The table of the README: a network trained on CIFAR-10, dense and sparse, with what boards make of it.

    python tests/evidence cifar10/ [--epochs 10] [--alpha 0.35] [--image-size 48] [--out out/evidence]

DATA is a folder with train/ and test/, or the .tar.gz of one. Everything is done by the commands that users have; a run
that was stopped goes on where it was (about an hour on two cores). The table goes to stdout, what it was made from to
OUT/evidence.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

BOARDS = ("emulated-pi4", "emulated-pi5")
DENSE_RECIPES, SPARSE_RECIPES = "fp32,int8", "sparse,sparse-fp16,sparse-int8"


def main() -> None:
    """Train, prune, convert, profile, print."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    data = _unpacked(options.data, options.out)
    dense = _trained("mobilenet_v2", data, options, "dense", [
        "--padding", "symmetric", "--alpha", options.alpha, "--image-size", options.image_size,
    ])  # fmt: skip
    sparse = _trained(dense["file"], data, options, "pruned", [
        "--sparsity", options.sparsity, "--block", options.block, "--distill", dense["file"], "--lr", 1e-3,
    ])  # fmt: skip
    artifacts = [
        *_converted(dense["file"], DENSE_RECIPES, data, options.out),
        *_converted(sparse["file"], SPARSE_RECIPES, data, options.out),
    ]
    measured = _profiled(artifacts)
    rows = [_row(Path(file), dense, sparse, measured) for file in artifacts]
    told = {"options": {name: str(value) for name, value in vars(options).items()}, "dense": dense, "sparse": sparse,
            "rows": rows, "measurements": measured}  # fmt: skip
    (options.out / "evidence.json").write_text(json.dumps(told, indent=1) + "\n")
    sys.stdout.write("\n".join(_table(rows, dense, sparse, options)) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/evidence"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--sparsity", type=float, default=0.85)
    parser.add_argument("--block", default="2")
    parser.add_argument("--limit", type=int, help="use only so many pictures of each part, for a trial")
    return parser.parse_args()


def _unpacked(data: Path, out: Path) -> Path:
    if data.is_dir():
        return data
    if not data.is_file():
        raise SystemExit(f"{data} is not there: name a folder with train/ and test/, or its .tar.gz (CIFAR10=PATH)")
    target = out / data.name.partition(".")[0]
    if not target.is_dir():
        draft = out / f".{target.name}"
        with tarfile.open(data) as archive:
            archive.extractall(draft, filter="data")
        (draft / target.name).rename(target)
    return target


def _trained(model: str, data: Path, options: argparse.Namespace, name: str, arguments: list[Any]) -> dict[str, Any]:
    limit = [] if options.limit is None else ["--limit", options.limit]
    found: dict[str, Any] = _edge("train", model, "--data", data, "--epochs", options.epochs, "--augment", "flip",
                                  "--augment", "shift", "--batch", 64, "--patience", options.epochs, "--resume",
                                  "--out", options.out / f"{name}.keras", *limit, *arguments)  # fmt: skip
    return found


def _converted(model: str, recipes: str, data: Path, out: Path) -> list[str]:
    _edge("convert", model, "--to", recipes, "--calibrate", data / "train", "--check", data / "test", "--samples", 1000,
          "--out", out)  # fmt: skip
    return [str(out / f"{Path(model).stem}-{recipe}.tflite") for recipe in recipes.split(",")]


def _profiled(files: list[str]) -> dict[str, list[dict[str, Any]]]:
    found = _edge("profile", *files, "--on", ",".join(BOARDS), "--quick", "--strict")
    return {board: [each for each in found if each["device"]["name"] == board] for board in BOARDS}


def _edge(*arguments: Any) -> Any:
    command = [sys.executable, "-m", "edge", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def _row(file: Path, dense: dict[str, Any], sparse: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    trained = sparse if file.stem.startswith("pruned") else dense
    sidecar = json.loads(file.with_suffix(".json").read_text())
    on = {board: next(each for each in found if Path(each["artifact"]["path"]).name == file.name)
          for board, found in measured.items()}  # fmt: skip
    return {
        "file": file.name,
        "bytes": file.stat().st_size,
        "keras_accuracy": trained["metrics"]["test"]["accuracy"],
        "parity": sidecar.get("parity"),
        "instructions": {board: each.get("instructions") for board, each in on.items()},
        "sparse_kernels": {board: each.get("sparse_kernels") for board, each in on.items()},
    }


def _table(
    rows: list[dict[str, Any]], dense: dict[str, Any], sparse: dict[str, Any], options: argparse.Namespace
) -> list[str]:
    pictures = dense["metrics"]["test"]["of"]
    share, epochs = sparse["pruning"]["sparsity"], options.epochs
    said = (f"MobileNetV2 {options.alpha:g} at {options.image_size} px on CIFAR-10: {epochs} epochs dense, then "
            f"{epochs} more with pruning to {share:.1%} of the 1x1 weights in blocks of {options.block}, taught by the "
            "dense model. "
            f"Accuracy in Keras is on the {pictures:,} test pictures, that of the files on 1,000 of them.")  # fmt: skip
    head = ["variant", "accuracy, Keras", "file", "kB", *(f"{board}, M instructions" for board in BOARDS),
            "sparse kernels"]  # fmt: skip
    return [said, "", _line(head), _line(["---"] * len(head)), *(_line(_cells(row)) for row in rows)]


def _cells(row: dict[str, Any]) -> list[str]:
    counts = [row["instructions"][board] for board in BOARDS]
    kernels = {"-" if found is None else f"{found['ran']} of {found['of']}" for found in row["sparse_kernels"].values()}
    own = (row["parity"] or {}).get("accuracy")
    return [
        row["file"].removesuffix(".tflite"),
        f"{row['keras_accuracy']:.2%}",
        "-" if own is None else f"{own['correct'] / own['of']:.1%}",
        f"{row['bytes'] / 1000:.0f}",
        *("-" if count is None else f"{count['per_inference'] / 1e6:.2f}" for count in counts),
        " / ".join(sorted(kernels)),
    ]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
