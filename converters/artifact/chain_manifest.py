"""Reads the manifest of a segmented model: NAME-segments.json, which `edge coral segment` writes next to the pieces."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ModelFileError

SCHEMA = "edge-segments/1"


@dataclass(frozen=True)
class Piece:
    """One file of a chain, with the names of its inputs and outputs in the file's order."""

    file: Path
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class ChainManifest:
    """The chain: the whole model's inputs and outputs by name, and the pieces in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    pieces: tuple[Piece, ...]


def read_manifest(path: str | os.PathLike[str]) -> ChainManifest:
    """Read NAME-segments.json, which `edge coral segment` writes alongside the pieces.

    Raises:
        ModelFileError: It cannot be read, is not a manifest, or a piece reads a tensor that none before it writes.
    """
    file = Path(path)
    try:
        value = json.loads(file.read_text("utf-8"))
        if value["schema"] != SCHEMA:
            raise ValueError(f"its schema is {value['schema']!r}, expected {SCHEMA!r}")
        found = ChainManifest(
            tuple(map(str, value["inputs"])),
            tuple(map(str, value["outputs"])),
            tuple(_piece(file.parent, each) for each in value["segments"]),
        )
        _check(found)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(
            f"{file} is no manifest of segments: {said}", hint="edge coral segment writes it"
        ) from error
    return found


def _piece(folder: Path, value: Mapping[str, Any]) -> Piece:
    name = str(value["file"])
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not a file alongside it")
    names = [tuple(str(each["name"]) for each in value[side]) for side in ("inputs", "outputs")]
    return Piece(folder / name, str(value["sha256"]), *names)


def _check(manifest: ChainManifest) -> None:
    known = set(manifest.inputs)
    for piece in manifest.pieces:
        unknown = sorted(set(piece.inputs) - known)
        if unknown:
            raise ValueError(f"{piece.file.name} reads {unknown[0]!r}, which no piece before it writes")
        known.update(piece.outputs)
    if not manifest.pieces or set(manifest.outputs) - known:
        raise ValueError("no piece writes its outputs")
