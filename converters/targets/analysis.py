"""Analyses a .tflite file for a target: where its operators run, and with which kernels. Computed once, then handed on.

Everything in an analysis is predicted from the file alone; what a run shows beside it is observed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from converters.targets.boards import Target, target_named
from converters.targets.runtimes import RECOMMENDED
from converters.targets.sparse_analysis import OperatorPlacement, SparseAnalyser
from converters.targets.sparse_prediction import SparsePrediction
from converters.tflite.values import ModelInfo


@dataclass(frozen=True)
class Analysis:
    """What XNNPACK will make of a file on a board.

    Attributes:
        target: the board.
        operators: where each operator of the main graph runs, in the order of the file.
        sparse: which sparse kernels will run, and what keeps the others from it.
    """

    target: Target
    operators: tuple[OperatorPlacement, ...]
    sparse: SparsePrediction

    def to_json(self) -> dict[str, object]:
        """Return the value `target` of an inspection."""
        return {
            "name": self.target.name,
            "board": self.target.board,
            "cpu": self.target.cpu,
            "runtime": self.sparse.runtime,
            "operators": [dataclasses.asdict(each) for each in self.operators],
            "sparse": self.sparse.to_json(),
        }


def analyse(model: ModelInfo, target: str | Target, runtime: str | None = None) -> Analysis:
    """Predict where the operators of a file run and which of its 1x1 convolutions XNNPACK's sparse kernels will run.

    Args:
        model: the file, as `converters.tflite.reader.read_model` gives it.
        target: the board, by name or as a value.
        runtime: "name==version"; None is the one verified the most.

    Returns:
        The analysis; `sparse.engages` is None where the runtime, or something in the file with it, was not measured.

    Raises:
        SourceError: there is no target of that name.
        ModelFileError: weights of the file are damaged.
    """
    board = target_named(target) if isinstance(target, str) else target
    analyser = SparseAnalyser(model, board, runtime or RECOMMENDED)
    return Analysis(board, analyser.operators, analyser.prediction)
