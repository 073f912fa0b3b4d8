"""Names the function that an address of a running aarch64 program belongs to, by its memory map and its files' symbols.

Formats: System V ABI, chapter 4 and 5 (ELF); proc(5), /proc/pid/maps.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

UNKNOWN = "unknown"
_FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_LOAD, _SYMBOLS, _DYNAMIC_SYMBOLS, _FUNCTION = 1, 2, 11, 2


class Function(NamedTuple):
    """A function by the name of its file and its symbol; `unknown` where there is none."""

    file: str
    symbol: str


@dataclass(frozen=True)
class _Mapping:
    begin: int
    end: int
    offset: int
    path: str


@dataclass(frozen=True)
class Symbols:
    """The functions of one file by rising address, and where its parts are loaded."""

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    names: tuple[str, ...]
    segments: tuple[tuple[int, int, int], ...]  # offset in the file, size, address

    def at(self, offset: int) -> str:
        """Return the name of the function at an offset in the file."""
        for begin, size, address in self.segments:
            if begin <= offset < begin + size:
                wanted = offset - begin + address
                index = bisect_right(self.begins, wanted) - 1
                return self.names[index] if index >= 0 and wanted < self.ends[index] else UNKNOWN
        return UNKNOWN


def count_by_function(blocks: Mapping[int, int], maps: Sequence[str]) -> Counter[Function]:
    """Add up counts of addresses by function.

    Args:
        blocks: Count by address.
        maps: The lines of the program's own /proc/self/maps, in their order.
    """
    mappings = [each for line in maps if (each := _mapping(line)) is not None]
    begins = [each.begin for each in mappings]
    found: Counter[Function] = Counter()
    for address, count in blocks.items():
        index = bisect_right(begins, address) - 1
        inside = index >= 0 and address < mappings[index].end
        found[_function(mappings[index], address) if inside else Function(UNKNOWN, UNKNOWN)] += count
    return found


@lru_cache(maxsize=64)
def read_symbols(path: Path) -> Symbols:
    """Read a file's functions; none where it is no aarch64 (little-endian, 64-bit) ELF or has no symbols."""
    try:
        return _parse(path.read_bytes())
    except (OSError, struct.error, IndexError, ValueError):
        return Symbols((), (), (), ())


def _function(mapping: _Mapping, address: int) -> Function:
    path = Path(mapping.path)
    return Function(path.name, read_symbols(path).at(address - mapping.begin + mapping.offset))


def _mapping(line: str) -> _Mapping | None:
    """Return one line's mapping; None where it is no file that can be executed."""
    fields = line.split(maxsplit=5)
    if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
        return None
    begin, _, end = fields[0].partition("-")
    return _Mapping(int(begin, 16), int(end, 16), int(fields[2], 16), fields[5].rstrip("\n"))


def _parse(data: bytes) -> Symbols:
    header = _FILE_HEADER.unpack_from(data)
    if header[0][:6] != b"\x7fELF\x02\x01":
        raise ValueError("no 64-bit little-endian ELF file")
    segments_at, sections_at = header[5], header[6]
    segment_count, section_count = header[10], header[12]
    segments = [_SEGMENT.unpack_from(data, segments_at + index * _SEGMENT.size) for index in range(segment_count)]
    sections = [_SECTION.unpack_from(data, sections_at + index * _SECTION.size) for index in range(section_count)]
    tables = sorted((each for each in sections if each[1] in (_SYMBOLS, _DYNAMIC_SYMBOLS)), key=lambda each: each[1])
    functions = _functions(data, tables[0], sections[tables[0][6]]) if tables else []
    return Symbols(
        tuple(begin for begin, _, _ in functions),
        tuple(end for _, end, _ in functions),
        tuple(name for _, _, name in functions),
        tuple((each[2], each[5], each[3]) for each in segments if each[0] == _LOAD),
    )


def _functions(data: bytes, table: tuple[int, ...], names: tuple[int, ...]) -> list[tuple[int, int, str]]:
    """Return begin, end and name of each function by rising begin, one per begin."""
    texts = data[names[4] : names[4] + names[5]]
    rows = data[table[4] : table[4] + table[5] // _SYMBOL.size * _SYMBOL.size]
    found: dict[int, tuple[int, int, str]] = {}
    for name, info, _, section, address, size in _SYMBOL.iter_unpack(rows):
        if info & 0xF == _FUNCTION and section and size:
            found.setdefault(address, (address, address + size, texts[name : texts.index(b"\0", name)].decode()))
    return [found[begin] for begin in sorted(found)]
