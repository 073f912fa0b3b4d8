"""`edge inspect`: what is inside a .tflite file."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from converters.edgetpu import TARGET as CORAL
from converters.edgetpu import CompiledReport, Forecast, compiled_report, forecast
from converters.inspection import Inspection, inspect_model
from converters.inspection.inspection_values import EndReport, OperatorReport, TensorReport
from converters.inspection.sidecar_summary import ArtifactNote, artifact_beside
from converters.targets.analysis import Analysis, analyse
from converters.targets.boards import TARGETS, Target, target_named
from converters.targets.runtimes import RECOMMENDED
from converters.tflite.reader import read_model
from converters.tflite.values import ModelInfo
from edge.cli import inspect_coral, inspect_target
from edge.cli.output import json_option, print_json, print_table, say
from edge.errors import InputError

_WIDTH = 80
_LAYERS = 12
_ACTIVATIONS = 5
_SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


def _target(ctx: click.Context, param: click.Parameter, value: str | None) -> Target | str | None:
    """Return the board, or the word for the Edge TPU, which is no processor that runs XNNPACK."""
    return value if value in (None, CORAL) else target_named(str(value))


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.tflite")
@click.option("--tensors", is_flag=True, help="List every tensor too.")
@click.option(
    "--layers",
    type=click.IntRange(min=0),
    default=_LAYERS,
    show_default=True,
    metavar="N",
    help="How many operators to list: those with the most work, in order of execution.",
)
@click.option(
    "--target",
    callback=_target,
    metavar="NAME",
    help=f"Analyse the file for a board too: {', '.join((*TARGETS, CORAL))}.",
)
@click.option(
    "--runtime", metavar="NAME==VERSION", help=f"The board's TFLite runtime, with --target.  [default: {RECOMMENDED}]"
)
@json_option
def command(
    file: Path, *, tensors: bool, layers: int, target: Target | str | None, runtime: str | None, as_json: bool
) -> None:
    """Show what is inside a .tflite file: operators, work, size, sparsity, quantization, memory.

    With --target it says where the operators will run, whether XNNPACK's sparse kernels will, and what to change;
    with --target coral what Google's compiler will map to the Edge TPU.
    The file is only read, never run; files that other converters made are welcome. With --json all operators
    and tensors are told, whatever the other options say.
    """
    from converters.tflite.verify import verify_file

    if runtime and not isinstance(target, Target):
        told = f"--runtime does not go with --target {target}" if target else "--runtime was given without --target"
        raise InputError(told, hint=f"add --target with one of {', '.join(TARGETS)}")
    _require(file)
    verify_file(file)
    model = read_model(file)
    inspection = inspect_model(model, file)
    analysis = _analyse(model, target, runtime)
    note = artifact_beside(file, inspection.file.sha256)
    if note is not None and note.problem:
        say(f"warning: {note.problem}")
    if as_json:
        artifact = None if note is None else vars(note) | {"parity": None if note.parity is None else dict(note.parity)}
        compiled = compiled_report(model)
        described = {"artifact": artifact, "edgetpu": None if compiled is None else compiled.to_json()}
        print_json(inspection.to_json() | described | ({} if analysis is None else {"target": analysis.to_json()}))
        return
    _show_summary(inspection, note, compiled_report(model))
    if isinstance(analysis, Analysis):
        inspect_target.show(analysis, hint=runtime is None)
        return
    if analysis is not None:
        inspect_coral.show(analysis)
        return
    _show_ends(inspection)
    _show_counts(inspection)
    if layers:
        _show_layers(inspection, layers)
    _show_activations(inspection)
    if tensors:
        _show_tensors(inspection.tensors)


def _analyse(model: ModelInfo, target: Target | str | None, runtime: str | None) -> Analysis | Forecast | None:
    if target is None:
        return None
    return analyse(model, target, runtime) if isinstance(target, Target) else forecast(model)


def _require(file: Path) -> None:
    """Refuse a path that is no file, naming the .tflite files that are nearest."""
    kind = _kind(file)
    if kind == "file":
        return
    folder = file if kind == "a folder" else file.parent
    names = sorted(item.name for item in folder.glob("*.tflite") if item.is_file()) if _kind(folder) else []
    near = get_close_matches(file.name, names, n=3) or names[:3]
    raise InputError(
        f"{file} is {kind}, no .tflite file" if kind else f"there is no file {file}",
        hint=f"in {folder} there is {', '.join(map(_clean, near))}" if near else "give the path of a .tflite file",
    )


def _kind(path: Path) -> str | None:
    """Return "file", or what else is there in words; None where nothing is, or nothing that one may look at."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode):
        return "file"
    return "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"


def _show_summary(inspection: Inspection, note: ArtifactNote | None, compiled: CompiledReport | None) -> None:
    file, size = inspection.file, inspection.size
    click.echo(_clean(Path(file.path).name))
    _fact("file", f"{file.bytes:,} bytes, sha256 {file.sha256[:16]}...")
    _fact("made by", _clean(_origin(inspection)))
    if note is not None and note.problem is None:
        _fact("recipe", _clean(f"{note.recipe} of {note.source}, {note.created}"))
        _fact("parity", _clean(_parity(note)))
    _fact("quantization", _quantization(inspection))
    _fact("parameters", _parameters(inspection))
    _fact("work", _work(inspection))
    _fact("sparsity", _sparsity(inspection))
    by_dtype = ", ".join(f"{dtype} {count:,}" for dtype, count in size.weights_bytes_by_dtype.items())
    _fact("stored", f"weights {size.weights_bytes:,} bytes" + (f" ({by_dtype})" if by_dtype else ""))
    extras = ((size.sparse_index_bytes, "sparse indices"), (size.custom_options_bytes, "inside custom operators"))
    for count, what in (*extras, (size.other_bytes, "structure, metadata and the rest")):
        if count:
            _fact("", f"{what} {count:,} bytes")
    _fact(
        "effective", f"weights unpacked {size.unpacked_weights_bytes:,} bytes; as dense fp32 {size.dense_fp32_bytes:,}"
    )
    peak = inspection.peak_activation_estimate
    _fact("activations", "size known only at run time" if peak.bytes is None else f"about {peak.bytes:,} bytes at "
          f"once (estimate, at operator {peak.operator})")  # fmt: skip
    if inspection.dynamic_tensors:
        _fact(
            "shapes", f"{inspection.dynamic_tensors} dynamic tensors (-1 below): XNNPACK may stay off the whole graph"
        )
    for number, line in enumerate(inspect_coral.describe(compiled) if compiled else ()):
        _fact("" if number else "target", _clean(line))


def _fact(name: str, text: str) -> None:
    """Print one line of the summary, wrapped behind its name."""
    margin = 16
    head = f"  {name}".ljust(margin)
    click.echo(click.wrap_text(text, _WIDTH, initial_indent=head, subsequent_indent=" " * margin))


def _origin(inspection: Inspection) -> str:
    file = inspection.file
    parts = [file.description.rstrip(".") or "no description", f"schema {file.schema_version}"]
    if file.min_runtime_version:
        parts.append(f"needs TFLite {file.min_runtime_version}")
    if file.subgraphs > 1:
        parts.append(f"{file.subgraphs} subgraphs")
    if file.signatures:
        parts.append(f"signatures {', '.join(file.signatures)}")
    return ", ".join(parts)


def _parity(note: ArtifactNote) -> str:
    if note.parity is None:
        return "not checked against the Keras model"
    figures = ("samples", "max_abs_error", "cosine", "top1_agreement")
    known = [(name, note.parity.get(name)) for name in figures]
    return ", ".join(f"{name} {value:.6g}" for name, value in known if isinstance(value, (int, float)))


def _quantization(inspection: Inspection) -> str:
    summary = inspection.quantization
    grain = f", {summary.weights} weights" if summary.weights else ""
    return f"{summary.kind}{grain}: {summary.reason}"


def _parameters(inspection: Inspection) -> str:
    count, by_use = inspection.parameters.count, inspection.parameters.by_use
    shared = "" if by_use == count else f" ({by_use:,} if those that operators share count for each)"
    hidden = " outside custom operators" if inspection.size.custom_options_bytes else ""
    return f"{count:,}{hidden}{shared}"


def _work(inspection: Inspection) -> str:
    macs = inspection.macs
    if not macs.unknown:
        batch = " for a batch of 1" if any(end.shape[:1] == (-1,) for end in inspection.inputs) else ""
        return f"{macs.known:,} multiply-accumulates{batch}"
    names = ", ".join(f"{count} {_clean(name)}" for name, count in macs.unknown.items())
    return f"unknown: {macs.known:,} multiply-accumulates without {names}"


def _sparsity(inspection: Inspection) -> str:
    encoded = sum(item.sparse_encoded for layer in inspection.operators for item in layer.main_weights)
    layers = sum(bool(layer.main_weights) for layer in inspection.operators)
    share = inspection.weight_sparsity
    if not layers:
        return "no weights"
    return f"{_percent(share)} of the weights are zero; {encoded} of {layers} operators' weights are sparse-encoded"


def _show_ends(inspection: Inspection) -> None:
    for title, ends in (("Inputs", inspection.inputs), ("Outputs", inspection.outputs)):
        click.echo(f"\n{title}")
        for end in ends:
            click.echo(f"  {end.position}  {_end(end)}")


def _end(end: EndReport) -> str:
    scale = "" if end.scale is None else f"  scale {end.scale:.8g}, zero point {end.zero_point}"
    text = f"{end.dtype} {_shape(end.shape)}{scale}  "
    return text + _cut(end.signature_name or end.name, max(_WIDTH - len(text) - 5, 12))


def _show_counts(inspection: Inspection) -> None:
    click.echo(f"\nOperators ({len(inspection.operators)})")
    # A name and its count stay on one line: no break is made at a no-break space.
    counts = [f"{_clean(name)}\u00a0x\u00a0{count}" for name, count in inspection.operator_counts.items()]
    text = click.wrap_text(", ".join(counts), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    click.echo(text.replace("\u00a0", " "))


def _show_layers(inspection: Inspection, limit: int) -> None:
    # What only unpacks weights is told with the layer that reads them.
    computing = [layer for layer in inspection.operators if not all(item.constant for item in layer.outputs)]
    ranked = sorted(computing, key=lambda layer: (-(layer.macs or 0), -layer.parameters))[:limit]
    shown = sorted(ranked, key=lambda layer: (layer.subgraph, layer.index))
    if not shown:
        return
    most = ", those with the most work" if len(shown) < len(computing) else ""
    click.echo(f"\nLayers ({len(shown)} of {len(computing)}{most})")
    rows = [_layer(layer, inspection.file.subgraphs > 1) for layer in shown]
    columns = ["#", "operator", "output", "MACs", "params", "weights", "zeros"]
    _fit(columns, rows, flexible=1)
    print_table(columns, rows, right=(0, 3, 4, 6))


def _layer(layer: OperatorReport, several: bool) -> list[str]:
    weights = layer.main_weights
    stored = "/".join(dict.fromkeys(_SHORT.get(item.dtype, item.dtype) for item in weights))
    sparse = " sparse" if any(item.sparse_encoded for item in weights) else ""
    return [
        f"{layer.subgraph}:{layer.index}" if several else str(layer.index),
        layer.op,
        _shape(layer.outputs[0].shape) if layer.outputs else "",
        "?" if layer.macs is None else f"{layer.macs:,}" if layer.macs else "",
        f"{layer.parameters:,}" if layer.parameters else "",
        stored + sparse,
        _percent(layer.sparsity) if weights else "",
    ]


def _show_activations(inspection: Inspection) -> None:
    largest = inspection.activations[:_ACTIVATIONS]
    if not largest:
        return
    click.echo("\nLargest activations")
    rows = [["?" if item.bytes is None else f"{item.bytes:,}", item.dtype, _shape(item.shape), item.name]
            for item in largest]  # fmt: skip
    columns = ["bytes", "type", "shape", "tensor"]
    _fit(columns, rows, flexible=3)
    print_table(columns, rows, right=(0,))


def _show_tensors(tensors: Sequence[TensorReport]) -> None:
    click.echo(f"\nTensors ({len(tensors)})")
    several = any(tensor.subgraph for tensor in tensors)
    rows = [_tensor(tensor, several) for tensor in tensors]
    columns = ["#", "type", "shape", "stored", "scale", "zero", "tensor"]
    _fit(columns, rows, flexible=6)
    print_table(columns, rows, right=(0, 3, 4, 5))


def _tensor(tensor: TensorReport, several: bool) -> list[str]:
    scales, zeros = tensor.scales, tensor.zero_points
    return [
        f"{tensor.subgraph}:{tensor.index}" if several else str(tensor.index),
        _SHORT.get(tensor.dtype, tensor.dtype) + (" sparse" if tensor.sparse_encoded else ""),
        _shape(tensor.shape),
        f"{tensor.stored_bytes:,}" if tensor.stored_bytes else "",
        f"{scales[0]:.4g}" if len(scales) == 1 else f"{len(scales)} ch." if scales else "",
        str(zeros[0]) if len(scales) == 1 and zeros else "",
        tensor.name,
    ]


def _fit(columns: Sequence[str], rows: list[list[str]], *, flexible: int) -> None:
    """Cut the cells of one column so that the lines fit; at least 12 characters of it stay."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    room = _WIDTH - sum(widths) + widths[flexible] - 2 * (len(columns) - 1)
    for row in rows:
        row[flexible] = _cut(row[flexible], max(room, 12))


def _cut(text: str, width: int) -> str:
    text = _clean(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _clean(text: str) -> str:
    """Replace what a name from a file could do to a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) if shape else "scalar"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"
