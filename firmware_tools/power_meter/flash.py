"""Flashes the firmware with avrdude over the board's own boot loader: `edge firmware flash`.

A first run of avrdude reads the signature and cannot write; a second writes and reads back. Baud rates are those of the
boot loaders: Optiboot on the Uno and on Nanos since 2018 (115200), ATmegaBOOT on older Nanos (57600); see "boards.txt"
of the Arduino AVR core.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from firmware_tools.errors import (
    BootloaderError,
    InstrumentError,
    NotFlashedError,
    PortMissingError,
    SettingError,
    WrongBoardError,
)
from firmware_tools.power_meter.build import PROCESSOR, Firmware, find_tool

BOARDS = {"nano": 115_200, "nano-old": 57_600, "uno": 115_200}
SIGNATURE = "1e950f"
# Signatures found on such boards, from the data sheets' "Signature Bytes".
KNOWN = {
    "1e950f": "ATmega328P", "1e9514": "ATmega328", "1e9516": "ATmega328PB", "1e9406": "ATmega168",
    "1e940b": "ATmega168P", "1e9801": "ATmega2560", "1e9587": "ATmega32U4",
}  # fmt: skip
ANSWER_S = 15.0
WRITE_S = 90.0
_WRITES = 2
_CLOSED = r"(?i)permission denied|resource busy"
_LOOK_S = 0.05
_GONE_S = 0.5


@dataclass(frozen=True)
class FlashReport:
    """The result of flashing: the firmware was written and read back."""

    port: str
    board: str
    chip: str
    signature: str
    flash_bytes: int

    def to_json(self) -> dict[str, object]:
        """Return what `edge firmware flash --json` prints."""
        return {
            "port": self.port, "board": self.board, "chip": self.chip, "signature": self.signature,
            "processor": KNOWN[self.signature], "flash_bytes": self.flash_bytes, "verified": True,
        }  # fmt: skip


def flash(
    firmware: Firmware,
    *,
    port: str,
    board: str = "nano",
    answer_s: float = ANSWER_S,
    on_step: Callable[[str], None] = lambda what: None,
) -> FlashReport:
    """Write a firmware to the board at a port, and read it back.

    Args:
        firmware: The result of `build`.
        port: Such as /dev/ttyUSB0.
        board: One of BOARDS.
        answer_s: Longest wait for the boot loader's answer.
        on_step: Called with a message before each step.

    Raises:
        SettingError: The board is not one of BOARDS.
        PortMissingError: There is no such port.
        MissingPartError: avrdude is not installed.
        WrongBoardError: Another processor answered; nothing was written.
        BootloaderError: No boot loader answered, or the connection broke.
        NotFlashedError: The flash does not hold what was sent.
    """
    if board not in BOARDS:
        raise SettingError(f"there is no board {board!r}", hint=f"there are {', '.join(BOARDS)}")
    if not Path(port).exists():
        raise PortMissingError(f"there is no port {port}", hint="`edge devices scan` lists the serial ports")
    line = (find_tool("avrdude", packages="avrdude"), "-p", PROCESSOR, "-c", "arduino", "-P", port,
            "-b", str(BOARDS[board]))  # fmt: skip
    on_step("reading the processor's signature")
    signature = _signature(line, port, board, answer_s)
    on_step(f"writing {firmware.flash_bytes:,} bytes and reading them back")
    _write(line, port, firmware)
    return FlashReport(port, board, firmware.chip, signature, firmware.flash_bytes)


def _signature(line: tuple[str, ...], port: str, board: str, answer_s: float) -> str:
    """Return the processor's signature if it is the right one. Nothing is written; -F lets avrdude accept any."""
    until = time.monotonic() + answer_s
    match, err = None, ""
    while match is None and (left := until - time.monotonic()) > 0:
        _, out, err = _avrdude(*line, "-F", "-qq", "-U", "signature:r:-:h", port=port, deadline_s=left)
        match = re.fullmatch(r"0x(\w+),0x(\w+),0x(\w+)", out.strip())
        if re.search(_CLOSED, err):
            break
    if match is None:
        raise _no_answer(port, board, err)
    signature = "".join(byte.zfill(2) for byte in match.groups())
    if signature != SIGNATURE:
        name = KNOWN.get(signature, "an unknown processor")
        raise WrongBoardError(
            f"the processor at {port} is {name} (signature {signature}), the firmware is for {KNOWN[SIGNATURE]} "
            f"({SIGNATURE}): nothing was written",
            hint="use an Arduino Nano or Uno with an ATmega328P",
        )
    return signature


def _write(line: tuple[str, ...], port: str, firmware: Firmware) -> None:
    """Write, and repeat once if the line lost synchronisation; avrdude reads back what it has written."""
    for _ in range(_WRITES):
        code, _, err = _avrdude(*line, "-q", "-D", "-U", f"flash:w:{firmware.hex}:i", port=port, deadline_s=WRITE_S)
        if "mismatch" in err:
            raise NotFlashedError(
                f"the flash of the processor at {port} does not hold what was sent: {_complaint(err, 'mismatch')}",
                hint="write it again; if it fails again, the processor's flash is worn out, or the line is noisy",
            )
        if code == 0 and "flash verified" in err:
            return
    raise BootloaderError(
        f"the firmware was not written completely: {_complaint(err, 'error')}",
        hint="the boot loader is still there: plug the board in again and repeat",
    )


def _avrdude(*command: str, port: str, deadline_s: float) -> tuple[int, str, str]:
    """Run avrdude; it would wait forever for a port that was unplugged, so this is checked here."""
    until = time.monotonic() + deadline_s
    gone_since: float | None = None
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("w") as out_file, err.open("w") as err_file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file)
            try:
                while process.poll() is None:
                    gone_since = None if Path(port).exists() else gone_since or time.monotonic()
                    if gone_since is not None and time.monotonic() > gone_since + _GONE_S:
                        raise BootloaderError(
                            f"the port {port} disappeared: the firmware is not written completely",
                            hint="the boot loader is still there: plug the board in again and repeat",
                        )
                    if time.monotonic() > until:
                        break
                    time.sleep(_LOOK_S)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
        return process.returncode, out.read_text(), err.read_text(errors="replace")


def _complaint(text: str, word: str) -> str:
    """Return avrdude's first line with that word, other than those about missing modem signals."""
    lines = [line.strip() for line in text.splitlines() if word in line.lower() and "TIOCM" not in line]
    return re.sub(r"^avrdude\w*( OS)? (error|warning):? *", "", lines[0]) if lines else "avrdude ended early"


def _no_answer(port: str, board: str, text: str) -> InstrumentError:
    busy = re.search(_CLOSED, text)
    if busy:
        return BootloaderError(
            f"{port} cannot be opened: {busy[0].lower()}",
            hint="close other programs that use it; membership in the group dialout gives access to serial ports",
        )
    others = " or ".join(name for name, baud in BOARDS.items() if baud != BOARDS[board])
    return BootloaderError(
        f"no boot loader answered at {port} as a {board} does ({BOARDS[board]} baud)",
        hint=f"try --board {others}; press the board's reset button just before; is it an Arduino at all?",
    )
