"""Splits a .tflite file into several that run one after another, checks and writes them: `edge coral segment`."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact.chain_manifest import SCHEMA
from converters.errors import ParityError
from converters.files import require_folder, write_together
from converters.segments.split import Segmentation, segment
from edge.errors import InputError
from edge.runtime.errors import AgentDeadlineError, CrashedError, ModelInputError, RuntimeFault
from edge.runtime.tensor_spec import Array, plausible_array
from edge.runtime.verified_model import VerifiedModel, verify_bytes, verify_file
from edge.workflows.inference import InferenceRequest, InferenceSession


@dataclass(frozen=True)
class Segmented:
    """The written files in order, the manifest, and whether the chain was verified to compute the same.

    `checked` says how many values of the outputs were compared and are the same bit for bit; None where the whole model
    does not run here, for the reason in `unchecked`.
    """

    segmentation: Segmentation
    files: tuple[Path, ...]
    manifest: Path
    checked: int | None
    unchecked: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's content and the files' paths."""
        return {**json.loads(self.manifest.read_text("utf-8")), "manifest": str(self.manifest),
                "folder": str(self.manifest.parent)}  # fmt: skip


def segment_file(path: Path, count: int, out: Path, *, check: bool = True) -> Segmented:
    """Cut a model into `count` files with balanced parameters; write them and a manifest of their order.

    Every piece passes the verifier, and the chain of pieces must give the whole model's outputs bit for bit, before
    anything is written.

    Raises:
        InputError: There is no such file.
        ModelFileError: It is damaged.
        NotCuttable: The model cannot be cut so often, or at all.
        ParityError: The chain computes something else.
        WriteError: The files cannot be written; none is left.
    """
    if not path.is_file():
        raise InputError(f"there is no model file {path}", hint="give the path of a .tflite file")
    whole = verify_file(path)
    require_folder(out)
    found = segment(whole.model, count)
    pieces = [
        verify_bytes(each.data, Path(name)) for each, name in zip(found.segments, _names(path, count), strict=True)
    ]
    checked, unchecked = _check_chain(whole, pieces, found) if check else (None, "not asked for")
    files = tuple(out / piece.path.name for piece in pieces)
    manifest = out / f"{path.stem}-segments.json"
    text = json.dumps(_manifest(whole, found, files, (checked, unchecked)), indent=1) + "\n"
    contents: dict[Path, bytes | str] = {file: piece.data for file, piece in zip(files, pieces, strict=True)}
    write_together(contents | {manifest: text})
    return Segmented(found, files, manifest, checked, unchecked)


def _names(path: Path, count: int) -> list[str]:
    """Return names as the vendor's compiler gives them: NAME_segment_0_of_2.tflite."""
    return [f"{path.stem}_segment_{index}_of_{count}.tflite" for index in range(count)]


def _manifest(
    whole: VerifiedModel, found: Segmentation, files: tuple[Path, ...], check: tuple[int | None, str | None]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "source": {"name": whole.path.name, "sha256": _sha256(whole.data), "bytes": whole.size_bytes},
        "inputs": list(found.inputs),
        "outputs": list(found.outputs),
        "same_bits": {"values": check[0], "unchecked": check[1]},
        "segments": [
            {"file": file.name, "sha256": _sha256(each.data), **each.to_json()}
            for file, each in zip(files, found.segments, strict=True)
        ],
    }


def _check_chain(
    whole: VerifiedModel, pieces: list[VerifiedModel], found: Segmentation
) -> tuple[int | None, str | None]:
    """Run the whole model and the chain on the same plausible inputs, in a child process, and compare the bits."""
    with tempfile.TemporaryDirectory(prefix="edge-segments-") as folder, InferenceSession() as session:

        def run(model: VerifiedModel, arrays: list[Array]) -> list[Array]:
            file = Path(folder, model.path.name)
            file.write_bytes(model.data)
            return session.infer(InferenceRequest(model=file, sources=()), [arrays])[0][0]

        try:
            arrays = _plausible(whole)
            right = run(whole, arrays)
        except (CrashedError, AgentDeadlineError):
            raise
        except RuntimeFault as error:
            return None, f"the whole model does not run here: {error}"
        values = dict(zip(found.inputs, arrays, strict=True))
        for piece, each in zip(pieces, found.segments, strict=True):
            outputs = run(piece, [values[given.name] for given in each.inputs])
            values.update(zip((result.name for result in each.outputs), outputs, strict=True))
    return _compare_outputs(found, values, right), None


def _plausible(model: VerifiedModel) -> list[Array]:
    if any(each.dtype == "bytes" for each in model.inputs):
        raise ModelInputError("it takes texts")
    shapes = [[1 if size < 0 else size for size in each.shape] for each in model.inputs]
    return [
        plausible_array(shape, each.dtype, seed=index)
        for index, (shape, each) in enumerate(zip(shapes, model.inputs, strict=True))
    ]


def _compare_outputs(found: Segmentation, values: Mapping[str, Array], right: list[Array]) -> int:
    for name, wanted in zip(found.outputs, right, strict=True):
        got = values[name]
        if got.dtype != wanted.dtype or got.shape != wanted.shape or got.tobytes() != wanted.tobytes():
            differing = int(np.sum(got != wanted)) if got.shape == wanted.shape else wanted.size
            raise ParityError(
                f"the chain of segments differs from the whole model: {differing} of {wanted.size} values of {name}",
                hint="nothing was written; this model cannot be cut there without changing what it computes",
            )
    return sum(wanted.size for wanted in right)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
