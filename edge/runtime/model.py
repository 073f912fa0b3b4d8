"""Runs a verified model in a runtime's interpreter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.runtime.coral import check_runtime, require_delegate
from edge.runtime.delegates import Delegate, load_delegates
from edge.runtime.errors import InferenceError, ModelInputError
from edge.runtime.interpreters import RuntimeInfo, choose, first_line, open_interpreter
from edge.runtime.tensor_spec import Array, TensorSpec
from edge.runtime.verified_model import VerifiedModel, verify_file


@dataclass(frozen=True)
class Guess:
    """One class of a classifier's answer; `label` is None where the names are not known."""

    index: int
    label: str | None
    score: float


class Model:
    """A verified model in a runtime's interpreter; a context manager that frees it at the end.

    One model runs one inference at a time: give each thread its own.
    """

    def __init__(self, verified: VerifiedModel, runtime: RuntimeInfo, interpreter: Any) -> None:  # noqa: ANN401
        self.verified = verified
        self.runtime = runtime
        self._interpreter = interpreter
        self._input_details = interpreter.get_input_details()
        self._output_details = interpreter.get_output_details()
        self.inputs = tuple(_info(details) for details in self._input_details)
        self.outputs = tuple(_info(details) for details in self._output_details)

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the interpreter; may be repeated."""
        self._interpreter = None

    def prepare(self, *arrays: npt.ArrayLike) -> None:
        """Set the inputs for `invoke`.

        Args:
            arrays: One per input, of exactly its shape and dtype.

        Raises:
            ModelInputError: Their number, shape or dtype does not fit.
        """
        interpreter = self._live()
        given = [np.asarray(array) for array in arrays]
        self._check(given)
        resized = False
        for details, array in zip(self._input_details, given, strict=True):
            if tuple(details["shape"]) != array.shape:
                interpreter.resize_tensor_input(details["index"], list(array.shape), strict=False)
                details["shape"] = np.asarray(array.shape, np.int32)
                resized = True
        if resized:
            self._native(interpreter.allocate_tensors)
        for details, array in zip(self._input_details, given, strict=True):
            self._native(interpreter.set_tensor, details["index"], array)

    def invoke(self) -> None:
        """Run one inference on the inputs set by `prepare`.

        Raises:
            InferenceError: The runtime failed.
        """
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError, AttributeError) as error:
            raise self._translate(error) from error

    def run(self, *arrays: npt.ArrayLike) -> tuple[Array, ...]:
        """Run one inference on raw arrays.

        Args:
            arrays: One per input, of exactly its shape and dtype (quantized where the input is).

        Returns:
            One array per output, as the runtime stores it; strings as NumPy's bytes. They are copies.

        Raises:
            ModelInputError: The number of arrays, a shape or a dtype does not fit.
            InferenceError: The runtime failed.
        """
        self.prepare(*arrays)
        self.invoke()
        interpreter = self._live()
        outputs = [self._native(interpreter.get_tensor, details["index"]) for details in self._output_details]
        return tuple(array.astype(np.bytes_) if array.dtype == object else array for array in outputs)

    def predict(self, *arrays: npt.ArrayLike) -> tuple[Array, ...]:
        """Run one inference on real values: inputs are quantized and outputs dequantized as the model says.

        Raises:
            ModelInputError: The number of arrays or a shape does not fit.
            InferenceError: The runtime failed.
        """
        self._check_count(len(arrays))
        stored = [info.quantize(array) for info, array in zip(self.inputs, arrays, strict=True)]
        outputs = self.run(*stored)
        return tuple(info.dequantize(array) for info, array in zip(self.outputs, outputs, strict=True))

    def classify(self, values: npt.ArrayLike, *, top_k: int = 5, labels: Sequence[str] | None = None) -> list[Guess]:
        """Return the most likely classes of one example, best first.

        Args:
            values: Real values, preprocessed as the model wants them, with or without the batch of 1.
            top_k: How many classes; fewer are returned where the model has fewer.
            labels: Names by class index, as many as the model has classes.

        Raises:
            ModelInputError: The shape does not fit, the number of labels does not, or the first output is no vector.
            InferenceError: The runtime failed.
        """
        array = np.asarray(values)
        if self.inputs and array.ndim == len(self.inputs[0].shape) - 1:
            array = array[np.newaxis]
        return top_classes(self.predict(array)[0], top_k=top_k, labels=labels)

    def _live(self) -> Any:  # noqa: ANN401
        if self._interpreter is None:
            raise InferenceError("the model is closed", hint="load it again")
        return self._interpreter

    def _check_count(self, given: int) -> None:
        if given != len(self.inputs):
            names = ", ".join(info.name for info in self.inputs)
            raise ModelInputError(f"the model has {len(self.inputs)} inputs ({names}), got {given} arrays")

    def _check(self, arrays: Sequence[Array]) -> None:
        self._check_count(len(arrays))
        for info, array in zip(self.inputs, arrays, strict=True):
            fits = array.dtype.kind in "SO" if info.dtype == "bytes" else array.dtype == np.dtype(info.dtype)
            if not fits or not info.accepts(array.shape):
                raise ModelInputError(
                    f"input {info.name!r} takes {info.dtype} of shape {list(info.shape)}, "
                    f"got {array.dtype} of shape {list(array.shape)}",
                    hint="`predict` quantizes real values; `run` takes arrays as the model stores them",
                )

    def _native(self, call: Any, *arguments: object) -> Any:  # noqa: ANN401
        try:
            return call(*arguments)
        except (RuntimeError, ValueError) as error:
            raise self._translate(error) from error

    def _translate(self, error: BaseException) -> InferenceError:
        if self._interpreter is None:
            return InferenceError("the model is closed", hint="load it again")
        return InferenceError(f"{self.runtime.name} {self.runtime.version} failed: {first_line(error)}")


def load_model(
    path: str | os.PathLike[str],
    *,
    runtime: str | None,
    threads: int,
    delegates: Sequence[str | Delegate | Mapping[str, Any]],
) -> Model:
    """Load a model; see `edge.runtime.load`."""
    if threads < 1:
        raise ModelInputError(f"threads must be at least 1, got {threads}")
    verified = verify_file(path)
    require_delegate(verified.path, verified.custom, has_delegate=bool(delegates))
    chosen = choose(runtime)
    loaded = load_delegates(chosen.name, delegates)
    for each in loaded:
        check_runtime(verified.path, verified.edgetpu_runtime, each.edgetpu_version)
    handles = [each.handle for each in loaded]
    return Model(verified, chosen, open_interpreter(chosen, verified.data, threads=threads, delegates=handles))


def top_classes(scores: Array, *, top_k: int, labels: Sequence[str] | None) -> list[Guess]:
    """Return the highest scores of one example, best first; ties keep the order of the classes.

    Raises:
        ModelInputError: The scores are not a vector (ignoring dimensions of 1), or the number of labels differs.
    """
    if scores.size < 1 or scores.size != max(scores.shape, default=1) or scores.dtype.kind not in "fiu":
        raise ModelInputError(f"the output of shape {list(scores.shape)} is no vector of classes")
    if labels is not None and len(labels) != scores.size:
        raise ModelInputError(
            f"got {len(labels)} labels for {scores.size} classes", hint="a background class counts as one"
        )
    flat = scores.reshape(-1)
    order = np.argsort(-flat.astype(np.float64), kind="stable")[: max(top_k, 0)]
    return [Guess(int(i), None if labels is None else labels[int(i)], float(flat[i])) for i in order]


def _info(details: Mapping[str, Any]) -> TensorSpec:
    parameters = details["quantization_parameters"]
    scales, zeros = parameters["scales"], parameters["zero_points"]
    quantized = len(scales) == 1 and scales[0] > 0 and np.dtype(details["dtype"]).kind in "iu"
    signature = details.get("shape_signature", ())
    shape = signature if len(signature) else details["shape"]
    dtype = np.dtype(details["dtype"])
    return TensorSpec(
        name=str(details["name"]),
        shape=tuple(int(size) for size in shape),
        dtype="bytes" if dtype.kind in "SO" else dtype.name,
        scale=float(scales[0]) if quantized else None,
        zero_point=int(zeros[0]) if quantized else None,
    )
