"""Reads and writes files of measurements, the JSON of "edge-measurement/1"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from converters.decode import DecodeError, decode, parse_json
from converters.files import write_whole
from edge.errors import InputError
from edge.measure.measurement import SCHEMA, Measurement

_HAND_MADE = "expected is what `edge profile --out FILE.json` writes"
_MAKE = "make one with `edge profile MODEL.tflite --out FILE.json`"


def load_measurements(path: Path) -> tuple[Measurement, ...]:
    """Read a file that holds one measurement or a list of them.

    Raises:
        InputError: The file cannot be read or holds no measurements; the message names the wrong field.
    """
    value = _parse(path)
    items = value if isinstance(value, list) else [value]
    if not items:
        raise InputError(f"{path} holds an empty list, expected measurements", hint=_MAKE)
    many = len(items) > 1
    return tuple(
        measurement_from_json(item, where=f"{path}[{index}]" if many else str(path)) for index, item in enumerate(items)
    )


def save_measurements(path: Path, measurements: Sequence[Measurement], *, as_list: bool | None = None) -> None:
    """Write a whole file: one object for one measurement, a list for several (or as `as_list` says).

    Raises:
        converters.errors.WriteError: The disk is full or the folder not writable; nothing half-written is left.
    """
    write_whole(path, json.dumps(as_document(measurements, as_list=as_list), indent=1, ensure_ascii=False) + "\n")


def as_document(measurements: Sequence[Measurement], *, as_list: bool | None = None) -> object:
    """Return one JSON object for one measurement, a list for several (or as `as_list` says)."""
    values = [measurement.to_json() for measurement in measurements]
    return values if as_list or (as_list is None and len(values) != 1) else values[0]


def measurement_from_json(value: object, *, where: str = "measurement") -> Measurement:
    """Read one parsed measurement.

    Raises:
        InputError: It is no measurement, or a field is wrong; the message names it.
    """
    _check_schema(value, where)
    try:
        return decode(Measurement, value, where)
    except DecodeError as error:
        raise InputError(str(error), hint=error.hint or _HAND_MADE) from error


def _parse(path: Path) -> object:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", hint=_MAKE) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}", hint=_MAKE) from error


def _check_schema(value: object, where: str) -> None:
    got = value.get("schema") if isinstance(value, dict) else None
    if got == SCHEMA:
        return
    if isinstance(got, str) and got.startswith("edge-measurement/"):
        raise InputError(
            f"{where}: schema is {got}, this version of edge reads {SCHEMA}",
            hint="use the version of edge that wrote it, or profile again",
        )
    found = f"its schema is {got!r}" if got is not None else "it has no field 'schema'"
    raise InputError(f"{where} is no measurement: {found}, expected {SCHEMA!r}", hint=_MAKE)
