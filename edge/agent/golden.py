"""The job `golden`: run a model here on inputs whose right outputs are known, and compare.

Golden vectors are one .npz archive: `input.RUN.INDEX` and `output.RUN.INDEX` for each run, and `about`, JSON as bytes:
{"outputs": [{"name", "unit": "steps" | "relative" | "share", "limit", "stride"}], ...}, with "delegates" if the model
runs through some here. Of a large output only every stride-th value is kept. In steps, a difference is that of the
stored integers; relative, it is divided by the largest magnitude of the right output; as a share, it counts the values
that differ.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.agent.infer import loaded
from edge.agent.model import model_path
from edge.agent.request import field
from edge.agent.store_lock import working
from edge.runtime.errors import ModelInputError

if TYPE_CHECKING:
    from numpy import generic
    from numpy.typing import NDArray

    from edge.runtime import Model

    Vectors = tuple[dict[str, Any], list[tuple[list[NDArray[generic]], ...]]]


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:  # noqa: ANN401
    """Answer with the largest difference of each output over all runs, and whether all are within their limits.

    Relative paths begin at the root whose lock this agent holds, if it holds one.
    """
    with working() as root:
        model, golden = ((root or Path()) / field(request, name, str) for name in ("model", "golden"))
        model_path({**request, "model": str(model)})  # a model that is not there is said before anything else
        vectors = read(golden)
        delegates = vectors[0].get("delegates") or []
        return _run(loaded({**request, "model": str(model), "delegates": delegates}), vectors, progress)


def _run(model: Model, vectors: Vectors, progress: Any) -> dict[str, Any]:  # noqa: ANN401
    about, runs = vectors
    worst: list[dict[str, Any]] = [{**each, "largest": 0.0, "run": 0} for each in about["outputs"]]
    for number, (inputs, right) in enumerate(runs):
        _compare(model, inputs, right, worst, number)
        progress(stage="golden", done=number + 1, of=len(runs))
    for each in worst:
        each["passed"] = each["largest"] <= each["limit"]
        each["largest"] = each["largest"] if each["largest"] < float("inf") else None  # JSON has no infinity
    return {
        "passed": all(each["passed"] for each in worst),
        "runs": len(runs),
        "alike": bool(about.get("alike")),
        "outputs": worst,
        "runtime": {"name": model.runtime.name, "version": model.runtime.version},
    }


def read(path: Path) -> Vectors:
    """Return what an archive says of itself, and inputs and right outputs of each run.

    Raises:
        ModelInputError: It is no archive of golden vectors.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            arrays = {name: archive[name] for name in archive.files}
        sides = {"input": range(about["inputs"]), "output": range(len(about["outputs"]))}
        return about, [
            tuple([arrays[f"{side}.{run}.{index}"] for index in indices] for side, indices in sides.items())
            for run in range(about["runs"])
        ]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelInputError(f"{path} holds no golden vectors: {error}") from error


def _compare(
    model: Model,
    inputs: list[NDArray[generic]],
    right: list[NDArray[generic]],
    worst: list[dict[str, Any]],
    run: int,
) -> None:
    got = model.run(*inputs)
    if len(got) != len(worst):
        raise ModelInputError(f"the model has {len(got)} outputs here, {len(worst)} where the golden vectors were made")
    for each, mine, good in zip(worst, got, right, strict=True):
        found = difference(mine.reshape(-1)[:: each["stride"]], good, each["unit"])
        if found > each["largest"]:
            each.update(largest=found, run=run)


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
