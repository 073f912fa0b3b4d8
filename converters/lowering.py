"""A frozen graph to TensorFlow Lite bytes: one float lowering and one calibration feed all the integer recipes.

The float lowerings go through the public `tf.compat.v1.lite.TFLiteConverter`, which takes a frozen graph (measured on
MobileNetV2: 0.4 s each, against 4 s from a SavedModel that is parsed and loaded anew each time; the same bytes but for
names and metadata). The integer recipes quantize the one calibrated float model the way `tf.lite.TFLiteConverter` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.capture_output import quiet
from converters.edgetpu.passes import for_edgetpu
from converters.errors import ConversionError
from converters.freezing import FrozenModel
from converters.recipes import Recipe
from converters.samples import SampleSet
from converters.sparse.padding import spell_out_padding
from converters.sparse.storage_passes import encode_blocks, store_int8
from converters.tflite.reader import parse_model
from converters.tflite.signature import with_signature

Calibrator = Any  # tensorflow.lite.python.optimize.calibrator.Calibrator
# As the converter names them: 'tf.Erfinv' op is neither ..., tf.Erfinv(tensor<...>), not yet supported for op: 'X'.
_OPS = re.compile(r"'(tfl?\.[A-Za-z0-9_]+)' op|\b(tf\.[A-Z][A-Za-z0-9]+)(?=\()|for op: '([A-Z0-9_]+)'")
_LAYERS = re.compile(r'loc\((?:callsite\()?(?:fused\[)?(?:"[^"]*:", )?"([^"]+?)"')
_PLACE = re.compile(r"^.*?loc\(.*\): error: ")
_POSSIBLE = (
    "replace the layer by one whose operators TensorFlow Lite has built in; where only a quantized recipe fails, "
    "fp32, fp16 and dynamic remain"
)


class Lowering:
    """Lowers one frozen model by any recipe; the float model and the calibration are made once, on first use."""

    def __init__(self, model: FrozenModel, *, samples: SampleSet | None, feeding: Callable[[str], None]) -> None:
        """Keep the parts: the frozen graph, calibration inputs, and who is told how many of them were fed."""
        self._model = model
        self._samples = samples
        self._feeding = feeding

    def lower(self, recipe: Recipe) -> bytes:
        """Return the .tflite bytes of one recipe.

        Raises:
            ConversionError: TensorFlow Lite refused the graph; the operator and layer are named where it says them.
        """
        from tensorflow.lite.python.convert_phase import ConverterError as TensorFlowError

        with quiet() as noise:
            try:
                data = self._lowered(recipe)
            except (TensorFlowError, RuntimeError, ValueError, TypeError) as error:
                raise _refused(f"{noise.text()}\n{error}") from error
        signed = with_signature(data, inputs=self._model.inputs, outputs=self._model.outputs)
        if recipe.edgetpu:
            return for_edgetpu(signed)
        if not recipe.sparse:
            return signed
        explicit = spell_out_padding(signed)
        return store_int8(explicit) if recipe.weights == "int8" else encode_blocks(explicit)

    @cached_property
    def float_model(self) -> bytes:
        """The float32 model, unsigned."""
        return self._convert(optimize=False, half=False)

    def _lowered(self, recipe: Recipe) -> bytes:
        if recipe.sparse:
            half = recipe.weights == "float16"
            return self._convert(optimize=True, half=True, sparse=True) if half else self._sparse_float
        if recipe.activations == "int16":
            return self._sixteen_by_eight()
        if recipe.activations == "int8":
            return self._eight_bit(recipe.interface, dense_per_tensor=recipe.edgetpu)
        if recipe.weights == "float32":
            return self.float_model
        return self._convert(optimize=True, half=recipe.weights == "float16")

    @cached_property
    def _sparse_float(self) -> bytes:
        return self._convert(optimize=False, half=False, sparse=True)

    def _convert(self, *, optimize: bool, half: bool, sparse: bool = False) -> bytes:
        import tensorflow as tf

        function = self._model.function
        converter = tf.compat.v1.lite.TFLiteConverter(function.graph.as_graph_def(), function.inputs, function.outputs)
        converter.exclude_conversion_metadata = True
        asked = {tf.lite.Optimize.DEFAULT: optimize, tf.lite.Optimize.EXPERIMENTAL_SPARSITY: sparse}
        converter.optimizations = [option for option, wanted in asked.items() if wanted]
        if half:
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())

    @cached_property
    def _calibrator(self) -> Calibrator:
        from tensorflow.lite.python.optimize import calibrator

        _require_no_control_flow(self.float_model)
        return calibrator.Calibrator(calibrator.add_intermediate_tensors(self.float_model))

    @cached_property
    def _calibrated(self) -> bytes:
        return bytes(self._calibrator.calibrate(self._fed))

    def _fed(self) -> Iterator[list[npt.NDArray[Any]]]:
        assert self._samples is not None
        batch = self._model.inputs[0].shape[0]
        for index, arrays in enumerate(self._samples.batches(batch)):
            yield [np.ascontiguousarray(array) for array in arrays]
            self._feeding(f"calibrating: {min((index + 1) * batch, self._samples.count)} of {self._samples.count}")

    def _eight_bit(self, interface: str, *, dense_per_tensor: bool) -> bytes:
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize

        dtype = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}[interface]
        return bytes(
            mlir_quantize(
                self._calibrated, input_data_type=dtype, output_data_type=dtype,
                disable_per_channel_for_dense_layers=dense_per_tensor,
            )
        )  # fmt: skip

    def _sixteen_by_eight(self) -> bytes:
        import tensorflow as tf

        assert self._calibrated  # the statistics are in the calibrator: nothing needs to be fed again
        return bytes(
            self._calibrator.calibrate_and_quantize(lambda: iter(()), tf.float32, tf.float32, False, tf.int16, tf.int64)
        )


def _require_no_control_flow(data: bytes) -> None:
    """Refuse what kills TensorFlow Lite's calibrator (SIGSEGV with 2.21, on the first input)."""
    found = dict.fromkeys(op.name for op in parse_model(data).main.operators if op.name in ("WHILE", "IF"))
    if found:
        raise ConversionError(
            f"the model has loops or branches ({', '.join(found)}), which TensorFlow Lite cannot calibrate",
            hint="give recurrent layers unroll=True; or use fp32, fp16 or dynamic, which need no calibration",
        )


def _refused(told: str) -> ConversionError:
    ops = dict.fromkeys(name for found in _OPS.findall(told) for name in found if name)
    layers = dict.fromkeys(_LAYERS.findall(told))
    named = f"the operator {', '.join(ops)}" if ops else "the model"
    where = f" in {', '.join(list(layers)[:3])}" if layers else ""
    said = next((line.strip() for line in told.splitlines() if "error:" in line), "") or _last_line(told)
    said = _PLACE.sub("", said)
    return ConversionError(f"TensorFlow Lite cannot convert {named}{where}: {said[:300]}", hint=_POSSIBLE)


def _last_line(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
