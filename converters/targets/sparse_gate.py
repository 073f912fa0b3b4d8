"""Refuses files of sparse recipes whose sparse kernels would not run on the target, unless forced."""

from __future__ import annotations

from collections.abc import Callable

from converters.errors import ConversionError
from converters.sparse.pointwise import require_sparse_weights
from converters.targets.boards import TARGETS, target_named
from converters.targets.sparse_analysis import predict_sparse
from converters.targets.sparse_prediction import SparsePrediction
from converters.tflite.reader import parse_model

DEFAULT_TARGET = "pi4"
_SHOWN = 3


def require_sparse_on(target: str, *, force: bool = False) -> Callable[[bytes], None]:
    """Return the check of a file's bytes for a board with the runtime recommended there.

    A file that XNNPACK would compute wrongly, or refuse, on any board is never let through: files travel.

    Raises:
        SourceError: no target of that name. The check itself raises ConversionError with the rules that are not met.
    """
    board = target_named(target)

    def require(data: bytes) -> None:
        model = parse_model(data)
        found = predict_sparse(model, board)
        for each in (board, *TARGETS.values()):
            _require_right_results(found if each is board else predict_sparse(model, each))
        told, where = _told(found)
        if found.engages or force:
            return
        require_sparse_weights(data)
        raise ConversionError(
            f"{where} no sparse kernel would run: {told}",
            hint="change what is named, choose another --target, or write it with --force",
        )

    return require


def _require_right_results(found: SparsePrediction) -> None:
    if found.corrupts or found.refused:
        told, where = _told(found)
        raise ConversionError(
            f"{where} the file would be refused or give wrong results: {told}",
            hint="change what is named, or use fp32, fp16 or int8; --force does not help here",
        )


def _told(found: SparsePrediction) -> tuple[str, str]:
    reasons = "; ".join(str(reason) for reason in found.reasons[:_SHOWN])
    return reasons, f"on {found.target} with {found.runtime}"
