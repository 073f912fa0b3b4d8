"""Verification of a TFLite file in pure Python, before native code sees it.

Native runtimes follow the offsets of a file without looking. So everything that they follow or trust is checked first:
the flatbuffer (`flatbuffer`), the numbers that refer to buffers and operators (`contents`), tensors (`tensors`),
the order of the graph (`graph`), and what each operator demands of its inputs and options (`operators`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from converters.errors import ModelFileError
from converters.tflite.contents import Contents, Operator, Tensor, contents_of
from converters.tflite.flatbuffer import Damage, read_root
from converters.tflite.graph_checks import check_graph
from converters.tflite.operator_checks import check_operator
from converters.tflite.tensor_checks import check_tensor
from edge.runtime import coral
from edge.runtime.tensor_info import TensorInfo

_HINT = "the file is damaged, cut short or no TFLite model: get it again, or convert the model again"


@dataclass(frozen=True)
class VerifiedModel:
    """A model that has passed; `data` is what was checked, so that nothing else needs to be read again.

    `custom` names its custom operators; `edgetpu_runtime` is the least one that a model compiled for the Edge TPU asks
    for, None where it is not known or nothing was compiled.
    """

    path: Path
    data: bytes
    operators: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    custom: tuple[str, ...] = ()
    edgetpu_runtime: int | None = None

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return len(self.data)


def verify_file(path: str | os.PathLike[str]) -> VerifiedModel:
    """Read and verify a .tflite file.

    Raises:
        ModelFileError: The file cannot be read, or is no sound model; the message says what is wrong and where, by
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
    try:
        contents = contents_of(read_root(data), data)
        _check(contents)
    except Damage as damage:
        raise ModelFileError(
            f"{path} is not a sound TFLite model: {_where(damage)}{damage.what}", hint=_HINT
        ) from damage
    main = contents.subgraphs[0]
    return VerifiedModel(
        path=path,
        data=data,
        operators=sum(len(subgraph.operators) for subgraph in contents.subgraphs),
        inputs=tuple(_info(main.tensors[index]) for index in main.inputs),
        outputs=tuple(_info(main.tensors[index]) for index in main.outputs),
        custom=tuple(dict.fromkeys(each.custom for each in _operators(contents) if each.custom)),
        edgetpu_runtime=_edgetpu_runtime(contents),
    )


def _operators(contents: Contents) -> Iterator[Operator]:
    return (operator for subgraph in contents.subgraphs for operator in subgraph.operators)


def _edgetpu_runtime(contents: Contents) -> int | None:
    stated = [
        coral.least_runtime(operator.custom_options.tobytes())
        for operator in _operators(contents)
        if operator.custom == coral.OPERATOR and operator.custom_options is not None
    ]
    return max((each for each in stated if each is not None), default=None)


def _check(contents: Contents) -> None:
    for subgraph in contents.subgraphs:
        for tensor in subgraph.tensors:
            check_tensor(tensor)
    check_graph(contents)
    for subgraph in contents.subgraphs:
        for operator in subgraph.operators:
            check_operator(operator, subgraph)


def _info(tensor: Tensor) -> TensorInfo:
    scales, zeros = tensor.scales(), tensor.zero_points()
    quantized = len(scales) == 1 and scales[0] > 0
    return TensorInfo(
        name=tensor.name,
        shape=tensor.signature or tensor.shape,
        dtype="bytes" if tensor.type == "STRING" else tensor.type.lower(),
        scale=scales[0] if quantized else None,
        zero_point=zeros[0] if quantized else None,
    )


def _where(damage: Damage) -> str:
    place = damage.path
    if damage.at is not None:
        place = f"{place} (at byte {damage.at})" if place else f"at byte {damage.at}"
    return f"{place}: " if place else ""
