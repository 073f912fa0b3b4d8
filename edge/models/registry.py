"""Builds models by name and checks their arguments; the code of a model is imported only when it is built."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from edge.errors import InputError
from edge.models.catalog import BUILT_IN, Argument, ModelSpec

_MOST_PIXELS_PER_SIDE = 4096
_MOST_CLASSES = 1_000_000


_ENTRIES: dict[str, ModelSpec] = {spec.name: spec for spec in BUILT_IN}


def register(spec: ModelSpec) -> None:
    """Add a model to those that can be built by name.

    Raises:
        ValueError: the name is taken.
    """
    if spec.name in _ENTRIES:
        raise ValueError(f"the model name {spec.name!r} is taken by {_ENTRIES[spec.name].target}")
    _ENTRIES[spec.name] = spec


def specs() -> tuple[ModelSpec, ...]:
    """Return all models, the built-in ones first."""
    return tuple(_ENTRIES.values())


def spec_of(name: str) -> ModelSpec:
    """Return the record of one model.

    Raises:
        InputError: there is no such name; the message has the nearest ones.
    """
    try:
        return _ENTRIES[name]
    except KeyError:
        near = get_close_matches(name, _ENTRIES, n=3, cutoff=0.4)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(_ENTRIES)}"
        raise InputError(f"no model is called {name!r}; {known}", hint="`edge models` lists all models") from None


def arguments_of(name: str, **given: Argument) -> dict[str, Argument]:
    """Return the full arguments of a build: the record's defaults, overridden and checked.

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


def build(name: str, **arguments: Argument) -> Any:  # noqa: ANN401  (a keras.Model, whose module is not imported here)
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
    is_allowed, text = _RULES.get(argument, (None, ""))
    if is_allowed is not None and not is_allowed(value):
        raise InputError(f"{name}: {argument} is {value!r}; it must be {text}")


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alpha": (lambda value: _is_number(value) and 0 < value <= 10, "a number above 0 and at most 10"),
    "image_size": (
        lambda value: _is_whole(value, 1, _MOST_PIXELS_PER_SIDE),
        f"a whole number of pixels from 1 to {_MOST_PIXELS_PER_SIDE}",
    ),
    "classes": (lambda value: _is_whole(value, 1, _MOST_CLASSES), f"a whole number from 1 to {_MOST_CLASSES}"),
    "padding": (lambda value: value in ("same", "symmetric"), '"same" or "symmetric"'),
    "dropout": (lambda value: _is_number(value) and 0 <= value < 1, "a rate from 0 to below 1"),
}
