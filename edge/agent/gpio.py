"""Drives a trigger line: an output of the kernel's GPIO character device that shows a meter when work begins and ends.

The second version of its interface (Linux 5.10 and later): linux/gpio.h, `struct gpio_v2_line_request` (592 bytes) for
GPIO_V2_GET_LINE_IOCTL and `struct gpio_v2_line_values` (16 bytes) for GPIO_V2_LINE_SET_VALUES_IOCTL; the numbers are
_IOWR(0xB4, 7 and 15, those structures), as x86 and ARM encode them (asm-generic/ioctl.h). No package is needed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import time
from pathlib import Path
from types import TracebackType

from edge.runtime.errors import RuntimeFault

# In order: 64 offsets, consumer, flags, number of attributes, padding, 10 attributes of 24 bytes, number of lines, size
# of the event buffer, padding, descriptor.
LINE_REQUEST = struct.Struct("=64I32sQI20x240xII20xi")
LINE_VALUES = struct.Struct("=QQ")  # levels, and which of them to set
FLAG_OUTPUT = 1 << 3


def _iowr(number: int, size: int) -> int:
    return 3 << 30 | size << 16 | 0xB4 << 8 | number


GET_LINE = _iowr(0x07, LINE_REQUEST.size)
SET_VALUES = _iowr(0x0F, LINE_VALUES.size)


class TriggerLine:
    """One output line, low at first; a context manager that releases it.

    Raises:
        RuntimeFault: There is no such chip or line, it is in use, or this user may not use it.
    """

    def __init__(self, chip: str, line: int) -> None:
        self._chip, self._line = chip, line
        self._handle = -1

    def __enter__(self) -> TriggerLine:
        request = LINE_REQUEST.pack(self._line, *[0] * 63, b"edge trigger", FLAG_OUTPUT, 0, 1, 0, 0)
        answer = bytearray(request)
        try:
            chip = os.open(f"/dev/{self._chip}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise self._fault(error) from error
        try:
            fcntl.ioctl(chip, GET_LINE, answer, True)
        except OSError as error:
            raise self._fault(error) from error
        finally:
            os.close(chip)
        self._handle = LINE_REQUEST.unpack(answer)[-1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handle, self._handle = self._handle, -1
        os.close(handle)

    def set(self, level: int) -> tuple[float, float]:
        """Set the line; return when, on the monotonic clock, and within how much of that (half the call)."""
        values = LINE_VALUES.pack(level, 1)
        before = time.monotonic()
        fcntl.ioctl(self._handle, SET_VALUES, values)
        after = time.monotonic()
        return (before + after) / 2, (after - before) / 2

    def _fault(self, error: OSError) -> RuntimeFault:
        chips = sorted(path.name for path in Path("/dev").glob("gpiochip*"))
        there = f"this device has {', '.join(chips)}" if chips else "this device has no /dev/gpiochip at all"
        message, hint = {
            errno.ENOENT: (f"there is no /dev/{self._chip}", there),
            errno.EACCES: (f"this user may not open /dev/{self._chip}", "add the user to the group gpio, log in again"),
            errno.EPERM: (f"this user may not use /dev/{self._chip}", "add the user to the group gpio, log in again"),
            errno.ENOTTY: (f"/dev/{self._chip} is no GPIO chip of Linux 5.10 or later", there),
            errno.EINVAL: (f"/dev/{self._chip} has no line {self._line} that can be an output", "see `gpioinfo`"),
            errno.EBUSY: (f"line {self._line} of {self._chip} is in use", "`gpioinfo` shows its user"),
        }.get(error.errno or 0, (f"/dev/{self._chip}: {error.strerror}", None))
        return RuntimeFault(f"trigger line {self._chip}:{self._line}: {message}", hint=hint)


class NoLine:
    """Replaces the trigger line if none was requested."""

    def __enter__(self) -> NoLine:
        return self

    def __exit__(self, *_: object) -> None: ...

    def set(self, level: int) -> None:
        """Do nothing."""


def line_of(text: str | None) -> TriggerLine | NoLine:
    """Return the line of this name, for example "gpiochip0:17"."""
    if text is None:
        return NoLine()
    found = re.fullmatch(r"(\w+):(\d+)", text)
    if found is None:
        raise RuntimeFault(f"a trigger line is CHIP:LINE, such as gpiochip0:17, got {text!r}")
    return TriggerLine(found[1], int(found[2]))
