"""The options that name external delegates: of `edge run` and `edge profile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edge.runtime.delegates import Delegate, with_options

F = TypeVar("F", bound=Callable[..., Any])


class DelegateType(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """LIBRARY;key=value;..."""

    name = "delegate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Delegate:  # noqa: ANN401
        """Read the option's text."""
        return Delegate.parse(value)


def _pairs(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (key, equals, _) in zip(texts, pairs, strict=True) if not (key and equals)]
    if wrong:
        raise click.BadParameter(f"expected KEY=VALUE, got {wrong[0]!r}")
    return {key: value for key, _, value in pairs}


def delegate_options(command: F) -> F:
    """Add --delegate, --delegate-option and --tpu; `chosen_delegates` makes one value of them."""
    for add in (
        click.option("--tpu", metavar="NAME", help="Which Edge TPU: usb, pci, usb:0, pci:1, :0; --delegate edgetpu, "
                     "unless another is named.  [default: the library chooses]"),
        click.option("--delegate-option", "delegate_options", multiple=True, callback=_pairs, metavar="KEY=VALUE",
                     help="An option for the one delegate (repeatable)."),
        click.option("--delegate", "delegates", type=DelegateType(), multiple=True,
                     metavar="NAME|PATH[;key=value...]",
                     help="External delegate: edgetpu, or a library's path on the device."),
    ):  # fmt: skip
        command = add(command)
    return command


def chosen_delegates(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a command's options with those that `delegate_options` added as one, `delegates`.

    Raises:
        DelegateError: They contradict each other.
    """
    rest = dict(asked)
    options, tpu = rest.pop("delegate_options"), rest.pop("tpu")
    return {**rest, "delegates": with_options(rest["delegates"], options, tpu=tpu)}
