"""Predicts how several models share one Edge TPU: cached parameters, and those streamed for each inference.

Models compiled in one call of the compiler share the chip's memory: the first takes what it needs, the next what
remains; the rest is streamed from the host for every inference. Models compiled separately evict each
other's parameters, so that each change of model loads all of them again. Source: the vendor's page on its compiler
(parameter data caching, co-compiling), and the logs in google-coral/edgetpu issues 458 and 518.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from converters.edgetpu.mapping import predict_mapping
from converters.edgetpu.parameters import ON_CHIP_BYTES, USABLE_BYTES
from converters.errors import ModelFileError
from converters.tflite.values import ModelInfo

# Memory left for parameters besides the program and the activations, as seen in logs: the least and the most.
LEAST_BYTES = int(6.1 * (1 << 20))
MOST_BYTES = int(7.9 * (1 << 20))


@dataclass(frozen=True)
class Cached:
    """One model's share of the chip's memory, in bytes; `certain` is False where the usual spread could change it."""

    name: str
    parameter_bytes: int
    cached_bytes: int
    streamed_bytes: int
    certain: bool

    @property
    def fits(self) -> bool:
        """Whether nothing is streamed."""
        return self.streamed_bytes == 0

    @property
    def pieces(self) -> int:
        """The number of Edge TPUs that would hold the model, cut into as many pieces."""
        return max(1, -(-self.parameter_bytes // USABLE_BYTES))


@dataclass(frozen=True)
class CachePrediction:
    """Models in the order in which they are given to the compiler.

    `apart_bytes` are loaded at each change of model where they are compiled apart, by model.
    """

    models: tuple[Cached, ...]
    usable_bytes: int
    left_bytes: int
    apart_bytes: tuple[int, ...]

    @property
    def fits(self) -> bool:
        """Whether all models stay on the chip together."""
        return all(each.fits for each in self.models)

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as JSON, schema edge-coral-cache/1."""
        return {
            "schema": "edge-coral-cache/1",
            "is_estimate": True,
            "on_chip_bytes": ON_CHIP_BYTES,
            "usable_bytes": self.usable_bytes,
            "usable_range_bytes": [LEAST_BYTES, MOST_BYTES],
            "left_bytes": self.left_bytes,
            "fits": self.fits,
            "models": [{**dataclasses.asdict(each), "fits": each.fits, "pieces": each.pieces} for each in self.models],
            "apart_bytes": list(self.apart_bytes),
        }


def predict_caching(models: Sequence[tuple[str, ModelInfo]]) -> CachePrediction:
    """Predict how uncompiled models share one Edge TPU when they are compiled together, in this order.

    Raises:
        ModelFileError: A model has been compiled already, or none of it can be mapped.
    """
    sizes = []
    for name, model in models:
        if model.is_edgetpu_compiled:
            raise ModelFileError(
                f"{name} has been compiled: its caching can no longer be changed", hint="give the uncompiled models"
            )
        found = predict_mapping(model)
        if not found.mapped:
            reason = f": {found.failures[0].text}" if found.failures else ""
            raise ModelFileError(
                f"nothing of {name} would run on the Edge TPU{reason}", hint=f"see edge inspect {name} --target coral"
            )
        sizes.append((name, found.parameters.estimated_bytes))
    return share_out(sizes)


def share_out(sizes: Sequence[tuple[str, int]], usable_bytes: int = USABLE_BYTES) -> CachePrediction:
    """Give each model in turn the memory it needs, as long as there is any."""
    cached = _shares([size for _, size in sizes], usable_bytes)
    low, high = (_shares([size for _, size in sizes], limit) for limit in (LEAST_BYTES, MOST_BYTES))
    models = tuple(
        Cached(name, size, own, size - own, (least == size) == (most == size))
        for (name, size), own, least, most in zip(sizes, cached, low, high, strict=True)
    )
    apart = tuple(min(size, usable_bytes) for _, size in sizes)
    return CachePrediction(models, usable_bytes, usable_bytes - sum(cached), apart)


def _shares(sizes: Sequence[int], usable_bytes: int) -> list[int]:
    shares, left = [], usable_bytes
    for size in sizes:
        shares.append(min(size, left))
        left -= shares[-1]
    return shares
