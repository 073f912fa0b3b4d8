"""Runs a model on inputs with known correct outputs and compares them: the job `golden`.

Golden vectors are one .npz archive: `input.RUN.INDEX` and `output.RUN.INDEX` for each run, and `about`, a
`GoldenDescription` as JSON in bytes. In steps, a difference is that of the stored integers; relative, it is divided by
the largest magnitude of the right output; as a share, it counts the values that differ.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.decode import DecodeError, decode
from devices.messages.model_jobs import (
    GoldenDescription,
    GoldenOutput,
    GoldenRequest,
    GoldenResult,
    ModelSetup,
    OutputLimit,
)
from devices.messages.protocol import Progress
from edge.agent.running import find_model, reuse_model, runtime_of
from edge.agent.store_lock import keep_leases
from edge.runtime.errors import ModelInputError

if TYPE_CHECKING:
    from numpy import generic
    from numpy.typing import NDArray

    from edge.runtime import Model

    Arrays = list[NDArray[generic]]


@dataclass(frozen=True)
class GoldenVectors:
    """The content of an archive: its description, and inputs and right outputs of each run."""

    about: GoldenDescription
    runs: tuple[tuple[Arrays, Arrays], ...]


def check_golden(request: GoldenRequest, progress: Progress) -> GoldenResult:
    """Return the largest difference of each output over all runs, and whether all are within their limits."""
    with keep_leases() as root:
        model, golden = ((root or Path()) / path for path in (request.model, request.golden))
        find_model(str(model))  # before anything else: a missing model is the clearer error
        vectors = read_vectors(golden)
        return _compare_runs(reuse_model(ModelSetup(str(model), delegates=vectors.about.delegates)), vectors, progress)


def read_vectors(path: Path) -> GoldenVectors:
    """Read an archive.

    Raises:
        ModelInputError: It is not an archive of golden vectors.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            value = json.loads(archive["about"].tobytes())
            arrays = {name: archive[name] for name in archive.files}
        about = decode(GoldenDescription, value, "about", ignore_unknown=True)
        return GoldenVectors(about, tuple(_arrays_of(arrays, about, run) for run in range(about.runs)))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, DecodeError) as error:
        raise ModelInputError(f"{path} holds no golden vectors: {error}") from error


def _arrays_of(arrays: dict[str, NDArray[generic]], about: GoldenDescription, run: int) -> tuple[Arrays, Arrays]:
    return (
        [arrays[f"input.{run}.{index}"] for index in range(about.inputs)],
        [arrays[f"output.{run}.{index}"] for index in range(len(about.outputs))],
    )


def _compare_runs(model: Model, vectors: GoldenVectors, progress: Progress) -> GoldenResult:
    limits = vectors.about.outputs
    worst = [(0.0, 0)] * len(limits)  # the largest difference of each output, and in which run
    for number, (inputs, right) in enumerate(vectors.runs):
        found = _differences(model, inputs, right, limits)
        worst = [(each, number) if each > most[0] else most for each, most in zip(found, worst, strict=True)]
        progress("golden", done=number + 1, of=len(vectors.runs))
    outputs = tuple(_output(limit, *most) for limit, most in zip(limits, worst, strict=True))
    return GoldenResult(
        passed=all(each.passed for each in outputs),
        runs=len(vectors.runs),
        alike=vectors.about.alike,
        outputs=outputs,
        runtime=runtime_of(model),
    )


def _output(limit: OutputLimit, largest: float, run: int) -> GoldenOutput:
    finite = largest if largest < float("inf") else None  # JSON has no infinity
    return GoldenOutput(limit.name, limit.unit, limit.limit, finite, run, largest <= limit.limit)


def _differences(model: Model, inputs: Arrays, right: Arrays, limits: tuple[OutputLimit, ...]) -> list[float]:
    got = model.run(*inputs)
    if len(got) != len(limits):
        raise ModelInputError(
            f"the model has {len(got)} outputs here, {len(limits)} where the golden vectors were made"
        )
    return [
        difference(mine.reshape(-1)[:: each.stride], good, each.unit)
        for each, mine, good in zip(limits, got, right, strict=True)
    ]


def difference(got: NDArray[Any], right: NDArray[Any], unit: str) -> float:
    """Return the largest difference; infinite where shapes or types differ or a value is not finite in one only."""
    import numpy as np

    if got.shape != right.shape or got.dtype != right.dtype:
        return float("inf")
    if unit == "share" or right.dtype.kind not in "iufb":
        return float((got != right).mean()) if right.size else 0.0
    a, b = got.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    largest = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    if unit == "steps" or not largest:
        return largest
    scale = float(np.abs(b[finite]).max(initial=0.0))
    return largest / scale if scale else float("inf")
