"""Take inputs for calibration and checking from any data source, as a model's own preprocessing wants them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from converters.errors import CalibrationError
from converters.freezing import Port, first_line, safe_name
from converters.samples import Sample, SampleSet, drawn, gather
from edge.errors import DataError
from edge.models.loading import IMAGENET, ConvertRequest, LoadedModel, Say

if TYPE_CHECKING:
    from edge.data.source import Source

Array = npt.NDArray[Any]
_DRAWN_SAMPLES = 20
_DRAWN_RANGE = (-1.0, 1.0)


def read_data(request: ConvertRequest, loaded: LoadedModel, say: Say) -> tuple[SampleSet | None, SampleSet]:
    calibration = _read(request.calibrate, request, loaded, say) if request.calibrate else None
    if request.check is not None and request.check != request.calibrate:
        return calibration, _read(request.check, request, loaded, say, labels_must_fit=True)
    if calibration is not None and request.calibrate is not None:
        return calibration, _unseen(request.calibrate, request, loaded, say) or calibration
    low_high = loaded.preprocessing.value_range if loaded.preprocessing else _DRAWN_RANGE
    check = drawn(loaded.inputs, value_range=low_high, count=_DRAWN_SAMPLES, seed=request.seed)
    say(f"no data was given: variants are compared on {check.count} inputs {check.source}; --check SRC takes real ones")
    return None, check


def _unseen(spec: str, request: ConvertRequest, loaded: LoadedModel, say: Say) -> SampleSet | None:
    """Return inputs that the training held out, where the data is what the model was trained on; else None."""
    held_out = loaded.held_out
    if held_out is None or loaded.preprocessing is None:
        return None
    from edge.data.sources import open_source

    source = open_source(spec, preprocessing=loaded.preprocessing)
    if source.digest() != held_out.digest:
        return None
    _, unseen = source.split(held_out.fraction, seed=held_out.seed)
    return _gathered(unseen, f"{spec}, held out from training", request, loaded, say)


def _read(
    spec: str, request: ConvertRequest, loaded: LoadedModel, say: Say, *, labels_must_fit: bool = False
) -> SampleSet:
    if loaded.preprocessing is None:
        samples: Iterator[Sample] = _arrays(Path(spec), loaded.inputs, request)
        return gather(samples, inputs=loaded.inputs, source=spec, seed=request.seed)
    from edge.data.sources import open_source

    try:
        source = open_source(spec, preprocessing=loaded.preprocessing)
        return _gathered(source, spec, request, loaded, say, labels_must_fit=labels_must_fit)
    except DataError as error:
        raise CalibrationError(str(error), hint=error.hint) from error


def _gathered(
    source: Source, told: str, request: ConvertRequest, loaded: LoadedModel, say: Say, *, labels_must_fit: bool = False
) -> SampleSet:
    picked = source.pick(request.samples, seed=request.seed)
    offset = _label_offset(picked, loaded, say, labels_must_fit)
    samples = (
        ([sample.x], None if sample.label is None or offset is None else sample.label + offset)
        for sample in picked.samples()
    )
    return gather(samples, inputs=loaded.inputs, source=told, seed=request.seed)


def _label_offset(source: Source, loaded: LoadedModel, say: Say, must_fit: bool) -> int | None:
    """Return what is added to the labels: 1 where the model's class 0 is ImageNet's background; None: unusable."""
    classes = loaded.model.classes
    if source.labels is None or not len(source.labels):
        return 0
    if classes is None:
        say(f"{source.spec} has a label per picture, the model gives no score per class: the labels are not used")
        return None
    if classes == IMAGENET + 1 and source.classes is not None and source.classes <= IMAGENET:
        say(f"{source.spec}: labels 0..{IMAGENET - 1} are the model's classes 1..{IMAGENET}, class 0 is background")
        return 1
    largest = int(source.labels.max())
    if largest < classes:
        return 0
    told = f"{source.spec} has labels up to {largest}, the model has {classes} class{'es' if classes > 1 else ''}"
    if must_fit:
        raise DataError(told, hint="check on data of the classes the model was trained on")
    say(f"{told}: the labels are not used")
    return None


def _arrays(path: Path, inputs: tuple[Port, ...], request: ConvertRequest) -> Iterator[Sample]:
    """Yield samples for a model whose inputs are no pictures: one array per input, by name, samples first."""
    names = [port.name for port in inputs]
    if not path.is_file() or path.suffix not in (".npz", ".npy"):
        raise CalibrationError(
            f"the model's inputs are no pictures ({', '.join(names)}): {path} cannot be made into them",
            hint="give an .npz file with one array per input, named as the inputs, samples along the first axis",
        )
    arrays = _loaded(path, names)
    counts = {len(array) for array in arrays}
    if len(counts) > 1:
        raise CalibrationError(
            f"{path}: the arrays hold {', '.join(str(len(array)) for array in arrays)} samples for {', '.join(names)}",
            hint="give every input the same number of samples, along the first axis",
        )
    chosen = np.sort(np.random.default_rng(request.seed).permutation(counts.pop())[: request.samples])
    for index in chosen:
        yield [array[index] for array in arrays], None


def _loaded(path: Path, names: list[str]) -> list[Array]:
    """Return the arrays of these names; a .npy file has one without a name."""
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged archive open
            content = np.load(file, allow_pickle=False)
            single = isinstance(content, np.ndarray)
            arrays = [content] if single else [content[name] for name in _keys(content.files, names, path)]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise CalibrationError(
            f"{path} is no array file: {first_line(error)}", hint="write it with numpy.save or numpy.savez"
        ) from error
    for array in arrays:
        if array.ndim == 0 or array.dtype.kind not in "fiub":
            raise CalibrationError(
                f"{path} holds an array of {array.dtype} of shape {list(array.shape)}",
                hint="give real numbers, samples along the first axis",
            )
    return arrays


def _keys(available: list[str], names: list[str], path: Path) -> list[str]:
    by_name = {safe_name(name): name for name in available}
    if all(name in by_name for name in names):
        return [by_name[name] for name in names]
    if len(names) == 1 and "x" in available:
        return ["x"]
    raise CalibrationError(
        f"{path} has the arrays {', '.join(available)}, the model's inputs are {', '.join(names)}",
        hint="name the arrays as the model's inputs: numpy.savez(path, " + ", ".join(f"{n}=..." for n in names) + ")",
    )
