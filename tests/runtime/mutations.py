"""Deterministic damage to real models: what a bad disk, a bad connection or a bad person does to a file."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence

Mutate = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]
WORDS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0xFFFFFFFE,
    0x10000,
    3,
    4,
    8,
)


def structural(data: bytes) -> list[int]:
    """Return the places of the file's structure: every byte that is not the content of a buffer or far from tables.

    Found by walking the real flatbuffer: tables, their vtables and their vectors of offsets and small numbers.
    """
    from converters.tflite.flatbuffer import Record, read_root

    places: set[int] = set()

    def walk(record: Record) -> None:
        vtable = record.at - struct.unpack_from("<i", data, record.at)[0]
        length, size = struct.unpack_from("<HH", data, vtable)
        places.update(range(vtable, vtable + length))
        places.update(range(record.at, record.at + size))
        for value in record.values.values():
            if isinstance(value, Record):
                walk(value)
            elif isinstance(value, tuple):
                for each in value:
                    walk(each)
            elif hasattr(value, "nbytes") and 0 < value.nbytes <= 256:
                start = value.__array_interface__["data"][0] - base
                places.update(range(max(0, start - 4), start + value.nbytes))

    import numpy as np

    base = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    walk(read_root(data))
    return sorted(places)


def flip(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Flip one to four bits."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data[rng.choice(places)] ^= 1 << rng.randrange(8)
    return data


def byte(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Set one to three bytes to an extreme or random value."""
    for _ in range(rng.choice((1, 1, 3))):
        data[rng.choice(places)] = rng.choice((0, 0xFF, 1, 0x7F, 0x80, rng.randrange(256)))
    return data


def word(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Set one or two aligned words to an extreme or random value."""
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.choice(places) // 4 * 4
        data[at : at + 4] = struct.pack("<I", rng.choice((*WORDS, rng.randrange(1 << 32), rng.randrange(1 << 12))))
    return data


def nudge(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Add a little to an aligned word: indices, sizes and offsets that are almost right."""
    at = min(rng.choice(places) // 4 * 4, len(data) - 4)
    old = struct.unpack_from("<I", data, at)[0]
    struct.pack_into("<I", data, at, (old + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8, 64, 1024))) % (1 << 32))
    return data


def cut(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Cut the end off."""
    return data[: rng.choice((rng.randrange(len(data)), rng.randrange(64), len(data) - rng.randrange(1, 64)))]


def swap(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Swap two regions of the structure."""
    size = rng.choice((2, 4, 8, 16, 64))
    one, two = (min(rng.choice(places) // 4 * 4, len(data) - size) for _ in range(2))
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]
    return data[: max(len(data), 1)]


def repeat(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Copy a piece of the structure over another."""
    size = rng.choice((4, 8, 16, 64, 256))
    one, two = (min(rng.choice(places) // 4 * 4, len(data) - size) for _ in range(2))
    data[two : two + size] = data[one : one + size]
    return data


def resize(rng: random.Random, data: bytearray, places: Sequence[int]) -> bytearray:
    """Insert or delete a few bytes, so that everything behind moves."""
    at, count = rng.choice(places), rng.choice((1, 2, 4, 8, 16, 256))
    if rng.random() < 0.5:
        del data[at : at + count]
    else:
        data[at:at] = rng.randbytes(count)
    return data


KINDS = {
    "flip": flip,
    "byte": byte,
    "word": word,
    "nudge": nudge,
    "cut": cut,
    "swap": swap,
    "repeat": repeat,
    "resize": resize,
}


def mutants(models: Sequence[bytes], count: int, *, seed: int, only_first: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged models with the kind of damage; two thirds of it hit the structure.

    With `only_first`, the others only give pieces that are spliced into the first.
    """
    rng = random.Random(seed)
    maps = [structural(model) for model in (models[:1] if only_first else models)]
    kinds = [*KINDS, "flip", "byte", "word", "nudge", "word", "nudge", "splice"]
    for number in range(count):
        index = 0 if only_first else rng.randrange(len(models))
        data, kind = bytearray(models[index]), kinds[number % len(kinds)]
        places: Sequence[int] = maps[index] if rng.random() < 0.67 else range(len(data) - 4)
        if kind == "splice":
            other, size = rng.choice(models), rng.choice((16, 64, 256, 1024))
            start, at = rng.randrange(max(1, len(other) - size)), rng.choice(places)
            data[at : at + size] = other[start : start + size]
        else:
            data = KINDS[kind](rng, data, places)
        yield kind, bytes(data)
