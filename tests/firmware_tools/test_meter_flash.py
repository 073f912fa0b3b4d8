"""Building, flashing, identifying: the real compiler, the real avrdude, a simulated boot loader, the real firmware."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from simulated_meter import SimulatedMeter
from stk500_peer import ATMEGA168, ATMEGA328P, ATMEGA328PB, BootloaderPeer

from converters.errors import MissingPartError, WriteError
from edge.report.terminal.meter_lines import report_lines
from firmware_tools.codecs.edge_commands import Configuration, Identity, SelfTest
from firmware_tools.errors import (
    BootloaderError,
    BuildError,
    NoAnswerError,
    NotFlashedError,
    PortMissingError,
    SettingError,
    WrongBoardError,
)
from firmware_tools.power_meter.build import FLASH_BYTES, RAM_BYTES, SOURCES, build
from firmware_tools.power_meter.chips import CHIP_NAMES, InaChip
from firmware_tools.power_meter.flash import BOARDS, flash
from firmware_tools.power_meter.meter_client import MeterClient, MeterReport, report


@pytest.fixture(scope="module")
def compiler(require_part):
    if shutil.which("avr-gcc") is None:
        require_part("avr-gcc", "apt install gcc-avr avr-libc")


@pytest.fixture(scope="module")
def avrdude(require_part):
    if shutil.which("avrdude") is None:
        require_part("avrdude", "apt install avrdude")


@pytest.fixture(scope="module")
def firmware(compiler, tmp_path_factory):
    return build("ina226", out=tmp_path_factory.mktemp("firmware"))


def image_of(hex_file):
    image = b""
    for text in hex_file.read_text().split():
        record = bytes.fromhex(text[1:])
        image += record[4:-1] if record[3] == 0 else b""
    return image


def edge(*args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "edge", *map(str, args)], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip


# ---- build


@pytest.mark.parametrize("chip", CHIP_NAMES)
def test_every_chip_fits_with_room_for_the_stack(compiler, tmp_path, chip):
    built = build(chip, out=tmp_path, strict=True)
    assert built.flash_bytes == len(image_of(built.hex)) <= FLASH_BYTES
    assert built.ram_bytes <= RAM_BYTES - 512
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"power_meter-{chip}.elf", f"power_meter-{chip}.hex"]


def test_a_build_can_be_repeated_to_the_byte(firmware, tmp_path):
    assert build("ina226", out=tmp_path).hex.read_bytes() == firmware.hex.read_bytes()


def test_a_chip_that_there_is_not(tmp_path):
    with pytest.raises(SettingError, match="no firmware for the chip 'ina3221'"):
        build("ina3221", out=tmp_path)


def test_an_address_that_no_chip_can_have(tmp_path):
    with pytest.raises(SettingError, match="cannot have the address 0x50"):
        build("ina226", out=tmp_path, address=0x50)


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPartError, match="avr-gcc is not installed") as caught:
        build("ina226", out=tmp_path / "out")
    assert "apt install gcc-avr binutils-avr avr-libc" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_source_that_does_not_compile_leaves_nothing(compiler, tmp_path):
    shutil.copytree(SOURCES, tmp_path / "src")
    (tmp_path / "src" / "main.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(BuildError, match="missing"):
        build("ina226", out=tmp_path / "out", sources=tmp_path / "src")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none(compiler, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(WriteError, match="could not write"):
        build("ina226", out=tmp_path / "out")


# ---- flash, against the stand-in boot loader


@pytest.mark.parametrize("board", BOARDS)
def test_written_and_verified(avrdude, firmware, tmp_path, board):
    with BootloaderPeer(tmp_path / "tty") as peer:
        flashed = flash(firmware, port=str(peer.port), board=board)
    image = image_of(firmware.hex)
    assert bytes(peer.flash[: len(image)]) == image
    assert (flashed.signature, flashed.flash_bytes, peer.sessions) == ("1e950f", len(image), 2)


@pytest.mark.parametrize("signature", [ATMEGA168, ATMEGA328PB, b"\x12\x34\x56"])
def test_a_wrong_processor_is_refused_before_a_byte_is_written(avrdude, firmware, tmp_path, signature):
    with BootloaderPeer(tmp_path / "tty", signature=signature) as peer:
        with pytest.raises(WrongBoardError, match=f"signature {signature.hex()}.*nothing was written"):
            flash(firmware, port=str(peer.port))
        assert peer.sessions == 1
        assert peer.pages_written == 0
        assert set(peer.flash) == {0xFF}


def test_a_byte_that_does_not_take_is_reported(avrdude, firmware, tmp_path):
    image = image_of(firmware.hex)
    odd = next(at for at in range(0x200, len(image)) if image[at] & 1)
    failure = pytest.raises(NotFlashedError, match="does not hold what was sent")
    with BootloaderPeer(tmp_path / "tty", spoils=frozenset({odd})) as peer, failure:
        flash(firmware, port=str(peer.port))


def test_unplugged_in_the_middle(avrdude, firmware, tmp_path):
    failure = pytest.raises(BootloaderError, match="disappeared")
    with BootloaderPeer(tmp_path / "tty", unplugs_after=5) as peer, failure as caught:
        flash(firmware, port=str(peer.port))
    assert peer.pages_written == 5
    assert "plug the board in again" in caught.value.hint


def test_a_line_that_gets_out_of_step_once_is_tried_again(avrdude, firmware, tmp_path):
    with BootloaderPeer(tmp_path / "tty", stutters=(0, 2)) as peer:
        flash(firmware, port=str(peer.port), answer_s=60)
        assert peer.named == 4
    image = image_of(firmware.hex)
    assert bytes(peer.flash[: len(image)]) == image


def test_no_answer(avrdude, firmware, tmp_path):
    failure = pytest.raises(BootloaderError, match=r"no boot loader answered.*as a uno does")
    with BootloaderPeer(tmp_path / "tty", silent=True) as peer, failure as caught:
        flash(firmware, port=str(peer.port), board="uno", answer_s=1.0)
    assert "--board nano-old" in caught.value.hint


def test_no_such_port_and_no_such_board(avrdude, firmware, tmp_path):
    with pytest.raises(PortMissingError, match="there is no port"):
        flash(firmware, port=str(tmp_path / "none"))
    with pytest.raises(SettingError, match="no board 'mega'"):
        flash(firmware, port=str(tmp_path), board="mega")


def test_avrdude_that_is_not_there(firmware, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPartError, match="avrdude is not installed"):
        flash(firmware, port=str(tmp_path))


# ---- info, on the simulated board


def test_the_report_of_a_meter(simulated):
    with simulated() as meter:
        with MeterClient(str(meter.port)) as client:
            client.identify()
            client.calibrate(9_950)
        found = report(str(meter.port))
    assert found.problems == ()
    said = found.to_json()
    assert (said["chip"], said["shunt_uohm"], said["reset_cause"]) == ("ina226", 9_950, "reset pin")


@pytest.mark.parametrize(
    ("settings", "fault", "problem"),
    [({}, "nack", "does not answer"), ({"no_alert": True}, None, "ALERT wired to D8"),
     ({"chip_clock": 1.4}, None, "takes 929 us instead of 664")],
)  # fmt: skip
def test_what_is_wrong_is_named(simulated, settings, fault, problem):
    with simulated(**settings) as meter:
        if fault:
            getattr(meter, fault)(-1)
        assert problem in report(str(meter.port)).problems[0]


def test_another_chip_than_it_was_built_for(meter_parts):
    with SimulatedMeter(chip="ina260", program=meter_parts[0], elf=meter_parts[1]("ina226")) as meter:
        assert "the chip that answers is not an INA226" in report(str(meter.port)).problems[0]


def test_another_address_is_built_in(meter_parts, tmp_path):
    elsewhere = build("ina226", out=tmp_path, address=0x41).elf
    with SimulatedMeter(program=meter_parts[0], elf=elsewhere) as meter:  # its chip is at 0x40
        assert "does not answer" in report(str(meter.port)).problems[0]


def test_a_self_test_at_other_settings_is_compared_with_the_data_sheet():
    slow = Identity(InaChip.INA226, (1, 0, 0), Configuration(7, 5, 5, 4_333_568), 10_000, calibrated=True)
    test = SelfTest(chip_ok=True, eeprom_ok=True, i2c_ok=True, conversion_time_ok=False, period_us=929)
    report = MeterReport("x", slow, test)
    assert report.problems[0].startswith("a conversion takes 929 us instead of the data sheet's time")
    assert "0.23 samples a second, measured 1,076 at the settings after a reset" in "\n".join(report_lines(report))


def test_a_compiler_that_hangs(monkeypatch, tmp_path):
    for tool in ("avr-gcc", "avr-objcopy", "avr-size"):
        (tmp_path / tool).write_text("#!/bin/sh\nexec sleep 60\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BuildError, match="did not end within"):
        build("ina226", out=tmp_path / "out", deadline_s=0.05)


# ---- the commands


def test_build_from_the_command_line(compiler, tmp_path):
    done = edge("firmware", "build", "--chip", "ina219", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "flash " in done.stdout
    as_json = json.loads(edge("firmware", "build", "--chip", "ina219", "--out", tmp_path, "--json").stdout)
    assert as_json["hex"] == str(tmp_path / "power_meter-ina219.hex")
    assert 0 < as_json["flash_bytes"] < as_json["flash_available_bytes"]
    missing = edge("firmware", "build", "--out", tmp_path, PATH="/nowhere")
    assert (missing.returncode, missing.stdout) == (8, "")


def test_flash_from_the_command_line(compiler, avrdude, tmp_path):
    with BootloaderPeer(tmp_path / "tty", signature=ATMEGA328P) as peer:
        done = edge("firmware", "flash", "--port", peer.port, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is True
    assert peer.pages_written > 0
    with BootloaderPeer(tmp_path / "tty", signature=ATMEGA168) as peer:
        refused = edge("firmware", "flash", "--port", peer.port)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "ATmega168" in refused.stderr
    assert edge("firmware", "flash", "--port", tmp_path / "none").returncode == 3


def test_info_from_the_command_line(simulated):
    with simulated() as meter:
        done = edge("firmware", "info", "--port", meter.port)
        as_json = json.loads(edge("firmware", "info", "--port", meter.port, "--json").stdout)
    assert done.returncode == 0, done.stderr
    assert "1,506 samples a second, measured 1,506" in done.stdout
    assert "problem: the shunt is not calibrated" in done.stdout
    assert as_json["self_test"]["chip_ok"] is True


def test_something_else_at_the_port(tmp_path):
    silence = pytest.raises(NoAnswerError, match="did not answer IDENTIFY")
    with BootloaderPeer(tmp_path / "tty", silent=True) as peer, MeterClient(str(peer.port)) as client, silence:
        client.identify(deadline_s=0.5)
