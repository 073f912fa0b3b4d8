"""`edge inspect`: shows what is inside a .tflite file, and predicts how a target runs it."""

from __future__ import annotations

import stat
from difflib import get_close_matches
from pathlib import Path

import click

from converters.artifact.sidecar import Sidecar, read_sidecar
from converters.decode import encode
from converters.edgetpu import TARGET as CORAL
from converters.edgetpu import MappingPrediction, describe_compiled, predict_mapping
from converters.inspection.inspect import inspect_model
from converters.printable import printable
from converters.targets.analysis import Analysis, analyse
from converters.targets.boards import TARGETS, Target, target_named
from converters.targets.runtimes import RECOMMENDED
from converters.tflite.values import ModelInfo
from edge.cli.output import json_option, print_json, print_lines, say
from edge.errors import InputError
from edge.report.terminal.inspection_lines import detail_lines, summary_lines
from edge.report.terminal.target_lines import board_lines, coral_lines, edgetpu_file_lines

_LAYERS = 12


def _target(ctx: click.Context, param: click.Parameter, value: str | None) -> Target | str | None:
    """Return the board, or the word for the Edge TPU, which is no processor that runs XNNPACK."""
    return value if value in (None, CORAL) else target_named(str(value))


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.option("--tensors", is_flag=True, help="List every tensor too.")
@click.option("--layers", type=click.IntRange(min=0), default=_LAYERS, show_default=True, metavar="N",
              help="How many operators to list: those with the most work, in order of execution.")  # fmt: skip
@click.option("--target", callback=_target, metavar="NAME",
              help=f"Also predict how a board runs the file: {', '.join((*TARGETS, CORAL))}.")  # fmt: skip
@click.option("--runtime", metavar="NAME==VERSION",
              help=f"The board's TFLite runtime, with --target.  [default: {RECOMMENDED}]")  # fmt: skip
@json_option
def command(
    file: Path, *, tensors: bool, layers: int, target: Target | str | None, runtime: str | None, as_json: bool
) -> None:
    """Show what is inside a .tflite file: operators, work, size, sparsity, quantization, memory.

    With --target the output shows where the operators will run, whether XNNPACK's sparse kernels will, and what to
    change; with --target coral, what Google's compiler will map to the Edge TPU. The file is only read, never run, and
    may come from any converter. With --json all operators and tensors are listed, whatever the other options.
    """
    from edge.runtime.verified_model import verify_file

    _check_runtime(target, runtime)
    _require(file)
    model = verify_file(file).model
    inspection, compiled = inspect_model(model, file), describe_compiled(model)
    analysis = _analyse(model, target, runtime)
    sidecar = read_sidecar(file, sha256=inspection.file.sha256)
    if sidecar is not None and sidecar.problem:
        say(f"warning: {sidecar.problem}")
    if as_json:
        parts = {"artifact": _sidecar_json(sidecar), "edgetpu": None if compiled is None else compiled.to_json()}
        print_json(inspection.to_json() | parts | ({} if analysis is None else {"target": analysis.to_json()}))
        return
    print_lines(summary_lines(inspection, sidecar.record if sidecar is not None else None))
    print_lines(edgetpu_file_lines(compiled) if compiled else ())
    if isinstance(analysis, Analysis):
        print_lines(board_lines(analysis, by_default=runtime is None))
    elif analysis is not None:
        print_lines(coral_lines(analysis))
    else:
        print_lines(detail_lines(inspection, layers=layers, tensors=tensors))


def _check_runtime(target: Target | str | None, runtime: str | None) -> None:
    if runtime and not isinstance(target, Target):
        problem = f"does not go with --target {target}" if target else "was given without --target"
        raise InputError(f"--runtime {problem}", hint=f"add --target with one of {', '.join(TARGETS)}")


def _analyse(model: ModelInfo, target: Target | str | None, runtime: str | None) -> Analysis | MappingPrediction | None:
    if target is None:
        return None
    return analyse(model, target, runtime) if isinstance(target, Target) else predict_mapping(model)


def _sidecar_json(sidecar: Sidecar | None) -> dict[str, object] | None:
    if sidecar is None:
        return None
    record = sidecar.record
    return {
        "path": str(sidecar.path),
        "recipe": record.recipe.name if record and record.recipe else None,
        "source": record.source.name if record and record.source else None,
        "created": record.created if record else None,
        "parity": encode(record.parity) if record else None,
        "problem": sidecar.problem,
    }


def _require(file: Path) -> None:
    """Refuse a path that is no file, naming the .tflite files that are nearest."""
    kind = _kind(file)
    if kind == "file":
        return
    folder = file if kind == "a folder" else file.parent
    names = sorted(item.name for item in folder.glob("*.tflite") if item.is_file()) if _kind(folder) else []
    near = get_close_matches(file.name, names, n=3) or names[:3]
    raise InputError(
        f"{file} is {kind}, not a .tflite file" if kind else f"there is no file {file}",
        hint=f"in {folder} there is {', '.join(map(printable, near))}" if near else "give the path of a .tflite file",
    )


def _kind(path: Path) -> str | None:
    """Return "file", or words for what else is there; None where nothing is, or it may not be looked at."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode):
        return "file"
    return "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
