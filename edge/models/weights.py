"""Loads trained weights into a model: Keras' files, the word `imagenet`, .tflite files; completely or not at all."""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.files import sha256_of
from edge.errors import InputError
from edge.models.pretrained import fetch, find_pretrained
from edge.models.registry import arguments_of
from edge.models.tflite_weights import read_tflite_weights
from edge.models.transfer import plan_transfer

IMAGENET = "imagenet"
_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
_WANTED = ".keras, .weights.h5, .h5, .tflite, or the word imagenet"


@dataclass(frozen=True)
class LoadedWeights:
    """The weights loaded into a model.

    Attributes:
        source: the requested word or path.
        path: the file the values came from.
        sha256: that file's hexadecimal digest.
        kind: "keras", "h5", "imagenet" or "tflite".
        tensors: the number of variables set.
        quantization: the storage of the kernels in the file: "float32", "float16", "int8 per channel", ...; several are
            joined by ", ". None where the file does not state it (Keras' own files).
        classes: outputs of the model; None where that is not a fixed number.
        notes: remarks the user should read.
    """

    source: str
    path: Path
    sha256: str
    kind: str
    tensors: int
    quantization: str | None
    classes: int | None
    notes: tuple[str, ...] = ()


def load_weights(
    model: Any,  # noqa: ANN401  (a keras.Model)
    source: str | Path,
    *,
    name: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> LoadedWeights:
    """Put trained weights into a model, all or none: on any error the model is as it was.

    Args:
        model: a built functional or sequential keras.Model; for a .tflite file made of convolutions, depthwise
            convolutions and dense layers, each with or without batch normalization after it.
        source: a .keras, .weights.h5, .h5 or .tflite file of the same architecture, or the word `imagenet`: what
            keras.applications offers, from Keras' cache or downloaded.
        name: the registered name the model was built by; needed for `imagenet`.
        arguments: the arguments it was built with, those not given have their defaults.

    Raises:
        InputError: the source is missing, of an unknown type, of another architecture, or not available offline.
        ModelFileError: a .tflite file is damaged.
        ModelFileError: a .tflite file stores its weights in a way that is not read (sparse, 4-bit).
    """
    word = str(source)
    if word == IMAGENET:
        return _load_imagenet(model, name, arguments or {})
    path = Path(source)
    if not path.is_file():
        raise InputError(f"the weights {word!r} are not a file; wanted: {_WANTED}", hint=_word_hint(word))
    if path.suffix == ".tflite":
        return _load_tflite(model, path)
    if path.suffix in _KERAS_SUFFIXES:
        notes = load_keras_file(model, path)
        kind = "keras" if path.suffix == ".keras" else "h5"
        return replace(_describe(model, word, path, kind=kind), notes=notes)
    raise InputError(
        f"weights cannot be read from {path}: its name ends in {path.suffix or 'nothing'!r}; wanted: {_WANTED}",
        hint="PyTorch checkpoints and SavedModels have to be turned into one of these first",
    )


def _word_hint(word: str) -> str:
    return "write `imagenet`" if word.lower().startswith("imagenet") else "check the path"


def _load_imagenet(model: Any, name: str | None, arguments: Mapping[str, Any]) -> LoadedWeights:  # noqa: ANN401
    if name is None:
        raise InputError(
            "`imagenet` weights are for models built by name",
            hint="give a name of `edge models`, or the weights as a file",
        )
    file = find_pretrained(name, arguments_of(name, **arguments))
    path = fetch(file)
    notes = (*file.notes, *load_keras_file(model, path))
    return replace(_describe(model, IMAGENET, path, kind=IMAGENET), notes=notes)


def _load_tflite(model: Any, path: Path) -> LoadedWeights:  # noqa: ANN401
    weights = read_tflite_weights(path)
    try:
        transfer = plan_transfer(model, weights)
    except InputError as error:
        raise InputError(f"the weights in {path} do not fit {model.name!r}: {error}", hint=error.hint) from error
    transfer.apply()
    storages = ", ".join(sorted({operator.storage for operator in weights.operators}))
    report = _describe(model, str(path), path, kind="tflite")
    return replace(report, tensors=len(transfer.assignments), quantization=storages, notes=transfer.notes)


def _describe(model: Any, source: str, path: Path, *, kind: str) -> LoadedWeights:  # noqa: ANN401
    return LoadedWeights(
        source=source,
        path=path,
        sha256=sha256_of(path),
        kind=kind,
        tensors=len(model.weights),
        quantization=None,
        classes=model.output_shape[-1] if isinstance(model.output_shape, tuple) else None,
    )


_FAILURES = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile)
_ARCHIVED_WEIGHTS = "model.weights.h5"
_ARCHIVED_CONFIG = "config.json"


def load_keras_file(model: Any, path: Path) -> tuple[str, ...]:  # noqa: ANN401  (a keras.Model)
    """Set a model's values from a file of Keras 2 or 3 and return remarks for the user.

    Raises:
        InputError: the file is missing, damaged, or of another architecture; the model is then unchanged.
    """
    if not path.is_file():
        raise InputError(f"the weights file {path} does not exist", hint="check the path given with --weights")
    try:
        with _restore_on_failure(model):
            if path.suffix == ".keras":
                return _load_archive(model, path)
            _load_hdf5(model, path)
            return ()
    except _FAILURES as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the weights in {path} could not be put into {model.name!r}: {type(error).__name__}: {reason[:400]}",
            hint="build the same architecture, width and number of classes that the file was saved from",
        ) from error


@contextlib.contextmanager
def _restore_on_failure(model: Any) -> Iterator[None]:  # noqa: ANN401
    before = [(variable, variable.numpy()) for variable in model.variables]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def _load_archive(model: Any, path: Path) -> tuple[str, ...]:  # noqa: ANN401
    import h5py

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(_ARCHIVED_CONFIG))
        with archive.open(_ARCHIVED_WEIGHTS) as file, h5py.File(file, "r") as stored:
            _check_size(model, stored)
    model.load_weights(path)
    saved = config.get("config", {}).get("name")
    return () if saved == model.name else (f"the file was saved from a model called {saved!r}, not {model.name!r}",)


def _load_hdf5(model: Any, path: Path) -> None:  # noqa: ANN401
    import h5py

    with h5py.File(path, "r") as stored:
        older = "layer_names" in stored.attrs or "model_weights" in stored
        if not older:
            _check_size(model, stored)
    # Keras tells the two layouts apart by the file's name alone; files are named otherwise than that.
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / ("model.h5" if older else _ARCHIVED_WEIGHTS)
        named.symlink_to(path.resolve())
        model.load_weights(named)


def _check_size(model: Any, stored: Any) -> None:  # noqa: ANN401
    """Refuse a file with more or fewer values: Keras ignores layers that the model lacks."""
    import h5py

    sizes = []

    def visit(name: str, item: Any) -> None:  # noqa: ANN401
        parts = name.split("/")
        if isinstance(item, h5py.Dataset) and parts[0] != "optimizer" and "seed_generator" not in parts:
            sizes.append(int(item.size))

    stored.visititems(visit)
    if sum(sizes) != model.count_params():
        raise ValueError(f"the file holds {sum(sizes):,} values, the model {model.count_params():,}")
