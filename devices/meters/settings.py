"""Settings of meters: what each kind takes, checked before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from devices.meters.errors import MeterSettingError


@dataclass(frozen=True)
class Setting:
    """One setting: a whole number, a number, a word out of `choices`, or yes and no.

    `low` and `high` bound numbers, both included; `advice` says what to do where these are in the way.
    """

    name: str
    type: type[int] | type[float] | type[str] | type[bool]
    about: str
    default: Any = None  # None: not set
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    advice: str = ""


ACCURACY = Setting("accuracy", float, "limit of power's relative error, where you know better", low=1e-5, high=0.5)
_WORDS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def checked(meter: str, given: Mapping[str, Any], known: Sequence[Setting]) -> dict[str, Any]:
    """Return all settings: those given, and the defaults of the others.

    Args:
        meter: Its name, for messages.
        given: Values as TOML has them, or texts from the command line.

    Raises:
        MeterSettingError: One that this meter has not, or out of its range.
    """
    names = [each.name for each in known]
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            listed = f"it has: {', '.join(names)}" if names else "it has none"
            raise MeterSettingError(f"{meter} has no setting {name!r}", hint=meant + listed)
    return {each.name: _value(meter, each, given[each.name]) if each.name in given else each.default for each in known}


def _value(meter: str, setting: Setting, raw: object) -> Any:  # noqa: ANN401  (of the setting's own type)
    value = _parsed(setting, raw)
    low, high = setting.low, setting.high
    wrong = value is None or (setting.choices and value not in setting.choices)
    outside = not wrong and ((low is not None and value < low) or (high is not None and value > high))
    if wrong or outside:
        hint = f"it is {_range(setting)}{setting.advice}"
        raise MeterSettingError(f"{meter}: {setting.name} cannot be {raw!r}", hint=hint)
    return value


def _parsed(setting: Setting, raw: object) -> Any:  # noqa: ANN401
    """Return the value in the setting's type; None if it has none."""
    if setting.type is bool:
        return raw if isinstance(raw, bool) else _WORDS.get(str(raw).lower())
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


def _range(setting: Setting) -> str:
    if setting.choices:
        return " or ".join(setting.choices)
    if setting.type is bool:
        return "yes or no"
    what = "a whole number" if setting.type is int else "a number"
    return f"{what} from {setting.low:g} to {setting.high:g}" if setting.type is not str else "a text"
