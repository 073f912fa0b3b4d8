"""Parses the output of edgetpu_compiler: the figures on its console, and its table of operators, there or in its .log.

The structure is that of logs that users posted from compilers 14 to 16 (google-coral/edgetpu#210, #356, #512): lines of
"name: value" with sizes as 3.21MiB, then a table of operator, count and status, one line per operator and status.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from converters.edgetpu.operator_view import MAPPED

_VERSION = re.compile(r"Edge TPU Compiler version (\d+(?:\.\d+)+)")
_ROW = re.compile(r"^(\S+) {2,}(\d+) {2,}(\S.*?)\s*$")
_FIGURE = re.compile(r"^([A-Z][A-Za-z -]+?)\s*: *(\S.*?)\s*$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)$")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SUCCESS = "Model compiled successfully"
_FAILURES = ("ERROR:", "Compilation failed", "Internal compiler error", "Invalid model", "Model not quantized",
             "Model could not be parsed")  # fmt: skip
_CACHED = "On-chip memory used for caching model parameters"
_REMAINING = "On-chip memory remaining for caching model parameters"
_STREAMED = "Off-chip memory used for streaming uncached model parameters"


@dataclass(frozen=True)
class LogRow:
    """One line of the table: the number of operators of a kind that share a status."""

    op: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether they run on the Edge TPU."""
        return self.status == MAPPED


@dataclass(frozen=True)
class CompilerLog:
    """The output as values; None for a figure that was not printed. Sizes are as exact as they are printed."""

    version: str | None
    succeeded: bool
    rows: tuple[LogRow, ...]
    cached_bytes: int | None
    remaining_bytes: int | None
    streamed_bytes: int | None
    subgraphs: int | None
    operators: int | None
    errors: tuple[str, ...]

    @property
    def on_cpu(self) -> Counter[str]:
        """Operators that stayed on the CPU, by kind."""
        return _count_rows(row for row in self.rows if not row.mapped)

    @property
    def mapped(self) -> Counter[str]:
        """Operators that run on the Edge TPU, by kind."""
        return _count_rows(row for row in self.rows if row.mapped)

    def to_json(self) -> dict[str, Any]:
        """Return the value for an artifact."""
        value = dataclasses.asdict(self)
        del value["version"], value["succeeded"], value["errors"], value["operators"]
        total = sum(row.count for row in self.rows)
        return {"compiler": self.version, "mapped": sum(self.mapped.values()), "of": total, **value}


def parse_log(text: str, *, table: str = "") -> CompilerLog:
    """Read the compiler's console output; `table` is its .log file, read where the console has no operators.

    Lines that cannot be read are skipped.
    """
    lines = text.splitlines()
    figures = {match[1]: match[2] for line in lines if (match := _FIGURE.match(line))}
    version = _VERSION.search(text) or _VERSION.search(table)
    rows = _rows(lines) or _rows(table.splitlines())
    return CompilerLog(
        version=version[1] if version else None,
        succeeded=_SUCCESS in text,
        rows=rows,
        cached_bytes=_size(figures.get(_CACHED)),
        remaining_bytes=_size(figures.get(_REMAINING)),
        streamed_bytes=_size(figures.get(_STREAMED)),
        subgraphs=_number(figures.get("Number of Edge TPU subgraphs")),
        operators=_number(figures.get("Total number of operations")),
        errors=tuple(line.strip() for line in lines if line.strip().startswith(_FAILURES)),
    )


def _rows(lines: list[str]) -> tuple[LogRow, ...]:
    found = (_ROW.match(line) for line in lines)
    return tuple(LogRow(match[1], int(match[2]), match[3]) for match in found if match)


def _count_rows(rows: Any) -> Counter[str]:  # noqa: ANN401
    total: Counter[str] = Counter()
    for row in rows:
        total[row.op] += row.count
    return total


def _size(text: str | None) -> int | None:
    match = _SIZE.match(text or "")
    return round(float(match[1]) * _UNITS[match[2]]) if match else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
