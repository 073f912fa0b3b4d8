"""Checks of single operators: their number of inputs and outputs, their options, and the rules of their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from converters.tflite.contents import Operator, Subgraph
from converters.tflite.flatbuffer import Damage, tables
from converters.tflite.operator_context import Call
from converters.tflite.operator_rules import RULES
from converters.tflite.operator_table import ARITIES, OPTION_RANGES, Arity


def check_operator(operator: Operator, subgraph: Subgraph) -> None:
    """Check one operator; the tensors it names have been checked before.

    Raises:
        Damage: It has too many or too few inputs, options that are not its own or out of range, or shapes that do not
            belong together.
    """
    arity = ARITIES.get(operator.op)
    options = _options(operator, arity)
    _check_options(operator, options)
    if arity is None:
        return
    for part, indices, allowed in (
        ("inputs", operator.inputs, arity.inputs),
        ("outputs", operator.outputs, arity.outputs),
    ):
        if len(indices) not in allowed:
            what = f"{operator.op} has {len(indices)} {part}; it takes {_said(allowed)}"
            raise Damage(what, path=f"{operator.path}.{part}", at=operator.at)
    rule = RULES.get(operator.op)
    if rule is not None:
        rule(Call(operator, subgraph, options))


def _said(allowed: range) -> str:
    if len(allowed) == 1:
        return f"{allowed[0]}"
    return f"at least {allowed[0]}" if len(allowed) > 1 << 16 else f"{allowed[0]} to {allowed[-1]}"


def _options(operator: Operator, arity: Arity | None) -> Mapping[str, Any]:
    """Return the option values that native code will use: those of the file, or the schema's defaults."""
    wanted, given = arity.options if arity else None, operator.options
    if given is None:
        return _defaults(wanted) if wanted else {}
    if wanted not in (None, given.table):
        what = f"{operator.op} has {given.table}; its own are {wanted}"
        raise Damage(what, path=f"{operator.path}.builtin_options", at=given.at)
    return given.values


@lru_cache(maxsize=256)
def _defaults(table: str) -> Mapping[str, Any]:
    fields = [field for field in tables().get(table, ()) if field is not None]
    return {field.name: field.default if field.kind == "scalar" else None for field in fields}


def _check_options(operator: Operator, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        allowed = OPTION_RANGES.get(name)
        if allowed is not None and isinstance(value, int) and value not in allowed:
            what = f"{operator.op} has {name} = {value}; it may be {allowed[0]} to {allowed[-1]}"
            raise Damage(what, path=f"{operator.path}.builtin_options.{name}", at=operator.at)
