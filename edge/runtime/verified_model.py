"""Verifies .tflite files and holds the facts needed to run them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from converters.errors import ModelFileError
from converters.tflite.reader import parse_model
from converters.tflite.values import EDGE_TPU_OPERATOR, ModelInfo
from converters.tflite.verify import verify_model
from edge.runtime.coral import least_runtime
from edge.runtime.tensor_spec import TensorSpec


@dataclass(frozen=True)
class VerifiedModel:
    """A model that has passed verification; `model` holds the bytes that were checked.

    `edgetpu_runtime` is the oldest Edge TPU runtime for a compiled model, None where it is unknown or the model is
    not compiled.
    """

    path: Path
    model: ModelInfo
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    edgetpu_runtime: int | None = None

    @classmethod
    def of(cls, model: ModelInfo, path: Path) -> VerifiedModel:
        """Verify a model that has been read.

        Raises:
            ModelFileError: The model is not valid.
        """
        main = verify_model(model).main
        return cls(
            path=path,
            model=model,
            inputs=tuple(TensorSpec.of(main.tensors[index]) for index in main.inputs),
            outputs=tuple(TensorSpec.of(main.tensors[index]) for index in main.outputs),
            edgetpu_runtime=_edgetpu_runtime(model),
        )

    @property
    def data(self) -> bytes:
        """The file."""
        return self.model.content

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return len(self.model.content)

    @property
    def operators(self) -> int:
        """The number of operators in all subgraphs."""
        return sum(len(subgraph.operators) for subgraph in self.model.subgraphs)

    @property
    def custom(self) -> tuple[str, ...]:
        """The names of the custom operators."""
        return tuple(dict.fromkeys(each.custom_code for each in self.model.operators() if each.custom_code))


def verify_file(path: str | os.PathLike[str]) -> VerifiedModel:
    """Read and verify a .tflite file.

    Raises:
        ModelFileError: The file cannot be read, or is not a valid model; the message says what is wrong and where, by
            the place in the model (subgraphs[0].operators[3].inputs[1]) and the byte in the file.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model {file}: {error.strerror or error}", hint="check the path"
        ) from error
    return verify_bytes(data, file)


def verify_bytes(data: bytes, path: Path) -> VerifiedModel:
    """Verify a model already in memory; `path` is for the messages.

    Raises:
        ModelFileError: As `verify_file`.
    """
    return VerifiedModel.of(parse_model(data, name=str(path)), path)


def _edgetpu_runtime(model: ModelInfo) -> int | None:
    versions = [
        least_runtime(bytes(operator.custom_options))
        for operator in model.operators()
        if operator.custom_code == EDGE_TPU_OPERATOR and operator.custom_options
    ]
    return max((version for version in versions if version is not None), default=None)
