"""Lowers a frozen graph to TensorFlow Lite bytes; one float lowering and one calibration feed all integer recipes.

The table `_WAYS` names the ways to lower; a recipe chooses one by its field `lowering`.

The float lowerings go through the public `tf.compat.v1.lite.TFLiteConverter`, which takes a frozen graph (measured on
MobileNetV2: 0.4 s each, against 4 s from a SavedModel that is parsed and loaded again each time; the same bytes except
for names and metadata). The integer recipes quantize the one calibrated float model the way `tf.lite.TFLiteConverter`
does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.capture_output import capture_output
from converters.edgetpu.passes import adapt_to_compiler
from converters.errors import CalibrationError, ConversionError
from converters.freezing import FrozenModel
from converters.recipes import Recipe
from converters.samples import SampleSet
from converters.sparse.passes import encode_blocks, make_padding_explicit, store_int8
from converters.tflite.editor import add_signature
from converters.tflite.reader import parse_model
from converters.tflite.values import ModelInfo

Calibrator = Any  # tensorflow.lite.python.optimize.calibrator.Calibrator
# As the converter names them: 'tf.Erfinv' op is neither ..., tf.Erfinv(tensor<...>), not yet supported for op: 'X'.
_OPS = re.compile(r"'(tfl?\.[A-Za-z0-9_]+)' op|\b(tf\.[A-Z][A-Za-z0-9]+)(?=\()|for op: '([A-Z0-9_]+)'")
_LAYERS = re.compile(r'loc\((?:callsite\()?(?:fused\[)?(?:"[^"]*:", )?"([^"]+?)"')
_PLACE = re.compile(r"^.*?loc\(.*\): error: ")
_FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})
_BORDER = frozenset({"QUANTIZE", "DEQUANTIZE"})
_POSSIBLE = (
    "replace the layer by one whose operators TensorFlow Lite has built in; where only a quantized recipe fails, "
    "fp32, fp16 and dynamic remain"
)


def no_calibration() -> CalibrationError:
    """Return the error of a calibrated recipe without calibration inputs."""
    return CalibrationError(
        "ranges must be measured on real inputs, and none were given",
        hint="--calibrate SRC with a folder of pictures, an .npy or .npz file, or 'digits'; 100 samples are enough",
    )


class Lowering:
    """Lowers one frozen model by any recipe; the float model and the calibration are made once, on first use."""

    def __init__(
        self, model: FrozenModel, *, samples: SampleSet | None, on_sample: Callable[[str], None] = lambda note: None
    ) -> None:
        """Store the frozen graph, the calibration inputs, and the callback for the count of calibrated inputs."""
        self._model = model
        self._samples = samples
        self._on_sample = on_sample

    def lower(self, recipe: Recipe) -> ModelInfo:
        """Return the model of one recipe.

        Raises:
            CalibrationError: the recipe is calibrated and there are no calibration inputs.
            ConversionError: TensorFlow Lite refused the graph; the message has the operator and layer where it names
                them.
        """
        from tensorflow.lite.python.convert_phase import ConverterError as TensorFlowError

        way = _WAYS[recipe.lowering]
        with capture_output() as captured:
            try:
                data = way.lower(self, recipe)
            except (TensorFlowError, RuntimeError, ValueError, TypeError) as error:
                raise _translate(f"{captured.text()}\n{error}") from error
        model = add_signature(
            parse_model(data, name=f"the {recipe.name} model"),
            inputs=[port.name for port in self._model.inputs],
            outputs=[port.name for port in self._model.outputs],
        )
        for change in way.passes:
            model = change(model)
        return model

    @cached_property
    def float_model(self) -> bytes:
        """The float32 model, unsigned."""
        return self.convert()

    @cached_property
    def sparse_float_model(self) -> bytes:
        """The float32 model with TensorFlow Lite's own sparse encoding, unsigned."""
        return self.convert(sparse=True)

    def convert(self, *, optimize: bool = False, half: bool = False, sparse: bool = False) -> bytes:
        """Return a float lowering: with 8-bit weights (`optimize`), 16-bit ones (`half` as well), or sparse ones."""
        import tensorflow as tf

        function = self._model.function
        converter = tf.compat.v1.lite.TFLiteConverter(function.graph.as_graph_def(), function.inputs, function.outputs)
        converter.exclude_conversion_metadata = True
        options = {tf.lite.Optimize.DEFAULT: optimize, tf.lite.Optimize.EXPERIMENTAL_SPARSITY: sparse}
        converter.optimizations = [option for option, is_on in options.items() if is_on]
        if half:
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())

    def quantize_int8(self, interface: str, *, dense_per_tensor: bool = False) -> bytes:
        """Return the calibrated model with int8 weights and activations; `interface` is the type in and out."""
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize

        dtype = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}[interface]
        return bytes(
            mlir_quantize(
                self._calibrated_model, input_data_type=dtype, output_data_type=dtype,
                disable_per_channel_for_dense_layers=dense_per_tensor,
            )
        )  # fmt: skip

    def quantize_int16x8(self) -> bytes:
        """Return the calibrated model with int8 weights and int16 activations, float32 in and out."""
        import tensorflow as tf

        assert self._calibrated_model  # the statistics are in the calibrator: nothing needs to be fed again
        return bytes(
            self._calibrator.calibrate_and_quantize(lambda: iter(()), tf.float32, tf.float32, False, tf.int16, tf.int64)
        )

    @cached_property
    def _calibrator(self) -> Calibrator:
        from tensorflow.lite.python.optimize import calibrator

        _require_no_control_flow(self.float_model)
        return calibrator.Calibrator(calibrator.add_intermediate_tensors(self.float_model))

    @cached_property
    def _calibrated_model(self) -> bytes:
        if self._samples is None:
            raise no_calibration()
        samples = self._samples
        return bytes(self._calibrator.calibrate(lambda: self._feed(samples)))

    def _feed(self, samples: SampleSet) -> Iterator[list[npt.NDArray[Any]]]:
        batch = self._model.inputs[0].shape[0]
        for index, arrays in enumerate(samples.batches(batch)):
            yield [np.ascontiguousarray(array) for array in arrays]
            self._on_sample(f"calibrating: {min((index + 1) * batch, samples.count)} of {samples.count}")


@dataclass(frozen=True)
class _Way:
    """One way to lower: the function that does it, and the passes over its signed result."""

    lower: Callable[[Lowering, Recipe], bytes]
    passes: tuple[Callable[[ModelInfo], ModelInfo], ...] = ()


_WAYS: Mapping[str, _Way] = MappingProxyType({
    "float32": _Way(lambda line, _: line.float_model),
    "float16": _Way(lambda line, _: line.convert(optimize=True, half=True)),
    "dynamic": _Way(lambda line, _: line.convert(optimize=True)),
    "int8": _Way(lambda line, recipe: line.quantize_int8(recipe.interface)),
    "int16x8": _Way(lambda line, _: line.quantize_int16x8()),
    "sparse-float32": _Way(lambda line, _: line.sparse_float_model, (make_padding_explicit, encode_blocks)),
    "sparse-float16": _Way(
        lambda line, _: line.convert(optimize=True, half=True, sparse=True), (make_padding_explicit, encode_blocks)
    ),
    "sparse-int8": _Way(lambda line, _: line.sparse_float_model, (make_padding_explicit, store_int8)),
    "edgetpu": _Way(
        lambda line, recipe: line.quantize_int8(recipe.interface, dense_per_tensor=True), (adapt_to_compiler,)
    ),
})  # fmt: skip


def check_against_recipe(model: ModelInfo, recipe: Recipe) -> None:
    """Check that a lowered model meets its recipe: static shapes, and integers only where it requires them.

    Raises:
        ConversionError: an operator still computes in floating point where the recipe requires integers, an operator is
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
            outputs = [graph.tensors[index] for index in operator.outputs]
            if operator.name not in _BORDER and any(tensor.dtype in _FLOATS for tensor in outputs):
                offending.append((operator.name, outputs[0].name))
    if offending:
        first = ", ".join(f"{op} at '{name}'" for op, name in offending[:3])
        more = f" and {len(offending) - 3} more" if len(offending) > 3 else ""
        raise ConversionError(
            f"the recipe requires integers only, but TensorFlow Lite left {first}{more} in floating point",
            hint="there is no integer kernel for it: replace the layer, or use the recipes dynamic, fp16 or fp32",
        )


def _require_no_control_flow(data: bytes) -> None:
    """Refuse control flow, which crashes TensorFlow Lite's calibrator (SIGSEGV with 2.21, on the first input)."""
    operators = dict.fromkeys(op.name for op in parse_model(data).main.operators if op.name in ("WHILE", "IF"))
    if operators:
        raise ConversionError(
            f"the model has loops or branches ({', '.join(operators)}), which TensorFlow Lite cannot calibrate",
            hint="give recurrent layers unroll=True; or use fp32, fp16 or dynamic, which need no calibration",
        )


def _translate(output: str) -> ConversionError:
    """Return TensorFlow's failure as an error that names the operator and the layer, where its output does."""
    ops = dict.fromkeys(name for names in _OPS.findall(output) for name in names if name)
    layers = dict.fromkeys(_LAYERS.findall(output))
    subject = f"the operator {', '.join(ops)}" if ops else "the model"
    where = f" in {', '.join(list(layers)[:3])}" if layers else ""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reason = next((line for line in lines if "error:" in line), lines[-1] if lines else "no reason given")
    reason = _PLACE.sub("", reason)
    return ConversionError(f"TensorFlow Lite cannot convert {subject}{where}: {reason[:300]}", hint=_POSSIBLE)
