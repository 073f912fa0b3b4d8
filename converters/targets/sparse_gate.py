"""Refuses files of sparse recipes whose sparse kernels would not run on the target, unless forced."""

from __future__ import annotations

from collections.abc import Callable

from converters.errors import ConversionError
from converters.sparse.pointwise import require_sparse_weights
from converters.targets.analysis import analyse
from converters.targets.boards import TARGETS, target_named
from converters.targets.sparse_prediction import SparsePrediction
from converters.tflite.values import ModelInfo

_SHOWN = 3


def require_sparse_on(target: str, *, force: bool = False) -> Callable[[ModelInfo], None]:
    """Return the check of a file for a board with the recommended runtime.

    A file that XNNPACK would compute wrongly, or refuse, on any board never passes: files travel.

    Raises:
        SourceError: there is no target of that name. The check itself raises ConversionError with the rules that are
            not met.
    """
    board = target_named(target)

    def require(model: ModelInfo) -> None:
        predicted = analyse(model, board).sparse
        _require_right_results(predicted)
        for other in TARGETS.values():
            if other is not board:
                _require_right_results(analyse(model, other).sparse)
        if predicted.engages or force:
            return
        require_sparse_weights(model)
        raise ConversionError(
            f"{_where(predicted)} no sparse kernel would run: {_first_reasons(predicted)}",
            hint="change what is named, choose another --target, or write the file with --force",
        )

    return require


def _require_right_results(predicted: SparsePrediction) -> None:
    if predicted.corrupts or predicted.refused:
        raise ConversionError(
            f"{_where(predicted)} the file would be refused or give wrong results: {_first_reasons(predicted)}",
            hint="change what is named, or use fp32, fp16 or int8; --force does not help here",
        )


def _where(predicted: SparsePrediction) -> str:
    return f"on {predicted.target} with {predicted.runtime}"


def _first_reasons(predicted: SparsePrediction) -> str:
    return "; ".join(str(reason) for reason in predicted.reasons[:_SHOWN])
