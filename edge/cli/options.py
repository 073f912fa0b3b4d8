"""Collects a command's options into the dataclass that a library function takes, and adds those that commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edge.measure.advice import AdviceCriteria
    from edge.runtime.delegates import Delegate

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Options = dict[str, object]  # what click hands to a command, by the option's name

MODES = click.Choice(["tf", "torch", "caffe", "unit", "raw"])
SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
SHAPE = ("image_size", "classes", "alpha", "padding")


def take(options: Options, *names: str) -> dict[str, Any]:
    """Take options out of all options; those that were not given are left out of the result."""
    values = {name: options.pop(name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, ())}


def take_fields(kind: Callable[..., T], options: Options) -> dict[str, Any]:
    """Take the options that carry the names of a dataclass' fields."""
    return take(options, *(name for name in _fields(kind) if name in options))


def collect(kind: Callable[..., T], options: Options, **values: object) -> T:
    """Make a dataclass of all options; one that was not given leaves the field's default, if there is one.

    Args:
        kind: The dataclass: each option carries the name of one of its fields.
        options: All that have not been taken.
        values: Further fields.
    """
    known = _fields(kind)
    given = {name: value for name, value in options.items() if value is not None or not _has_default(known.get(name))}
    return kind(**given, **values)


def _fields(kind: Callable[..., object]) -> dict[str, Field[Any]]:
    return {each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass, called as one


def _has_default(field: Field[Any] | None) -> bool:
    return field is not None and not (field.default is MISSING and field.default_factory is MISSING)


def parse_pairs(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> Mapping[str, str]:
    """Return repeated KEY=VALUE texts as one mapping."""
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (key, equals, _) in zip(texts, pairs, strict=True) if not (key and equals)]
    if wrong:
        raise click.BadParameter(f"expected {option.metavar}, got {wrong[0]!r}")
    return {key: value for key, _, value in pairs}


class Names(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """NAME,NAME,...: devices and groups of them."""

    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split the text."""
        names = tuple(each.strip() for each in str(value).split(","))
        if not all(names):
            self.fail(f"{value!r} contains an empty name", param, ctx)
        return names


class DelegateType(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """LIBRARY;key=value;..."""

    name = "delegate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Delegate:
        """Parse the option's text."""
        from edge.runtime.delegates import Delegate

        return Delegate.parse(value if isinstance(value, Delegate) else str(value))


def _criteria(context: click.Context, option: click.Parameter, points: float | None) -> AdviceCriteria | None:
    if points is None:
        return None
    from edge.measure.advice import AdviceCriteria

    return AdviceCriteria(loss=points / 100)


loss_option: Callable[[F], F] = click.option(
    "--accuracy-loss", "criteria", type=click.FloatRange(0, 100), metavar="POINTS", callback=_criteria,
    help="Advise only variants that lose at most this much accuracy against the best, in percentage points.  "
         "[default: 2]",
)  # fmt: skip


def delegate_options(command: F) -> F:
    """Add --delegate, --delegate-option and --tpu; `take_delegates` makes one value of them."""
    return add_options(
        command,
        click.option("--delegate", "delegates", type=DelegateType(), multiple=True,
                     metavar="NAME|PATH[;key=value...]",
                     help="External delegate: edgetpu, or the path of a library on the device (repeatable)."),
        click.option("--delegate-option", "delegate_options", multiple=True, callback=parse_pairs, metavar="KEY=VALUE",
                     help="An option of the delegate, if there is only one (repeatable)."),
        click.option("--tpu", metavar="NAME", help="The Edge TPU to use: usb, pci, usb:0, pci:1 or :0; selects "
                     "--delegate edgetpu unless another is given.  [default: the library chooses]"),
    )  # fmt: skip


def take_delegates(options: Options) -> tuple[Delegate, ...]:
    """Take what `delegate_options` added out of all options.

    Raises:
        DelegateError: They contradict each other.
    """
    from edge.runtime.delegates import with_options

    delegates, more, tpu = (options.pop(name) for name in ("delegates", "delegate_options", "tpu"))
    assert isinstance(delegates, tuple)
    assert isinstance(more, Mapping)
    return with_options(delegates, more, tpu=None if tpu is None else str(tpu))


def model_options(command: F) -> F:
    """Add the options that build a registered model: --weights, --alpha, --image-size, --classes, --padding."""
    return add_options(
        command,
        click.option("--weights",
                     help="For a model's name: a .keras, .weights.h5 or .tflite file, or 'imagenet'."),
        click.option("--alpha", type=click.FloatRange(min=0, min_open=True),
                     help="For a model's name: the width multiplier."),
        click.option("--image-size", type=click.IntRange(min=1), help="Height and width of the input in pixels."),
        click.option("--classes", type=click.IntRange(min=1), help="For a model's name: the number of classes."),
        click.option("--padding", type=click.Choice(["same", "symmetric"]),
                     help="For a model's name: the padding of convolutions with stride 2."),
    )  # fmt: skip


def add_options(command: F, *options: Callable[[F], F]) -> F:
    """Add options to a command, in the order in which --help lists them."""
    for option in reversed(options):
        command = option(command)
    return command
