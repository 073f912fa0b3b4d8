"""Finds the weights that the word `imagenet` stands for: files of keras.applications, cached or downloaded."""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.files import write_whole
from edge.errors import InputError
from edge.models.registry import spec_of

STALL_S = 20.0
_SERVER = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_STEM = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_SIZES = (96, 128, 160, 192, 224)
_OTHER_SIZES = 224
_CLASSES = 1000
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CHUNK_BYTES = 1 << 18
_POLL_S = 0.1


@dataclass(frozen=True)
class PretrainedFile:
    """A weights file of keras.applications: its name, address, place in Keras' cache, remarks for the user."""

    name: str
    url: str
    path: Path
    notes: tuple[str, ...]


def find_pretrained(name: str, arguments: Mapping[str, Any]) -> PretrainedFile:
    """Return the file keras.applications would load for these arguments of `build`.

    Raises:
        InputError: keras.applications has no weights for this model, width or number of classes.
    """
    if not spec_of(name).keras_weights:
        raise InputError(
            f"`imagenet` weights come from keras.applications, which has no {name}",
            hint="train it (`edge train`), or give a .keras, .weights.h5 or .tflite file of this architecture",
        )
    alpha, side, classes = float(arguments["alpha"]), int(arguments["image_size"]), int(arguments["classes"])
    if alpha not in _ALPHAS:
        raise InputError(
            f"keras.applications has no {name} weights for alpha {alpha}; it has {', '.join(map(str, _ALPHAS))}",
            hint="choose one of these widths, or train the model",
        )
    if classes != _CLASSES:
        raise InputError(
            f"keras.applications' {name} weights have {_CLASSES} classes; the model has {classes}",
            hint=f"build it with --classes {_CLASSES}, or give weights of a model with {classes} classes by --weights",
        )
    notes = []
    if side not in _SIZES:
        notes.append(f"keras.applications has no weights for {side} pixels: those for {_OTHER_SIZES} are taken")
    if arguments.get("padding") == "symmetric":
        notes.append("the weights were trained with padding 'same': expect lower accuracy until fine-tuned")
    file = f"{_STEM}_{alpha}_{side if side in _SIZES else _OTHER_SIZES}.h5"
    return PretrainedFile(name=file, url=_SERVER + file, path=keras_cache() / file, notes=tuple(notes))


def keras_cache() -> Path:
    """Return the folder where Keras keeps downloaded weights ($KERAS_HOME/models, else ~/.keras/models)."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".keras") / "models"


def fetch(file: PretrainedFile, *, stall_s: float = STALL_S) -> Path:
    """Return the path of a file, downloaded into Keras' cache unless it is there.

    Args:
        file: what to fetch.
        stall_s: seconds without a single byte (name look-up and connection included) after which to give up.

    Raises:
        InputError: it is missing and cannot be downloaded; the hint says how to get it by hand.
        WriteError: it was downloaded but cannot be stored.
    """
    if file.path.is_file():
        return file.path
    data = _download(file, stall_s)
    if not data.startswith(_HDF5):
        raise _unavailable(file, f"the answer ({len(data)} bytes) is not an HDF5 file")
    write_whole(file.path, data)
    return file.path


def _download(file: PretrainedFile, stall_s: float) -> bytes:
    # In a thread of its own: looking up a name has no time limit in Python, and a blocked network must not hang us.
    download = _Download(file.url, stall_s)
    download.start()
    seen, since = 0, time.monotonic()
    while download.is_alive():
        download.join(_POLL_S)
        if len(download.data) > seen:
            seen, since = len(download.data), time.monotonic()
        elif time.monotonic() - since > stall_s:
            raise _unavailable(file, f"no byte came for {stall_s:g} s")
    if download.error is not None:
        raise _unavailable(file, str(download.error) or type(download.error).__name__) from download.error
    return bytes(download.data)


class _Download(threading.Thread):
    def __init__(self, url: str, stall_s: float) -> None:
        super().__init__(daemon=True, name="edge-download")
        self.url = url
        self.stall_s = stall_s
        self.data = bytearray()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with urllib.request.build_opener().open(self.url, timeout=self.stall_s) as answer:
                while chunk := answer.read(_CHUNK_BYTES):
                    self.data += chunk
                expected = answer.headers.get("Content-Length")
            if expected is not None and int(expected) != len(self.data):
                raise OSError(f"the connection ended after {len(self.data)} of {expected} bytes")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = error


def _unavailable(file: PretrainedFile, why: str) -> InputError:
    return InputError(
        f"the weights {file.name} are not in {file.path.parent} and could not be downloaded: {why}",
        hint=f"on a machine with a network download {file.url}, then put it into {file.path.parent} or give it with "
        "--weights FILE",
    )
