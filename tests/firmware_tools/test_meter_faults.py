"""The firmware in trouble: garbage, resets, a bus that hangs, a cable that is pulled, an EEPROM that forgets."""

from __future__ import annotations

import time

import numpy as np
import pytest
from meter_host import PERIOD_US, Host, conversions, conversions_of_shunt
from simulated_meter import BROWN_OUT, POWER_ON, RESET_PIN, WATCHDOG

from firmware_tools.codecs import edge_frames
from firmware_tools.codecs.edge_commands import KIND_COMMAND, calibrate, frame
from firmware_tools.errors import InstrumentError, LineError, NoAnswerError, ReplyError
from firmware_tools.line import SerialLine
from firmware_tools.power_meter.chips import InaChip
from firmware_tools.power_meter.meter_client import MeterClient

FIRST_COPY, SECOND_COPY = 0x20, 0x40


def test_a_disturbance_on_the_alert_wire_is_no_conversion(simulated):
    with simulated(count=True) as meter, Host(meter) as host:
        # At 2.2 ms a sample, most disturbances come when nothing is read.
        host.client.configure(averaging=0, bus_conversion=4, shunt_conversion=4)
        host.start()
        numbers = []
        for _ in range(60):
            meter.glitch()
            trace = host.take(37)
            numbers.extend(conversions(trace, lsb_v=1.25e-3))
            assert (conversions_of_shunt(host, trace) == conversions(trace, lsb_v=1.25e-3)).all()
    assert (np.diff(numbers) >= 1).all()


# ---- commands


@pytest.mark.parametrize("streaming", [False, True])
def test_garbage_on_the_line_is_passed_over(simulated, streaming):
    with simulated(count=True) as meter, Host(meter) as host:
        if streaming:
            host.start()
        noise = np.random.default_rng(7).integers(0, 256, 5000, np.uint8).tobytes()
        host.client._open_line().write(noise)
        assert host.client.identify(deadline_s=10).streaming == streaming


@pytest.mark.parametrize("place", range(4))
def test_a_command_with_one_flipped_bit_is_not_obeyed(simulated, place):
    flipped = bytearray(edge_frame(3))
    flipped[1 + place] ^= 0x10
    with simulated() as meter, Host(meter) as host:
        host.client._open_line().write(bytes(flipped))
        assert host.client.identify().streaming is False


def edge_frame(command, arguments=b""):
    return frame(KIND_COMMAND, bytes([command]) + arguments)


@pytest.mark.parametrize(
    ("command", "arguments", "status"),
    [(9, b"", 1), (0, b"", 1), (2, b"\x00\x00", 2), (2, b"\x08\x00\x00", 2), (2, bytes(3), 2), (5, bytes(4), 2),
     (5, (10_000_001).to_bytes(4, "little"), 2), (1, b"\x01", 2)],
)  # fmt: skip
def test_commands_that_cannot_be(simulated, command, arguments, status):
    with simulated() as meter, Host(meter) as host:
        reply = host.client._reply(edge_frame(command, arguments), command, deadline_s=5.0)
    assert (reply.status, reply.payload) == (status, b"")


def test_while_it_streams_only_identify_and_stop_are_taken(simulated):
    with simulated() as meter, Host(meter) as host:
        host.start()
        for ask in (host.client.self_test, lambda: host.client.calibrate(5000)):
            with pytest.raises(ReplyError, match="busy streaming"):
                ask()
        assert host.client.identify().streaming
        host.client.start()  # stops it first
        assert host.client.stop().samples_sent > 0


def test_a_host_at_another_speed_hears_nothing_of_use(simulated):
    with simulated() as meter:
        with SerialLine(str(meter.port), baud=115200) as line:
            line.write(b"\x00" + edge_frame(1))
            answer = b"".join(line.read(0.2) for _ in range(3))
            assert not edge_frames.decode(edge_frames.initial(), answer, 0.0)[1].replies
        with MeterClient(str(meter.port)) as client:
            assert client.identify().chip == InaChip.INA226


# ---- faults


def test_identify_waits_for_the_boot_loader(simulated):
    with simulated(boot_s=1.2, real_time=True) as meter, MeterClient(str(meter.port)) as client:
        began = time.monotonic()
        assert client.identify().reset_cause == RESET_PIN
        assert time.monotonic() - began > 1.0


def test_a_port_without_a_meter_is_reported_in_time(simulated):
    silence = pytest.raises(NoAnswerError, match="did not answer IDENTIFY as a power meter within 1 s")
    with simulated(boot_s=30, real_time=True) as meter, MeterClient(str(meter.port)) as client, silence:
        client.identify(deadline_s=1.0)


@pytest.mark.parametrize("optiboot", [False, True])
def test_the_cause_of_a_reset_is_reported_also_through_optiboot(simulated, optiboot):
    with simulated(reset_on_open=False, optiboot=optiboot) as meter, Host(meter) as host:
        assert host.identity.reset_cause == POWER_ON
        meter.brown_out()
        assert host.client.identify().reset_cause == BROWN_OUT


def test_after_a_brown_out_it_stands_still_and_can_be_started(simulated):
    with simulated(count=True) as meter, Host(meter) as host:
        host.start()
        host.take(1000)
        meter.brown_out()
        found = host.client.identify()
        assert (found.reset_cause, found.streaming, found.overruns) == (BROWN_OUT, False, 0)
        host.start()
        trace = host.take(1000)
    assert trace.lost == 0
    assert set(np.diff(conversions(trace, lsb_v=1.25e-3))) == {1}


def test_the_watchdog_finds_a_program_that_hangs(simulated):
    with simulated() as meter, Host(meter) as host:
        host.start()
        hung = meter.hang()
        took_s = (int(meter.events("watchdog")[-1][1]) - hung) / 16e6
        assert 0.3 < took_s < 0.7
        assert host.client.identify().reset_cause == WATCHDOG
        host.start()
        assert host.take(500).lost == 0


@pytest.mark.parametrize("fault", ["nack", "stick", "reset_chip"])
@pytest.mark.parametrize("chip", ["ina226", "ina219"])
def test_a_fault_on_the_bus_costs_samples_and_no_more(simulated, fault, chip):
    with simulated(count=True, chip=chip) as meter, Host(meter) as host:
        host.start()
        host.take(300)
        {"nack": lambda: meter.nack(3), "stick": lambda: meter.stick(5), "reset_chip": meter.reset_chip}[fault]()
        # What is on its way was read before the fault; enough samples later, all is as before.
        host.take(3000)
        after = host.take(500)
        found = host.client.identify()
    assert found.streaming
    assert found.overruns > 0
    assert (found.i2c_errors > 0) == (fault != "reset_chip")
    assert after.lost == 0
    assert np.diff(after.time_s).mean() * 1e6 == pytest.approx(PERIOD_US[chip], rel=0.01)
    assert set(np.diff(conversions(after, lsb_v=4e-3 if chip == "ina219" else 1.25e-3))) <= {1, 1 - 0x2000}


def test_a_stuck_bus_is_clocked_free(simulated):
    with simulated() as meter, Host(meter) as host:
        before = meter.status()["clocks"]
        meter.stick(7)
        assert not host.client.self_test().i2c_ok
        assert host.client.self_test().i2c_ok
        assert meter.status()["clocks"] - before >= 7
        assert host.client.identify().i2c_errors == 1  # the first that failed has freed it


@pytest.mark.parametrize("fault", ["nack", "stick"])
def test_a_missing_chip_is_reported_and_may_come_back(simulated, fault):
    with simulated() as meter, Host(meter) as host:
        getattr(meter, fault)(-1)
        with pytest.raises(ReplyError, match="gets no answer from its INA chip"):
            host.start()
        test = host.client.self_test()
        assert (test.chip_ok, test.i2c_ok, test.conversion_time_ok, test.period_us) == (False, False, False, 0)
        getattr(meter, fault)(0)
        host.start()
        assert host.take(500).lost == 0


def test_a_missing_alert_wire_shows_in_the_self_test(simulated):
    with simulated(no_alert=True) as meter, Host(meter) as host:
        test = host.client.self_test()
    assert (test.chip_ok, test.i2c_ok) == (True, True)
    assert (test.conversion_time_ok, test.period_us) == (False, 0)


def test_unplugged_and_plugged_in_again(simulated):
    with simulated(count=True) as meter:
        with Host(meter) as host:
            host.start()
            host.take(500)
            meter.unplug()
            with pytest.raises(LineError):
                host.take(100_000)
        with pytest.raises(InstrumentError), Host(meter):
            pass
        meter.replug()
        with Host(meter) as host:
            host.start()
            assert host.take(500).lost == 0


def test_a_host_that_left_without_stopping_is_no_trouble_for_the_next(simulated):
    with simulated(count=True, reset_on_open=False) as meter:
        with Host(meter) as host:
            host.start()
            host.take(500)
        with Host(meter) as host:
            assert host.identity.streaming
            host.start()
            assert host.take(500).lost == 0


def test_the_stack_stays_clear_of_the_variables(simulated, record_property):
    with simulated(reset_on_open=False) as meter, Host(meter) as host:
        host.client.calibrate(9_000)
        host.client.self_test()
        meter.nack(2)
        host.client.self_test()
        host.start()
        host.take(300)
        meter.stick(3)
        host.take(300)
        host.client.identify()
        left = meter.status()["stack_free"]
    record_property("counted", f"{left} bytes of memory never touched by the stack")
    assert left > 256


# ---- calibration


def test_calibration_survives_resets_and_power(simulated, tmp_path):
    kept = {"eeprom": tmp_path / "eeprom"}
    with simulated(**kept) as meter, Host(meter) as host:
        assert (host.identity.shunt_uohm, host.identity.calibrated) == (10_000, False)
        assert host.client.self_test().eeprom_ok is False
        assert host.client.calibrate(9_871) == 9_871
        meter.brown_out()
        found = host.client.identify()
        assert (found.shunt_uohm, found.calibrated) == (9_871, True)
    with simulated(**kept) as meter, Host(meter) as host:
        assert (host.identity.shunt_uohm, host.identity.calibrated) == (9_871, True)
        assert host.client.self_test().eeprom_ok


@pytest.mark.parametrize("offset", range(8))
def test_one_spoiled_copy_is_mended_by_the_other_both_are_found_out(simulated, offset):
    with simulated() as meter, Host(meter) as host:
        host.client.calibrate(9_871)
        meter.spoil_eeprom(FIRST_COPY + offset, 0x5B)
        meter.brown_out()
        assert host.client.identify().shunt_uohm == 9_871
        for copy in (SECOND_COPY, FIRST_COPY):  # the other has been written again
            meter.spoil_eeprom(copy + offset, 0x5B)
            meter.brown_out()
            assert host.client.identify().shunt_uohm == 9_871
        for copy in (FIRST_COPY, SECOND_COPY):
            meter.spoil_eeprom(copy + offset, 0x5B)
        meter.brown_out()
        found = host.client.identify()
        assert (found.shunt_uohm, found.calibrated) == (10_000, False)
        assert host.client.self_test().eeprom_ok is False


@pytest.mark.parametrize("count", range(1, 9))  # four bytes of each copy change
def test_a_brown_out_while_it_stores_leaves_the_old_calibration_or_the_new(simulated, count):
    with simulated(reset_on_open=False) as meter, Host(meter) as host:
        host.client.calibrate(8_000)
        meter.cut_write(count)
        before = len(meter.events("reset"))
        host.client._open_line().write(calibrate(9_123))
        meter.wait_for("reset", count=before + 1)
        found = host.client.identify()
        assert found.reset_cause == BROWN_OUT
        assert (found.shunt_uohm, found.calibrated) == (8_000 if count < 4 else 9_123, True)
        host.client.calibrate(9_500)
        assert host.client.self_test().eeprom_ok


def test_the_ina260_has_its_shunt_inside(simulated):
    refusal = pytest.raises(ReplyError, match="does not accept these arguments")
    with simulated(chip="ina260") as meter, Host(meter) as host, refusal:
        host.client.calibrate(2_000)
