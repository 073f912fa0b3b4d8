"""What pruning did to the answers: the two networks compared on pictures that nothing was corrected with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.data.data_source import DataSource, Integers
from edge.training.oneshot.layer_program import LayerProgram
from edge.training.outcome import CorrectCount


@dataclass(frozen=True)
class Agreement:
    """How near the pruned network's answers are to the dense one's; None is not known.

    Attributes:
        pictures: how many were compared.
        same_top1: on how many both name the same class; None where the model is no classifier.
        sqnr_db: power of the dense outputs over the power of the difference; None where there is no difference.
        dense, pruned: right answers, where labels are known.
    """

    pictures: int
    same_top1: int | None
    sqnr_db: float | None
    dense: CorrectCount | None
    pruned: CorrectCount | None

    def to_json(self, measured_on: str) -> dict[str, Any]:
        """Return the figures with what they were measured on."""
        return {
            "pictures": self.pictures,
            "measured_on": measured_on,
            "same_top1": self.same_top1,
            "top1_agreement": None if self.same_top1 is None else self.same_top1 / self.pictures,
            "output_sqnr_db": self.sqnr_db,
            "dense": _share_json(self.dense),
            "pruned": _share_json(self.pruned),
        }


def compare(
    dense: LayerProgram, pruned: LayerProgram, source: DataSource, labels: Integers | None, size: int
) -> Agreement:
    """Run both networks on a source's pictures, `size` at a time; `labels` are numbers of the model's outputs."""
    signal = noise = 0.0
    answers: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for x in batches(source, size):
        of_dense, of_pruned = (_outputs(program, x) for program in (dense, pruned))
        for wanted, got in zip(of_dense, of_pruned, strict=True):
            signal += float(np.square(wanted, dtype=np.float64).sum())
            noise += float(np.square(wanted.astype(np.float64) - got).sum())
        if len(of_dense) == 1 and of_dense[0].ndim == 2 and of_dense[0].shape[1] > 1:
            answers.append((of_dense[0].argmax(axis=1), of_pruned[0].argmax(axis=1)))
    sqnr = 10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None
    if not answers:
        return Agreement(len(source), None, sqnr, None, None)
    first, second = (np.concatenate(each) for each in zip(*answers, strict=True))
    known = [
        None if labels is None else CorrectCount(int((each == labels).sum()), len(labels)) for each in (first, second)
    ]
    return Agreement(len(source), int((first == second).sum()), sqnr, *known)


def batches(source: DataSource, size: int) -> Any:  # noqa: ANN401  (an iterator of float32 arrays)
    """Yield a source's inputs, so many at a time, read when they are asked for."""
    for start in range(0, len(source), size):
        indices = range(start, min(start + size, len(source)))
        yield np.stack([sample.x for sample in source.samples(indices)])


def _outputs(program: LayerProgram, x: NDArray[Any]) -> list[NDArray[Any]]:
    values = program.run({program.inputs[0]: x}, 0, len(program.steps))
    return [values[number] for number in program.outputs]


def _share_json(share: CorrectCount | None) -> dict[str, Any] | None:
    return None if share is None else {"correct": share.correct, "of": share.of, "accuracy": share.accuracy}
