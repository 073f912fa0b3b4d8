"""Runs a variant and the Keras model over the same inputs, batch by batch, and compares the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.capture_output import capture_output
from converters.errors import SourceError
from converters.host_interpreter import HostModel
from converters.parity import Comparison, Parity
from converters.samples import SampleSet
from converters.source import SourceModel
from converters.tflite.values import ModelInfo, TensorInfo

Array = npt.NDArray[Any]
Outputs = Sequence[Array]
_KERAS_BATCH = 20
_PASSING_ON = frozenset({"DEQUANTIZE", "RESHAPE", "QUANTIZE"})


def compare(model: ModelInfo, reference: Outputs, *, check: SampleSet, batch: int, classes: bool) -> Parity:
    """Return the figures of a variant against the source model.

    Args:
        model: the variant, with a static batch of `batch`.
        reference: the source model's outputs for all of `check`.
        check: the inputs; its labels, if any, give the accuracy.
        batch: samples per run of the variant.
        classes: whether the first output is a score per class.

    Raises:
        ConversionError: LiteRT cannot load or run the variant.
    """
    comparison = Comparison(steps=output_steps(model), classifier=classes)
    host = HostModel(model.content)
    for start, inputs in zip(range(0, check.count, batch), check.batches(batch), strict=True):
        stop = min(start + batch, check.count)
        outputs = [output[: stop - start] for output in host.run(inputs)]
        comparison.add([output[start:stop] for output in reference], outputs)
    return comparison.result(source=check.source, real=check.real, labels=check.labels)


def reference_outputs(
    model: SourceModel, check: SampleSet, *, batch: int, on_progress: Callable[[int, str], None]
) -> list[Array]:
    """Return the source model's outputs for all samples, computed in large batches where the model allows any."""
    size = _KERAS_BATCH if model.inputs[0].shape[0] < 0 else batch
    parts: list[list[Array]] = []
    with capture_output():
        for inputs in check.batches(min(size, check.count) if size != batch else size):
            parts.append(model.predict(inputs))
            on_progress(0, f"Keras: {min(len(parts) * size, check.count)} of {check.count}")
    outputs = [np.concatenate(column)[: check.count] for column in zip(*parts, strict=True)]
    if not all(np.isfinite(output).all() for output in outputs):
        raise SourceError(
            f"{model.name} itself gives NaN or infinity on {check.source}",
            hint="check the model's weights and that its preprocessing is the right one (--preprocess)",
        )
    return outputs


def output_steps(model: ModelInfo) -> list[float]:
    """Return per output the quantization step it is resolved to, 0.0 where it is computed in floating point."""
    return [_step(model, model.main.tensors[index]) for index in model.main.outputs]


def _step(model: ModelInfo, tensor: TensorInfo) -> float:
    """Follow an output back through operators that only pass values on."""
    seen = 0
    while tensor.quantization is None or not tensor.quantization.scales:
        writers = [operator for operator in model.main.operators if tensor.index in operator.outputs]
        if not writers or writers[0].name not in _PASSING_ON or seen > len(model.main.operators):
            return 0.0
        tensor, seen = model.main.tensors[writers[0].inputs[0]], seen + 1
    return float(max(tensor.quantization.scales))
