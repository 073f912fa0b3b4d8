"""Defines the settings of meters and checks them before anything is sent.

A kind's settings are a frozen dataclass whose fields come from `setting`:

    @dataclass(frozen=True)
    class PolledSettings:
        interval_ms: int = setting("milliseconds between readings", 100, low=5, high=10_000)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_type_hints

from firmware_tools.errors import SettingError

S = TypeVar("S")
SettingValue = bool | int | float | str | None
_BOOLEANS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


@dataclass(frozen=True)
class Setting:
    """One setting: a whole number, a number, a word out of `choices`, or yes and no.

    `low` and `high` bound numbers, both included; `advice` is the hint for a value beyond them.
    """

    name: str
    type: type[bool] | type[int] | type[float] | type[str]
    about: str
    default: SettingValue = None  # None: not set
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    advice: str = ""


def setting(
    about: str, default: SettingValue = None, *, low: float | None = None, high: float | None = None,
    choices: tuple[str, ...] = (), advice: str = "",
) -> Any:  # noqa: ANN401  (as dataclasses.field: whatever type the field is annotated with)  # fmt: skip
    """Declare a setting as a field of a dataclass."""
    metadata = {"about": about, "low": low, "high": high, "choices": choices, "advice": advice}
    return dataclasses.field(default=default, metadata=metadata)


def accuracy_setting() -> Any:  # noqa: ANN401
    """Declare the setting `accuracy`, which replaces an assumed limit."""
    return setting("limit of the power's relative error, if you know it better", low=1e-5, high=0.5)


def list_settings(kind: type) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares."""
    hints = get_type_hints(kind)
    return tuple(
        Setting(field.name, next(iter(get_args(hints[field.name])), hints[field.name]),
                default=getattr(kind, field.name), **field.metadata)
        for field in dataclasses.fields(kind)
    )  # fmt: skip


def parse_settings(meter: str, given: Mapping[str, object], kind: type[S]) -> S:
    """Return all settings: those given, and the defaults of the others.

    Args:
        meter: Its name, for messages.
        given: Values as TOML has them, or texts from the command line.
        kind: The dataclass that declares the settings.

    Raises:
        SettingError: The meter does not have a setting, or its value is out of range.
    """
    known = {each.name: each for each in list_settings(kind)}
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            listed = f"it has: {', '.join(known)}" if known else "it has none"
            raise SettingError(f"{meter} has no setting {name!r}", hint=meant + listed)
    return kind(**{name: _check(meter, known[name], raw) for name, raw in given.items()})


def _check(meter: str, setting: Setting, raw: object) -> SettingValue:
    value = _parse(setting, raw)
    invalid = value is None or (setting.choices and value not in setting.choices)
    if invalid or _is_outside(setting, value):
        hint = f"it is {_describe_range(setting)}{setting.advice}"
        raise SettingError(f"{meter}: {setting.name} cannot be {raw!r}", hint=hint)
    return value


def _is_outside(setting: Setting, value: SettingValue) -> bool:
    if isinstance(value, str) or value is None:
        return False
    return (setting.low is not None and value < setting.low) or (setting.high is not None and value > setting.high)


def _parse(setting: Setting, raw: object) -> SettingValue:
    """Return the value in the setting's type; None if it has none."""
    if setting.type is bool:
        return raw if isinstance(raw, bool) else _BOOLEANS.get(str(raw).lower())
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    if setting.type is str:
        return raw if isinstance(raw, str) else None
    try:
        number = float(raw)
    except ValueError:
        return None
    if not math.isfinite(number) or (setting.type is int and number != int(number)):
        return None
    return setting.type(number)


def _describe_range(setting: Setting) -> str:
    if setting.choices:
        return " or ".join(setting.choices)
    if setting.type is bool:
        return "yes or no"
    what = "a whole number" if setting.type is int else "a number"
    return f"{what} from {setting.low:g} to {setting.high:g}" if setting.type is not str else "a text"
