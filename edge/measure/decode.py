"""Strict reading of JSON, and into frozen dataclasses: the type hints are the schema, an error names the field."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from edge.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class AtLeast:
    """A lower bound for a number, given as `Annotated[float, AtLeast(0)]`."""

    limit: float


Count = Annotated[int, AtLeast(0)]
NonNegative = Annotated[float, AtLeast(0)]


def parse_json(text: str) -> object:
    """Parse JSON that this toolkit can calculate with and write again.

    Raises:
        ValueError: It is not JSON, or holds NaN, a number beyond 64 bits, half a surrogate pair, or a nest of brackets.
        RecursionError: It is nested so deep that it cannot even be parsed.
    """
    value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_of_64_bits)
    _check_depth(value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text in it holds half a surrogate pair, which is no character") from error
    return value


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{_clipped(word)} is too large for a number")
    return value


def _of_64_bits(word: str) -> int:
    if len(word) > _DIGITS or abs(int(word)) > _LARGEST:
        raise ValueError(f"{_clipped(word)} is too large for a whole number")
    return int(word)


def _clipped(word: str) -> str:
    return word if len(word) <= _DIGITS else f"{word[:_DIGITS]}... ({len(word)} digits)"


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [each for one in level if isinstance(one, dict | list)
                 for each in (one.values() if isinstance(one, dict) else one)]  # fmt: skip
    if level:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def decode(cls: type[T], value: object, where: str) -> T:
    """Build a dataclass from parsed JSON, following its type hints.

    Every field without a default must be present (null where its type allows None) and no other may be: a misspelt
    field is an error, not a value silently lost. Mappings of open content (`Mapping[str, Any]`) are taken as they are.

    Args:
        cls: The dataclass.
        value: What `json.loads` returned.
        where: Name of `value` in messages, for example "result.json".

    Raises:
        InputError: A field is missing, unknown, of the wrong type or out of range; the message names it.
    """
    return cast(T, _dataclass(cls, value, where))


def _dataclass(cls: type[Any], value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    hints = get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)
    _check_names(fields, value, where)
    names = [field.name for field in fields if field.name in value]
    try:
        return cls(**{name: _value(hints[name], value[name], f"{where}: {name}") for name in names})
    except ValueError as error:
        raise InputError(f"{where}: {error}", hint="the file was changed by hand, or damaged") from error


def _check_names(fields: tuple[dataclasses.Field[Any], ...], value: dict[str, object], where: str) -> None:
    names = [field.name for field in fields]
    for name in value:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            known = f"did you mean '{near[0]}'?" if near else f"the fields are {', '.join(names)}"
            raise InputError(f"{where}: there is no field '{name}'; {known}", hint=_HINT)
    for field in fields:
        if field.name not in value and field.default is dataclasses.MISSING:
            raise InputError(f"{where}: the field '{field.name}' is missing", hint=_HINT)


def _value(hint: object, value: object, where: str) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(_value(arguments[0], value, where), arguments[1], where)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is tuple:
        return _items(arguments, value, where)
    if dataclasses.is_dataclass(hint):
        return _dataclass(cast(type[Any], hint), value, where)
    return _open(value, where) if origin is Mapping else _scalar(hint, value, where)


def _bounded(value: object, bound: AtLeast, where: str) -> object:
    if isinstance(value, int | float) and value < bound.limit:
        raise InputError(f"{where}: got {value}, expected at least {bound.limit:g}", hint=_HINT)
    return value


def _items(arguments: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    return tuple(_value(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))


def _open(value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def _scalar(hint: object, value: object, where: str) -> object:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is type(value) and hint in (str, bool):
        return value
    raise _wrong(where, _WORDS[hint], value)


def _wrong(where: str, expected: str, value: object) -> InputError:
    text = repr(value)
    return InputError(
        f"{where}: expected {expected}, got {text if len(text) <= 60 else type(value).__name__}", hint=_HINT
    )


_WORDS: dict[object, str] = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false"}
_HINT = "expected is what `edge profile --out FILE.json` writes"
_DEEPEST, _DIGITS, _LARGEST = 40, 20, 2**64
