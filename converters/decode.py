"""Reads JSON strictly and decodes it into frozen dataclasses: the type hints are the schema, errors name the field."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from converters.errors import EdgeError

T = TypeVar("T")


class DecodeError(EdgeError):
    """A value does not have the expected form; the message names the field."""

    exit_code = 3


@dataclass(frozen=True)
class AtLeast:
    """A lower bound for a number, given as `Annotated[float, AtLeast(0)]`."""

    limit: float


Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
NonNegative = Annotated[float, AtLeast(0)]


def parse_json(text: str) -> object:
    """Parse JSON that can be used in calculations and written again.

    Raises:
        ValueError: It is not JSON, or holds NaN, a number beyond 64 bits, half a surrogate pair, or is nested too deep.
        RecursionError: It is nested too deep to be parsed at all.
    """
    value = json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_int)
    _check_depth(value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text in it holds half a surrogate pair, which is no character") from error
    return value


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _parse_float(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{_clip(word)} is too large for a number")
    return value


def _parse_int(word: str) -> int:
    if len(word) > _DIGITS or abs(int(word)) > _LARGEST:
        raise ValueError(f"{_clip(word)} is too large for a whole number")
    return int(word)


def _clip(word: str) -> str:
    return word if len(word) <= _DIGITS else f"{word[:_DIGITS]}... ({len(word)} digits)"


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [each for one in level if isinstance(one, dict | list)
                 for each in (one.values() if isinstance(one, dict) else one)]  # fmt: skip
    if level:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def encode(value: object) -> Any:  # noqa: ANN401
    """Return dataclasses, mappings and sequences as `json.dumps` takes them; `decode` reads the result."""
    if dataclasses.is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        plain = all(type(item) in _PLAIN for item in value)
        return list(value) if plain else [encode(item) for item in value]
    return value


def decode(cls: type[T], value: object, where: str, *, ignore_unknown: bool = False) -> T:
    """Build a dataclass from parsed JSON, following its type hints.

    Every field without a default must be present (null where its type allows None) and no other may be: a misspelt
    field is an error instead of a silent loss. Mappings of open content (`Mapping[str, Any]`) are taken as they are.

    Args:
        cls: The dataclass.
        value: What `json.loads` returned.
        where: Name of `value` in messages, for example "result.json".
        ignore_unknown: Skip fields that the dataclass does not have, instead of refusing them.

    Raises:
        DecodeError: A field is missing, unknown, of the wrong type or out of range; the message names it.
    """
    return cast(T, _Decoder(ignore_unknown).dataclass(cls, value, where))


@dataclass(frozen=True)
class _Decoder:
    ignore_unknown: bool

    def dataclass(self, cls: type[Any], value: object, where: str) -> object:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        hints, fields = _hints(cast(Hashable, cls)), dataclasses.fields(cls)
        if not self.ignore_unknown:
            _refuse_unknown(fields, value, where)
        _require_all(fields, value, where)
        names = [field.name for field in fields if field.name in value]
        try:
            return cls(**{name: self.value(hints[name], value[name], f"{where}: {name}") for name in names})
        except ValueError as error:
            raise DecodeError(f"{where}: {error}", hint="the file was changed by hand, or damaged") from error

    def value(self, hint: object, value: object, where: str) -> object:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return _bounded(self.value(arguments[0], value, where), arguments[1], where)
        if origin in (Union, types.UnionType):
            inner = next(argument for argument in arguments if argument is not type(None))
            return None if value is None else self.value(inner, value, where)
        if origin is tuple:
            return self.items(arguments, value, where)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(cast(type[Any], hint), value, where)
        return self.mapping(arguments[1], value, where) if origin is Mapping else _scalar(hint, value, where)

    def items(self, arguments: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        hint = arguments[0]
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            if hint in (int, str) and all(type(item) is hint for item in value):  # a million samples come this way
                return tuple(value)
            return tuple(self.value(hint, item, f"{where}[{index}]") for index, item in enumerate(value))
        if len(value) != len(arguments):
            raise _wrong(where, f"a list of {len(arguments)} items", value)
        pairs = zip(arguments, value, strict=True)
        return tuple(self.value(each, item, f"{where}[{index}]") for index, (each, item) in enumerate(pairs))

    def mapping(self, hint: object, value: object, where: str) -> object:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        if hint in (Any, object):
            return value
        return {key: self.value(hint, item, f"{where}: {key}") for key, item in value.items()}


@functools.cache
def _hints(cls: object) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _refuse_unknown(fields: tuple[dataclasses.Field[Any], ...], value: dict[str, object], where: str) -> None:
    names = [field.name for field in fields]
    for name in value:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            known = f"did you mean '{near[0]}'?" if near else f"the fields are {', '.join(names)}"
            raise DecodeError(f"{where}: there is no field '{name}'; {known}")


def _require_all(fields: tuple[dataclasses.Field[Any], ...], value: dict[str, object], where: str) -> None:
    for field in fields:
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if field.name not in value and missing:
            raise DecodeError(f"{where}: the field '{field.name}' is missing")


def _bounded(value: object, bound: AtLeast, where: str) -> object:
    if isinstance(value, int | float) and value < bound.limit:
        raise DecodeError(f"{where}: got {value}, expected at least {bound.limit:g}")
    return value


def _scalar(hint: object, value: object, where: str) -> object:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is type(value) and hint in (str, bool, bytes):
        return value
    raise _wrong(where, _WORDS[hint], value)


def _wrong(where: str, expected: str, value: object) -> DecodeError:
    text = repr(value)
    return DecodeError(f"{where}: expected {expected}, got {text if len(text) <= 60 else type(value).__name__}")


_WORDS: dict[object, str] = {
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    bytes: "bytes",
}
_PLAIN = (int, float, str, bool, type(None))
_DEEPEST, _DIGITS, _LARGEST = 40, 20, 2**64
