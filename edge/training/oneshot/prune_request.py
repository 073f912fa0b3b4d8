"""Defines the request of a one-shot pruning and checks it before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import DataError, InputError
from edge.models.catalog import Argument
from edge.models.loading import names_a_file
from edge.training.pruning_plan import Pruning
from edge.training.training_settings import SUFFIX

METHODS = ("obc", "magnitude")
DAMPING = 0.01


@dataclass(frozen=True, kw_only=True)
class OneshotOptions:
    """How layers are pruned and corrected.

    Attributes:
        method: "obc": the weights of least cost are removed and the others corrected; or "magnitude": the smallest
            weights are removed, the others stay unchanged.
        damping: weight of staying near the dense weights, in mean squares of an input channel.
        restore: bring batch normalization and biases to the dense network's means and variances.
    """

    method: str = METHODS[0]
    damping: float = DAMPING
    restore: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.method not in METHODS:
            raise InputError(f"methods are {', '.join(METHODS)}, got {self.method!r}")
        if not 0 < self.damping < float("inf"):
            raise InputError(f"the damping must be above 0, got {self.damping}", hint="0.01 is the default")


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """One model to prune.

    Attributes:
        model: a .keras or .h5 file, or a registry name with `weights`.
        calibrate: images to correct the weights with; labels are not used.
        out: the .keras file to write; a description (JSON) is written next to it.
        pruning: how much of each layer, in which blocks.
        oneshot: the method and its options.
        evaluate: images to compare the two networks on; None: the share `held_out` of `calibrate`.
        limit: correct with at most this many images.
        held_out: share of `calibrate` used only to compare, where `evaluate` is not given.
        arguments, weights, preprocess: as for `edge convert`.
    """

    model: str
    calibrate: str
    out: Path
    pruning: Pruning
    oneshot: OneshotOptions = field(default_factory=OneshotOptions)
    evaluate: str | None = None
    limit: int = 256
    held_out: float = 0.25
    seed: int = 0
    batch: int = 16
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    weights: str | None = None
    preprocess: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be pruned or written."""
        if self.out.suffix != SUFFIX:
            raise InputError(
                f"the pruned model is written as {SUFFIX}, got --out {self.out}",
                hint=f"--out {self.out.with_suffix(SUFFIX)}",
            )
        if self.model.endswith(".tflite"):
            raise InputError(
                f"{self.model} is already converted: its layers cannot be pruned",
                hint=f"give its architecture by name and the file as weights: edge prune NAME --weights {self.model}",
            )
        if names_a_file(self.model) and not Path(self.model).exists():
            raise InputError(
                f"there is no model at {self.model}",
                hint="MODEL is a .keras or .h5 file, or a name of `edge models` with --weights",
            )
        if Path(self.model).exists() and self.out.exists() and self.out.samefile(self.model):
            raise InputError(f"--out {self.out} is the model itself", hint="write the pruned model to another file")
        if not 0 < self.held_out < 1 or self.limit < 1 or self.batch < 1 or self.seed < 0:
            raise DataError("the share to hold out lies between 0 and 1, limit and batch are at least 1, the seed 0")

    @property
    def sidecar_file(self) -> Path:
        """The file of the model's description."""
        return self.out.with_suffix(".json")
