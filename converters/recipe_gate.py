"""Prove on the lowered file that a variant is what its recipe says: static shapes, integers only where promised."""

from __future__ import annotations

from converters.errors import ConversionError
from converters.recipes import Recipe
from converters.tflite.values import ModelInfo

_FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})
_BORDER = frozenset({"QUANTIZE", "DEQUANTIZE"})


def require_recipe_kept(model: ModelInfo, recipe: Recipe) -> None:
    """Check the lowered model against its recipe.

    Raises:
        ConversionError: an operator still computes in floating point where the recipe promises integers, an operator is
            custom or TensorFlow's own, or a tensor has no static shape.
    """
    _require_static(model)
    if recipe.integer_only:
        _require_integers(model)


def _require_static(model: ModelInfo) -> None:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.is_dynamic:
                raise ConversionError(
                    f"tensor '{tensor.name}' has no static shape: {list(tensor.full_shape)}",
                    hint="a dynamic tensor keeps fast kernels off the whole model; give the model a fixed input size",
                )


def _require_integers(model: ModelInfo) -> None:
    offending = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            written = [graph.tensors[index] for index in operator.outputs]
            if operator.name not in _BORDER and any(tensor.dtype in _FLOATS for tensor in written):
                offending.append((operator.name, written[0].name))
    if offending:
        first = ", ".join(f"{op} at '{name}'" for op, name in offending[:3])
        more = f" and {len(offending) - 3} more" if len(offending) > 3 else ""
        raise ConversionError(
            f"integers only are promised, but TensorFlow Lite left {first}{more} in floating point",
            hint="there is no integer kernel for it: replace the layer, or use the recipes dynamic, fp16 or fp32",
        )
