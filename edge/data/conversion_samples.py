"""Reads the samples that a conversion calibrates with and checks its variants on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from converters.artifact.preprocessing import Preprocessing
from converters.errors import CalibrationError
from converters.freezing import Port, first_line, safe_name
from converters.samples import Sample, SampleSet, draw_samples, gather
from edge.data.data_source import DataSource
from edge.data.open_data import open_data
from edge.data.splits import HeldOut
from edge.errors import DataError

Array = npt.NDArray[Any]
Notify = Callable[[str], None]
_DRAWN_SAMPLES = 20
_DRAWN_RANGE = (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """The samples a conversion needs: at most `count` of each source; None: no source was given."""

    calibrate: str | None
    check: str | None
    count: int = 200
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledModel:
    """The facts about a model that decide how its samples are read.

    Attributes:
        preprocessing: None for models that take no images.
        classes: the number of scores; None where the model gives no score per class.
        held_out: samples that its training never used; None where not known.
    """

    inputs: tuple[Port, ...]
    preprocessing: Preprocessing | None
    classes: int | None
    held_out: HeldOut | None


def read_samples(request: SampleRequest, model: SampledModel, notify: Notify) -> tuple[SampleSet | None, SampleSet]:
    """Return the samples to calibrate with (None without a source) and those to compare variants on.

    Variants are compared on, in this order: `check`; samples of `calibrate` that training held out; `calibrate`; drawn
    numbers.

    Raises:
        CalibrationError: a source cannot be read, or does not fit the model.
        DataError: `check` has labels beyond the model's classes.
    """
    reader = _SampleReader(request, model, notify)
    calibration = reader.read(request.calibrate) if request.calibrate else None
    if request.check is not None and request.check != request.calibrate:
        return calibration, reader.read(request.check, labels_must_fit=True)
    if calibration is not None and request.calibrate is not None:
        return calibration, reader.read_held_out(request.calibrate) or calibration
    low_high = model.preprocessing.value_range if model.preprocessing else _DRAWN_RANGE
    check = draw_samples(model.inputs, value_range=low_high, count=_DRAWN_SAMPLES, seed=request.seed)
    notify(
        f"no data was given: variants are compared on {check.count} inputs {check.source}; --check SRC takes real ones"
    )
    return None, check


@dataclass(frozen=True)
class _SampleReader:
    request: SampleRequest
    model: SampledModel
    notify: Notify

    def read(self, spec: str, *, labels_must_fit: bool = False) -> SampleSet:
        """Return samples of any source."""
        request, model = self.request, self.model
        if model.preprocessing is None:
            samples = read_arrays(Path(spec), model.inputs, count=request.count, seed=request.seed)
            return gather(samples, inputs=model.inputs, source=spec, seed=request.seed)
        try:
            source = open_data(spec, preprocessing=model.preprocessing)
            return self._gather(source, spec, labels_must_fit=labels_must_fit)
        except DataError as error:
            raise CalibrationError(str(error), hint=error.hint) from error

    def read_held_out(self, spec: str) -> SampleSet | None:
        """Return samples that training held out, where the data is what the model was trained on; else None."""
        if self.model.held_out is None or self.model.preprocessing is None:
            return None
        splits = self.model.held_out.split(open_data(spec, preprocessing=self.model.preprocessing))
        return None if splits is None else self._gather(splits[1], f"{spec}, held out from training")

    def _gather(self, source: DataSource, origin: str, *, labels_must_fit: bool = False) -> SampleSet:
        picked = source.pick(self.request.count, seed=self.request.seed)
        offset = self._label_offset(picked, labels_must_fit)
        samples = (
            ([sample.x], None if sample.label is None or offset is None else sample.label + offset)
            for sample in picked.samples()
        )
        return gather(samples, inputs=self.model.inputs, source=origin, seed=self.request.seed)

    def _label_offset(self, source: DataSource, must_fit: bool) -> int | None:
        """Return what to add to labels; None: they cannot be used."""
        classes = self.model.classes
        if source.labels is None or not len(source.labels):
            return 0
        if classes is None:
            self.notify(
                f"{source.spec} has a label per image, the model gives no score per class: the labels are not used"
            )
            return None
        offset = source.label_offset(classes)
        if offset == 1:
            self.notify(f"{source.spec}: labels 0..{classes - 2} are the model's classes 1..{classes - 1}, class 0 is "
                        "background")  # fmt: skip
        if offset is not None:
            return offset
        mismatch = (
            f"{source.spec} has labels up to {int(source.labels.max())}, the model has {classes} "
            f"class{'es' if classes > 1 else ''}"
        )
        if must_fit:
            raise DataError(mismatch, hint="check on data of the classes the model was trained on")
        self.notify(f"{mismatch}: the labels are not used")
        return None


def read_arrays(path: Path, inputs: tuple[Port, ...], *, count: int, seed: int) -> Iterator[Sample]:
    """Yield samples for a model whose inputs are no images: one array per input, by name, samples first.

    Raises:
        CalibrationError: it is not an array file, or its arrays do not fit the inputs.
    """
    names = [port.name for port in inputs]
    if not path.is_file() or path.suffix not in (".npz", ".npy"):
        raise CalibrationError(
            f"the model's inputs are no images ({', '.join(names)}): {path} cannot be made into them",
            hint="give an .npz file with one array per input, named as the inputs, samples along the first axis",
        )
    arrays = _load(path, names)
    counts = {len(array) for array in arrays}
    if len(counts) > 1:
        raise CalibrationError(
            f"{path}: the arrays hold {', '.join(str(len(array)) for array in arrays)} samples for {', '.join(names)}",
            hint="give every input the same number of samples, along the first axis",
        )
    for index in np.sort(np.random.default_rng(seed).permutation(counts.pop())[:count]):
        yield [array[index] for array in arrays], None


def _load(path: Path, names: list[str]) -> list[Array]:
    """Return the arrays of these names; a .npy file has one without a name."""
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged archive open
            content = np.load(file, allow_pickle=False)
            single = isinstance(content, np.ndarray)
            arrays = [content] if single else [content[name] for name in _keys(content.files, names, path)]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise CalibrationError(
            f"{path} is not an array file: {first_line(error)}", hint="write it with numpy.save or numpy.savez"
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
