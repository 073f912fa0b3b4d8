"""The models that can be built by name: one entry each, all facts as data, code imported only when a model is built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from edge.errors import InputError

_MOST_PIXELS_PER_SIDE = 4096
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model without building it. Counts are for the default arguments.

    Attributes:
        name: the word `build` takes.
        target: "module:attribute" of the function that builds it; called with `variant` and all of `defaults`.
        defaults: every accepted argument with its default value.
        parameters: Keras' count: kernels, biases and four values per batch-normalized channel.
        trainable: the same without moving means and variances.
        fused: one kernel and one bias per layer, batch normalization folded: what an artifact stores.
        macs: multiply-adds of convolutions and dense layers for one picture.
        mode: preprocessing word of keras.applications ("tf": [-1, 1]; "torch": ImageNet mean and deviation).
        dataset: what the published figure was measured on.
        top1_percent: published top-1 accuracy, None where none is published.
        top1_source: where that figure is printed.
        source: paper and repository of the architecture.
        keras_weights: whether keras.applications offers trained weights.
        preprocessing_note: where the source's own preprocessing differs from `mode`.
    """

    name: str
    target: str
    defaults: Mapping[str, Any]
    parameters: int
    trainable: int
    fused: int
    macs: int
    mode: str
    dataset: str
    source: str
    top1_percent: float | None = None
    top1_source: str | None = None
    keras_weights: bool = False
    preprocessing_note: str | None = None
    variant: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments `build` accepts for this model."""
        return tuple(self.defaults)

    @property
    def classes(self) -> int:
        """The default number of classes."""
        return int(self.defaults["classes"])

    @property
    def image_size(self) -> int:
        """The default height and width, pixels."""
        return int(self.defaults["image_size"])


_ENTRIES: dict[str, ModelSpec] = {}


def register(spec: ModelSpec) -> None:
    """Add an entry.

    Raises:
        ValueError: the name is taken.
    """
    if spec.name in _ENTRIES:
        raise ValueError(f"the model name {spec.name!r} is taken by {_ENTRIES[spec.name].target}")
    _ENTRIES[spec.name] = spec


def specs() -> tuple[ModelSpec, ...]:
    """Return all entries in the order of registration."""
    return tuple(_ENTRIES.values())


def spec_of(name: str) -> ModelSpec:
    """Return the entry of one model.

    Raises:
        InputError: there is no such name; the message has the nearest ones.
    """
    try:
        return _ENTRIES[name]
    except KeyError:
        near = get_close_matches(name, _ENTRIES, n=3, cutoff=0.4)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(_ENTRIES)}"
        raise InputError(f"no model is called {name!r}; {known}", hint="`edge models` lists all models") from None


def arguments_of(name: str, **given: Any) -> dict[str, Any]:  # noqa: ANN401  (the arguments are the model's own)
    """Return the full arguments of a build: the entry's defaults with what was given, checked.

    Raises:
        InputError: the model does not take an argument, or its value is out of range.
    """
    spec = spec_of(name)
    for argument in given:
        if argument not in spec.defaults:
            raise InputError(
                f"{name} takes no argument {argument!r}; it takes {', '.join(spec.defaults)}",
                hint=f"leave {argument} out, or choose another model (`edge models --json` lists their arguments)",
            )
    full = {**spec.defaults, **given}
    for argument, value in full.items():
        _check(name, argument, value)
    return full


def build(name: str, **arguments: Any) -> Any:  # noqa: ANN401  (a keras.Model, whose module is not imported here)
    """Build a registered model with random weights: `build("mobilenet_v2", alpha=0.5, classes=10)`.

    Args:
        name: a name of `edge models`.
        **arguments: alpha (width, > 0), image_size (pixels), classes, padding ("same" or "symmetric": one pixel of
            zeros on each side of stride-2 layers), dropout (rate before the classifier, 0 to below 1); each model
            takes some of them, see `spec_of(name).defaults`.

    Returns:
        A keras.Model from (batch, image_size, image_size, 3) float32, preprocessed as `spec_of(name).mode` says, to
        (batch, classes) probabilities.

    Raises:
        InputError: unknown name or argument, or a value that the architecture does not allow.
    """
    full = arguments_of(name, **arguments)
    spec = spec_of(name)
    module, _, attribute = spec.target.partition(":")
    return getattr(importlib.import_module(module), attribute)(**spec.variant, **full)


def _check(name: str, argument: str, value: object) -> None:
    rule, text = _RULES.get(argument, (None, ""))
    if rule is not None and not rule(value):
        raise InputError(f"{name}: {argument} is {value!r}; it must be {text}")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_RULES: dict[str, tuple[Any, str]] = {
    "alpha": (lambda value: _real(value) and 0 < value <= 10, "a number above 0 and at most 10"),
    "image_size": (
        lambda value: _whole(value, 1, _MOST_PIXELS_PER_SIDE),
        f"a whole number of pixels from 1 to {_MOST_PIXELS_PER_SIDE}",
    ),
    "classes": (lambda value: _whole(value, 1, _MOST_CLASSES), f"a whole number from 1 to {_MOST_CLASSES}"),
    "padding": (lambda value: value in ("same", "symmetric"), '"same" or "symmetric"'),
    "dropout": (lambda value: _real(value) and 0 <= value < 1, "a rate from 0 to below 1"),
}
