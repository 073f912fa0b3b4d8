"""Fields of a request, checked: a wrong one is an error that names it, not a traceback."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from edge.runtime.errors import RuntimeFault

T = TypeVar("T")
_REQUIRED = object()


def field(request: dict[str, Any], name: str, kind: type[T] | tuple[type[T], ...], default: Any = _REQUIRED) -> T:  # noqa: ANN401
    """Return one field of a request.

    Raises:
        RuntimeFault: The field is missing without a default, or of another type.
    """
    value = request.get(name, default)
    if value is default and default is not _REQUIRED:
        return cast("T", default)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if value is _REQUIRED or not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(each.__name__ for each in kinds)
        got = "nothing" if value is _REQUIRED else repr(value)[:80]
        raise RuntimeFault(f"the job {request.get('job')!r} wants {name!r} as {wanted}, got {got}")
    return value


def at_least(request: dict[str, Any], name: str, least: float, default: float | None = None) -> float:
    """Return a number that is not smaller than `least`."""
    number = field(request, name, (int, float), _REQUIRED if default is None else default)
    if not number >= least:
        raise RuntimeFault(f"the job {request.get('job')!r} wants {name!r} of at least {least}, got {number}")
    return number


def count(request: dict[str, Any], name: str, default: int | None = None, *, least: int = 1) -> int:
    """Return a whole number that is not smaller than `least`."""
    number = field(request, name, int, _REQUIRED if default is None else default)
    if number < least:
        raise RuntimeFault(f"the job {request.get('job')!r} wants {name!r} of at least {least}, got {number}")
    return number
