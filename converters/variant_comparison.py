"""Runs variants on the host through LiteRT, and compares their outputs with the Keras model's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.capture_output import capture_output
from converters.errors import ConversionError, SourceError
from converters.parity import Comparison, Parity
from converters.samples import SampleSet
from converters.source import SourceModel
from converters.tflite.reader import parse_model
from converters.tflite.values import ModelInfo, TensorInfo

Array = npt.NDArray[Any]
_UNLOADABLE = (
    "a quantized variant is refused when its ranges are out of proportion (untrained weights, dead channels): "
    "train the model, calibrate with more samples, or use fp32, fp16 or dynamic"
)


class HostModel:
    """One loaded model; `preserve` keeps every intermediate tensor readable, at the price of speed and memory."""

    def __init__(self, data: bytes, *, preserve: bool = False) -> None:
        """Load the model with all cores.

        Raises:
            ConversionError: LiteRT cannot load what was converted.
        """
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if preserve else OpResolverType.AUTO
        with capture_output() as captured:
            try:
                self._interpreter = Interpreter(
                    model_content=data, num_threads=os.cpu_count() or 1,
                    experimental_preserve_all_tensors=preserve, experimental_op_resolver_type=resolver,
                )  # fmt: skip
                self._interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                message = f"LiteRT cannot load the converted model: {_place(data, str(error))}{error}"
                raise ConversionError(f"{message} {captured.tail()}".strip(), hint=_UNLOADABLE) from error
        self._data = data
        self.inputs: list[dict[str, Any]] = self._interpreter.get_input_details()
        self._details = {detail["index"]: detail for detail in self._interpreter.get_tensor_details()}
        self.outputs: list[dict[str, Any]] = self._interpreter.get_output_details()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the outputs as float32 (integers dequantized) for one batch of inputs.

        Raises:
            ConversionError: a kernel refused to run.
        """
        for detail, array in zip(self.inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], quantize(array, detail))
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            message = f"LiteRT cannot run the converted model: {_place(self._data, str(error))}{error}"
            raise ConversionError(message, hint=_UNLOADABLE) from error
        return [dequantize(self._interpreter.get_tensor(detail["index"]), detail) for detail in self.outputs]

    def value(self, index: int) -> Array | None:
        """Return a tensor's real value after a run; None where it holds none."""
        try:
            return dequantize(self._interpreter.get_tensor(index), self._details[index])
        except ValueError:
            return None


def _place(data: bytes, message: str) -> str:
    """Name the output of the operator whose number is in LiteRT's message; "" where there is none."""
    match = re.search(r"Node number (\d+)", message)
    graph = parse_model(data).main
    if not match or int(match[1]) >= len(graph.operators):
        return ""
    return f"at '{graph.tensors[graph.operators[int(match[1])].outputs[0]].name.split(';')[0]}': "


def quantize(array: Array, detail: Mapping[str, Any]) -> Array:
    """Return the array in the input's own type."""
    dtype = np.dtype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    if dtype.kind not in "iu" or not scale:
        return np.ascontiguousarray(array, dtype)
    limits = np.iinfo(dtype)
    stored: Array = np.clip(np.rint(array / scale + zero_point), limits.min, limits.max).astype(dtype)
    return stored


def dequantize(array: Array, detail: Mapping[str, Any]) -> Array:
    """Return a tensor's value as real numbers, whatever its type and quantization."""
    parameters = detail["quantization_parameters"]
    scales, zeros = parameters["scales"], parameters["zero_points"]
    if array.dtype.kind not in "iu" or not len(scales):
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[parameters["quantized_dimension"]] = len(scales)
    value: Array = (array.astype(np.float64) - zeros.reshape(shape)) * scales.reshape(shape)
    return value.astype(np.float32)


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
