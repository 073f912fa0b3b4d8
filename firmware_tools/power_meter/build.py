"""Builds the power meter's firmware from the C sources in src/: `edge firmware build`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from converters.errors import MissingPartError
from converters.files import write_whole
from firmware_tools.errors import BuildError, SettingError
from firmware_tools.power_meter.chips import CHIP_NAMES, INA_FACTS, facts_of

SOURCES = Path(__file__).parent / "src"
PROCESSOR = "atmega328p"
CLOCK_HZ = 16_000_000
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

    def to_json(self) -> dict[str, object]:
        """Return what `edge firmware build --json` prints."""
        limits = {"flash_available_bytes": FLASH_BYTES, "ram_available_bytes": RAM_BYTES}
        return {**asdict(self), "elf": str(self.elf), "hex": str(self.hex), **limits}


def build(
    chip: str, *, out: Path, address: int = 0x40, strict: bool = False, sources: Path = SOURCES,
    deadline_s: float = DEADLINE_S,
) -> Firmware:  # fmt: skip
    """Compile the firmware for a chip; `out` gets power_meter-CHIP.elf and .hex, written atomically.

    Args:
        chip: One of CHIP_NAMES.
        out: A folder, created if needed.
        address: Of the chip on its bus, 0x40 to 0x4F by its pins A0 and A1.
        strict: The compiler's warnings are errors; for the tests, since warnings depend on its version.
        sources: The folder with the C sources.
        deadline_s: Longest time for each run of the compiler and its tools.

    Raises:
        SettingError: The chip is unknown, or cannot have that address.
        MissingPartError: avr-gcc, its C library or its binutils are not installed.
        BuildError: The compiler rejected the sources.
        WriteError: A file could not be written to `out`.
    """
    facts = facts_of(chip)
    if facts is None:
        raise SettingError(f"there is no firmware for the chip {chip!r}", hint=f"chips are {', '.join(CHIP_NAMES)}")
    if not 0x40 <= address <= 0x4F:
        raise SettingError(f"the chip cannot have the address {address:#x}", hint="its pins give 0x40 to 0x4f")
    options = [f"-DCHIP_{chip.upper()}", f"-DCHIP_ADDRESS={address:#x}U", *(["-Werror"] if strict else [])]
    for tool in ("avr-gcc", "avr-objcopy", "avr-size"):
        find_tool(tool, packages="gcc-avr binutils-avr avr-libc")
    with tempfile.TemporaryDirectory() as folder:
        elf, image = Path(folder, f"power_meter-{chip}.elf"), Path(folder, f"power_meter-{chip}.hex")
        _run("avr-gcc", *FLAGS, *options, "-o", elf, *_sources(sources, facts.source_file), deadline_s=deadline_s)
        _run("avr-objcopy", "-O", "ihex", "-R", ".eeprom", elf, image, deadline_s=deadline_s)
        flash_bytes, ram_bytes = _sizes(elf, deadline_s)
        compiler = _run("avr-gcc", "--version", deadline_s=deadline_s).splitlines()[0]
        return Firmware(chip, _copy(elf, out), _copy(image, out), flash_bytes, ram_bytes, compiler)


def find_tool(name: str, *, packages: str) -> str:
    """Return the path of a program.

    Raises:
        MissingPartError: It is not installed; the hint names the packages.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingPartError(
            f"{name} is not installed",
            hint=f"on Debian, Ubuntu or Raspberry Pi OS: sudo apt install {packages}",
        )
    return path


def _sources(folder: Path, chip_source: str) -> list[Path]:
    of_chips = {facts.source_file for facts in INA_FACTS.values()}
    general = [path for path in sorted(folder.glob("*.c")) if path.name not in of_chips]
    return [*general, folder / chip_source]


def _run(*command: str | Path, deadline_s: float) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=deadline_s, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{Path(command[0]).name} did not end within {deadline_s:g} s", hint="is this machine overloaded? Try again"
        ) from error
    if done.returncode:
        text = done.stderr.strip()
        absent = "No such file or directory" in text and "<" not in text and "avr/" in text
        if absent:
            raise MissingPartError("avr-gcc has no C library", hint="sudo apt install avr-libc")
        raise BuildError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{text}")
    return done.stdout


def _sizes(elf: Path, deadline_s: float) -> tuple[int, int]:
    """Return the bytes of flash and of static RAM; `avr-size` prints text, data and bss under a line of titles."""
    text, data, bss = (int(word) for word in _run("avr-size", elf, deadline_s=deadline_s).splitlines()[1].split()[:3])
    return text + data, data + bss


def _copy(path: Path, out: Path) -> Path:
    destination = out / path.name
    write_whole(destination, path.read_bytes())
    return destination
