"""Weights from Keras' own files: .keras, .weights.h5 and the older .h5, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.errors import InputError

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
        with _unchanged_on_failure(model):
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
def _unchanged_on_failure(model: Any) -> Iterator[None]:  # noqa: ANN401
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
    """Refuse a file with more or fewer values: Keras passes over layers that the model has not."""
    import h5py

    sizes = []

    def visit(name: str, item: Any) -> None:  # noqa: ANN401
        parts = name.split("/")
        if isinstance(item, h5py.Dataset) and parts[0] != "optimizer" and "seed_generator" not in parts:
            sizes.append(int(item.size))

    stored.visititems(visit)
    if sum(sizes) != model.count_params():
        raise ValueError(f"the file holds {sum(sizes):,} values, the model {model.count_params():,}")
