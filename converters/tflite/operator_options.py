"""Holds the options of operators, with words in place of the schema's numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from converters.tflite import schema
from converters.tflite.flatbuffer import UNKNOWN, Record

_OPTION_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "mode": "MirrorPadMode",
}
_OPTION_TYPES = frozenset({"in_data_type", "out_data_type", "quantized_bias_type", "output_type"})
_SUBGRAPH_LISTS = ("branch_subgraph_indices", "called_computations")


@dataclass(frozen=True, eq=False)
class OptionsInfo:
    """An operator's options: `stored` as in the file, `fields` with words for enumerations, both by the schema's names.

    The properties are what many operators share.
    """

    kind: str
    stored: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """All options that are there: numbers, texts, words of enumerations, tuples."""
        return MappingProxyType({
            name: _readable(name, value) for name, value in self.stored.items() if value is not None
        })  # fmt: skip

    @property
    def padding(self) -> str | None:
        """SAME or VALID."""
        return self.fields.get("padding")

    @property
    def activation(self) -> str | None:
        """The fused activation: NONE, RELU, RELU6, ..."""
        return self.fields.get("fused_activation_function")

    @property
    def strides(self) -> tuple[int, int] | None:
        """Height and width."""
        return self._pair("stride_h", "stride_w")

    @property
    def dilations(self) -> tuple[int, int] | None:
        """Height and width."""
        return self._pair("dilation_h_factor", "dilation_w_factor")

    @property
    def window(self) -> tuple[int, int] | None:
        """Height and width of a pooling window."""
        return self._pair("filter_height", "filter_width")

    @property
    def depth_multiplier(self) -> int | None:
        """Output channels per input channel of a depthwise convolution, as stored."""
        return self.stored.get("depth_multiplier")

    @property
    def subgraphs(self) -> tuple[int, ...]:
        """Subgraphs that the operator runs (IF, WHILE, CALL_ONCE, ...)."""
        return tuple(index for _, index in self.subgraph_references())

    def subgraph_references(self) -> Iterator[tuple[str, int]]:
        """Yield each subgraph that the operator runs, with the option that names it."""
        for name, value in self.stored.items():
            if name.endswith(("subgraph_index", "subgraph")):
                yield name, value
            elif name in _SUBGRAPH_LISTS and value is not None:
                yield from ((name, index) for index in value.tolist())

    def _pair(self, height: str, width: str) -> tuple[int, int] | None:
        return (self.stored[height], self.stored[width]) if height in self.stored and width in self.stored else None


def _readable(name: str, value: Any) -> Any:  # noqa: ANN401  (its type depends on the option)
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if name in _OPTION_ENUMS and isinstance(value, int):
        return schema.enum_name(_OPTION_ENUMS[name], value)
    if name in _OPTION_TYPES and isinstance(value, int):
        return schema.name_in(schema.TENSOR_TYPES, value, "TensorType")
    return value


NO_OPTIONS = OptionsInfo("NONE")


def read_options(record: Record | None) -> OptionsInfo:
    """Return an operator's options; `NO_OPTIONS` where the file has none that are known."""
    return NO_OPTIONS if record is None or record.table == UNKNOWN else OptionsInfo(record.table, record.values)
