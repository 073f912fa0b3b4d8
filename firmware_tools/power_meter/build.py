"""From the C sources beside this module to a firmware that can be flashed: `edge firmware build`."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.errors import MissingPartError
from firmware_tools.errors import SettingError
from firmware_tools.power_meter.errors import BuildError, PlaceError

SOURCES = Path(__file__).parent / "src"
PROCESSOR = "atmega328p"
CLOCK_HZ = 16_000_000
# Chip: the one source that knows it.
CHIPS = {"ina226": "chip_ina226.c", "ina219": "chip_ina219.c", "ina260": "chip_ina226.c"}
FLAGS = (
    f"-mmcu={PROCESSOR}", f"-DF_CPU={CLOCK_HZ}UL", "-std=gnu11", "-Os", "-Wall", "-Wextra", "-flto",
    "-ffunction-sections", "-fdata-sections", "-frandom-seed=edge", "-Wl,--gc-sections",
)  # fmt: skip
# 32 KiB less the 2 KiB of the larger bootloader (old Nanos).
FLASH_BYTES, RAM_BYTES = 30 * 1024, 2048
DEADLINE_S = 120


@dataclass(frozen=True)
class Firmware:
    """A built firmware: `elf` for a simulator or debugger, `hex` for a programmer."""

    chip: str
    elf: Path
    hex: Path
    flash_bytes: int
    ram_bytes: int
    compiler: str

    def to_json(self) -> dict[str, Any]:
        """Return what `edge firmware build --json` prints."""
        limits = {"flash_available_bytes": FLASH_BYTES, "ram_available_bytes": RAM_BYTES}
        return {**asdict(self), "elf": str(self.elf), "hex": str(self.hex), **limits}


def build(chip: str, *, out: Path, address: int = 0x40, strict: bool = False) -> Firmware:
    """Compile the firmware for a chip; `out` gets power_meter-CHIP.elf and .hex, whole or not at all.

    Args:
        chip: One of CHIPS.
        out: A folder, made where there is none.
        address: Of the chip on its bus, 0x40 to 0x4F by its pins A0 and A1.
        strict: The compiler's warnings are errors; for the tests, because other versions of it warn of other things.

    Raises:
        SettingError: The chip is none of CHIPS, or it cannot have that address.
        MissingPartError: avr-gcc, its C library or its binutils are not installed.
        BuildError: The compiler refused the sources.
        PlaceError: A file could not be written to `out`.
    """
    if chip not in CHIPS:
        raise SettingError(f"there is no firmware for the chip {chip!r}", hint=f"there is one for {', '.join(CHIPS)}")
    if not 0x40 <= address <= 0x4F:
        raise SettingError(f"the chip cannot have the address {address:#x}", hint="its pins give 0x40 to 0x4f")
    options = [f"-DCHIP_{chip.upper()}", f"-DCHIP_ADDRESS={address:#x}U", *(["-Werror"] if strict else [])]
    for tool in ("avr-gcc", "avr-objcopy", "avr-size"):
        find_tool(tool, packages="gcc-avr binutils-avr avr-libc")
    with tempfile.TemporaryDirectory() as folder:
        elf, image = Path(folder, f"power_meter-{chip}.elf"), Path(folder, f"power_meter-{chip}.hex")
        _run("avr-gcc", *FLAGS, *options, "-o", elf, *_sources(chip))
        _run("avr-objcopy", "-O", "ihex", "-R", ".eeprom", elf, image)
        flash_bytes, ram_bytes = _sizes(elf)
        compiler = _run("avr-gcc", "--version").splitlines()[0]
        return Firmware(chip, _placed(elf, out), _placed(image, out), flash_bytes, ram_bytes, compiler)


def find_tool(name: str, *, packages: str) -> str:
    """Return the path of a program, or say what to install."""
    path = shutil.which(name)
    if path is None:
        raise MissingPartError(
            f"{name} is not installed",
            hint=f"on Debian, Ubuntu or Raspberry Pi OS: sudo apt install {packages}",
        )
    return path


def _sources(chip: str) -> list[Path]:
    general = [path for path in sorted(SOURCES.glob("*.c")) if path.name not in CHIPS.values()]
    return [*general, SOURCES / CHIPS[chip]]


def _run(*command: str | Path) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{Path(command[0]).name} did not end within {DEADLINE_S} s", hint="is this machine busy? Try again"
        ) from error
    if done.returncode:
        text = done.stderr.strip()
        absent = "No such file or directory" in text and "<" not in text and "avr/" in text
        if absent:
            raise MissingPartError("avr-gcc has no C library", hint="sudo apt install avr-libc")
        raise BuildError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{text}")
    return done.stdout


def _sizes(elf: Path) -> tuple[int, int]:
    """Return the bytes of flash and of static RAM; `avr-size` prints text, data and bss under a line of titles."""
    text, data, bss = (int(word) for word in _run("avr-size", elf).splitlines()[1].split()[:3])
    return text + data, data + bss


def _placed(path: Path, out: Path) -> Path:
    goal = out / path.name
    part = goal.with_name(f".{goal.name}.part")
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, part)
        part.replace(goal)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise PlaceError(f"{goal} cannot be written: {error.strerror}") from error
    return goal
