"""Makes golden vectors: a few inputs and the outputs the model gives for them here, to compare a board with."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.artifact.record import ArtifactRecord
from converters.decode import encode
from devices.messages.machine_jobs import RuntimeVersion
from devices.messages.model_jobs import GoldenDescription, OutputLimit
from edge.agent.messages import specs_of
from edge.data.input_arrays import InputReader
from edge.errors import DataError, InputError
from edge.runtime.delegates import Delegate
from edge.runtime.errors import RuntimeFault
from edge.runtime.interpreters import find_installed
from edge.runtime.tensor_spec import Array, TensorSpec, plausible_array
from edge.runtime.verified_model import VerifiedModel
from edge.workflows.inference import InferenceRequest, InferenceSession

RUNS = 3
MOST_RUNS = 8
MOST_VALUES = 1 << 16  # of one output; of a larger one every n-th value is kept
BLOCK = 16  # drawn pictures are made of squares of this size, which pack into few bytes
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".npy", ".npz")
# What two right implementations may differ by. 8-bit outputs: the last rounding, and one more that it may shift.
# Floating point: sums in another order. 8-bit arithmetic inside, floating point outside: two steps of 1/127 of the
# largest value. Wide integers are indices or truth: a tie may go the other way.
STEPS_8_BIT, STEPS_16_BIT = 2.0, 64.0
# The Edge TPU rounds in each layer as it likes. Not measured on one: as far as two CPU runtimes were seen apart.
STEPS_EDGE_TPU = 16.0
RELATIVE_FLOAT, RELATIVE_8_BIT_INSIDE, SHARE_INDICES = 1e-3, 2 / 127, 0.05


@dataclass(frozen=True)
class Through:
    """The way a board runs a model: its delegates there, and the model that computes the right outputs here.

    A model compiled for an accelerator does not run here; `reference` is the one it was compiled from.
    """

    delegates: tuple[Delegate, ...] = ()
    reference: VerifiedModel | None = None

    def check(self, model: VerifiedModel) -> None:
        """Refuse a reference with other inputs or outputs."""
        if self.reference is None:
            return
        for side in ("inputs", "outputs"):
            wanted, got = ([(each.shape, each.dtype) for each in getattr(m, side)] for m in (model, self.reference))
            if wanted != got:
                raise DataError(
                    f"{self.reference.path} is not what {model.path} was compiled from: its {side} are "
                    f"{_list_ends(got)}, expected {_list_ends(wanted)}"
                )


def _list_ends(ends: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype} {list(shape)}" for shape, dtype in ends)


class GoldenMaker:
    """Makes golden vectors of one model, once for each runtime.

    Args:
        verified: The model.
        artifact: Its description, or None.
        source: A picture, an array file or a folder of them; None generates inputs.
        through: For a model compiled for an accelerator: the way the board runs it, and the model that runs here
            instead.

    Raises:
        DataError: The model that runs here instead has other inputs or outputs.
    """

    def __init__(
        self,
        verified: VerifiedModel,
        artifact: ArtifactRecord | None,
        source: Path | None,
        through: Through | None = None,
    ) -> None:
        self._verified, self._artifact, self._source = verified, artifact, source
        self._through = through or Through()
        self._through.check(verified)
        self._made: dict[str | None, bytes] = {}
        self._lock = threading.Lock()

    def for_runtime(self, name: str | None) -> bytes:
        """Return an archive as `edge.agent.golden` reads it.

        Args:
            name: The board's runtime; the same one runs here if it is installed, else the first that is.

        Raises:
            RuntimeFault: The model does not run here.
            InputError, DataError, ModelInputError: The source cannot be read or does not fit.
        """
        here = [each.name for each in find_installed()]
        chosen = name if name in here else None
        with self._lock:
            if chosen not in self._made:
                self._made[chosen] = self._make(chosen)
            return self._made[chosen]

    def _make(self, runtime: str | None) -> bytes:
        inputs = self._draw_runs() if self._source is None else self._read(self._source)
        runs_here = self._through.reference or self._verified
        request = InferenceRequest(model=runs_here.path, sources=(), runtime=runtime)
        try:
            with InferenceSession() as session:
                outputs, used = session.infer(request, inputs)
        except RuntimeFault as error:
            error.hint = f"{f'{error.hint}; ' if error.hint else ''}--golden none deploys without a check on the board"
            raise
        return _archive(self._describe(inputs, outputs, used), inputs, outputs)

    def _describe(
        self, inputs: Sequence[Sequence[Array]], outputs: Sequence[Sequence[Array]], used: RuntimeVersion
    ) -> GoldenDescription:
        inside, reference = _has_8_bit(self._verified), self._through.reference
        steps = STEPS_8_BIT if reference is None else STEPS_EDGE_TPU
        pairs = zip(self._verified.outputs, outputs[0], strict=True)
        return GoldenDescription(
            runs=len(inputs),
            inputs=len(self._verified.inputs),
            outputs=tuple(_limit(info, array, inside, steps) for info, array in pairs),
            alike=len(outputs) > 1 and _are_alike(outputs),
            source=str(self._source or "drawn"),
            runtime=used,
            delegates=specs_of(self._through.delegates),
            reference=None if reference is None else reference.path.name,
        )

    def _draw_runs(self) -> list[list[Array]]:
        strings = [each.name for each in self._verified.inputs if each.dtype == "bytes"]
        if strings:
            raise InputError(f"input {strings[0]!r} takes texts", hint="give inputs (--golden SRC) or --golden none")
        return [
            [_draw(info, seed=100 * run + i) for i, info in enumerate(self._verified.inputs)] for run in range(RUNS)
        ]

    def _read(self, source: Path) -> list[list[Array]]:
        reader = InputReader.of(self._verified, self._artifact, None)
        paths = [source]
        if source.is_dir():
            paths = sorted(each for each in source.rglob("*") if each.suffix.lower() in PICTURES)[:MOST_RUNS]
            if not paths:
                raise DataError(f"{source} holds no pictures or arrays", hint=f"wanted: {', '.join(PICTURES)}")
        return [reader.read(path) for path in paths]


def _draw(info: TensorSpec, *, seed: int) -> Array:
    """Return an input generated from a seed: an image of squares, or plain numbers."""
    shape = [1 if size < 0 else size for size in info.shape]
    if len(shape) != 4 or min(shape[1:3]) < 2 * BLOCK:
        return plausible_array(shape, info.dtype, seed=seed)
    height, width = shape[1:3]
    small = plausible_array([shape[0], -(-height // BLOCK), -(-width // BLOCK), shape[3]], info.dtype, seed=seed)
    return small.repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :height, :width]


def _are_alike(outputs: Sequence[Sequence[Array]]) -> bool:
    return all(np.array_equal(one, first) for got in outputs[1:] for one, first in zip(got, outputs[0], strict=True))


def _archive(about: GoldenDescription, inputs: Sequence[Sequence[Array]], outputs: Sequence[Sequence[Array]]) -> bytes:
    arrays: dict[str, Array] = {"about": np.frombuffer(json.dumps(encode(about)).encode(), np.uint8)}
    for run, (given, got) in enumerate(zip(inputs, outputs, strict=True)):
        arrays |= {f"input.{run}.{i}": array for i, array in enumerate(given)}
        kept = (array.reshape(-1)[:: each.stride] for each, array in zip(about.outputs, got, strict=True))
        arrays |= {f"output.{run}.{i}": array for i, array in enumerate(kept)}
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]  # its stubs take the arrays for an option
    return memory.getvalue()


def _limit(info: TensorSpec, array: Array, inside: bool, steps: float) -> OutputLimit:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f":
        unit, limit = "relative", RELATIVE_8_BIT_INSIDE if inside else RELATIVE_FLOAT
    elif kind in "iu" and size <= 2:
        unit, limit = "steps", steps if size == 1 else STEPS_16_BIT
    else:
        unit, limit = "share", SHARE_INDICES
    return OutputLimit(info.name, unit, limit, stride=-(-array.size // MOST_VALUES) or 1)


def _has_8_bit(verified: VerifiedModel) -> bool:
    graphs = verified.model.subgraphs
    return any(tensor.dtype in ("int8", "uint8") for graph in graphs for tensor in graph.tensors)
