"""The firmware itself, run instruction by instruction: rates, losses, faults, what survives a reset."""

from __future__ import annotations

import time

import numpy as np
import pytest
from simulated_meter import BROWN_OUT, POWER_ON, RESET_PIN, WATCHDOG

from firmware_tools.codecs import edge_meter
from firmware_tools.codecs.edge_commands import KIND_COMMAND, Chip, frame
from firmware_tools.errors import InstrumentError, LineError, NoAnswerError, ReplyError
from firmware_tools.line import Line
from firmware_tools.power_meter.client import MeterClient
from firmware_tools.trace import Trace

# Nominal time between samples at the settings after a reset.
PERIOD_US = {"ina226": 664, "ina219": 808, "ina260": 664}
FIRST_COPY, SECOND_COPY = 0x20, 0x40


class Host:
    """A client that has identified its meter, and a codec."""

    def __init__(self, meter):
        self.client = MeterClient(str(meter.port))

    def __enter__(self):
        self.client.__enter__()
        self.identity = self.client.identify()
        return self

    def __exit__(self, *what):
        self.client.__exit__(*what)

    def start(self):
        self.client.start()
        self.state = edge_meter.initial(identity=self.identity)
        self.trace = Trace.empty()

    def take(self, samples, *, deadline_s=100.0):
        """Read until so many more samples have come."""
        until = time.monotonic() + deadline_s
        traces = []
        while sum(map(len, traces)) < samples:
            assert time.monotonic() < until, f"only {sum(map(len, traces))} of {samples} samples came"
            trace, self.state = edge_meter.decode(self.state, self.client.read(wait_s=0.5), 0.0)
            traces.append(trace)
        self.trace = Trace.joined(traces)
        return self.trace

    def stop(self):
        """Stop, and return what the meter says it sent and what has come since the last take."""
        stopped = self.client.stop()
        traces = []
        while data := self.client.read(wait_s=0.05):
            trace, self.state = edge_meter.decode(self.state, data, 0.0)
            traces.append(trace)
        return stopped, Trace.joined(traces)


def conversions(trace, *, lsb_v):
    """The running numbers of the conversions that a counting chip put into its registers."""
    return np.rint(trace.supply_v / lsb_v).astype(int)


def conversions_of_shunt(host, trace):
    """The same numbers out of the shunt register of an INA226."""
    return np.rint(trace.current_a * host.identity.shunt_uohm * 1e-6 / 2.5e-6).astype(int)


@pytest.mark.parametrize("chip", ["ina226", "ina219", "ina260"])
def test_a_chip_says_what_it_is_and_passes_its_self_test(simulated, chip):
    with simulated(chip=chip) as meter, Host(meter) as host:
        assert host.identity.chip == Chip[chip.upper()]
        assert host.identity.configuration.period_us == PERIOD_US[chip]
        assert host.identity.calibrated is False
        test = host.client.self_test()
        assert (test.chip_ok, test.i2c_ok, test.conversion_time_ok) == (True, True, True)
        assert test.period_us == pytest.approx(PERIOD_US[chip], rel=0.05)


@pytest.mark.parametrize("chip", ["ina226", "ina219", "ina260"])
def test_every_conversion_is_reported_once(simulated, chip):
    with simulated(chip=chip, count=True) as meter, Host(meter) as host:
        host.start()
        trace = host.take(5000)
    numbers = conversions(trace, lsb_v=4e-3 if chip == "ina219" else 1.25e-3)
    assert set(np.diff(numbers)) <= {1, 1 - 0x2000}
    assert trace.lost == trace.damaged == 0
    rate = (len(trace) - 1) / (trace.time_s[-1] - trace.time_s[0])
    assert rate == pytest.approx(1e6 / PERIOD_US[chip], rel=0.001)
    assert rate >= 1000


def test_bus_and_shunt_of_a_sample_belong_together(simulated):
    with simulated(count=True) as meter, Host(meter) as host:
        host.start()
        trace = host.take(3000)
    assert (conversions_of_shunt(host, trace) == conversions(trace, lsb_v=1.25e-3)).all()


@pytest.mark.slow
def test_a_minute_without_a_loss(simulated, record_property):
    with simulated(idle_w=3.0) as meter, Host(meter) as host:
        host.start()
        began = time.monotonic()
        trace = host.take(60 * 1506)
        speed = (trace.time_s[-1] - trace.time_s[0]) / (time.monotonic() - began)
        stopped, rest = host.stop()
    assert trace.time_s[-1] - trace.time_s[0] >= 59.9
    assert (trace.lost, trace.damaged, stopped.overruns) == (0, 0, 0)
    assert stopped.samples_sent == len(trace) + len(rest)
    steps_us = np.diff(trace.time_s) * 1e6
    assert np.abs(steps_us - 664).max() < 5
    rate = (len(trace) - 1) / (trace.time_s[-1] - trace.time_s[0])
    record_property(
        "counted",
        f"{len(trace):,} samples in {trace.time_s[-1] - trace.time_s[0]:.1f} simulated seconds, {rate:,.1f} a second, "
        f"{trace.lost} lost; simulated {speed:.1f} times as fast as real",
    )


@pytest.mark.parametrize("chip_clock", [0.9, 1.1])
def test_a_chip_at_the_edge_of_its_clock_loses_nothing(simulated, chip_clock):
    with simulated(count=True, chip_clock=chip_clock) as meter, Host(meter) as host:
        assert host.client.self_test().conversion_time_ok
        host.start()
        trace = host.take(3000)
    assert set(np.diff(conversions(trace, lsb_v=1.25e-3))) == {1}
    assert np.diff(trace.time_s).mean() * 1e6 == pytest.approx(664 * chip_clock, rel=0.002)


def test_a_chip_that_converts_too_slowly_is_told_from_a_right_one(simulated):
    with simulated(chip_clock=1.3) as meter, Host(meter) as host:
        test = host.client.self_test()
    assert not test.conversion_time_ok
    assert test.period_us == pytest.approx(664 * 1.3, rel=0.01)


@pytest.mark.parametrize("chip", ["ina226", "ina219", "ina260"])
def test_power_and_trigger_follow_the_load(simulated, chip):
    shunt_ohm = {"ina226": 0.01, "ina219": 0.1, "ina260": 0.002}[chip]
    load, triggers = [(0.5, 2.5), (1.0, 4.0), (0.5, 2.5)], [(0.5, 1), (1.5, 0)]
    with simulated(load, triggers=triggers, chip=chip, shunt_ohm=shunt_ohm) as meter, Host(meter) as host:
        host.start()
        trace = host.take(int(1.9e6 / PERIOD_US[chip]))
        since_zero = trace.time_s - meter.zero_s
        energy = float(np.sum((trace.power_w[1:] + trace.power_w[:-1]) / 2 * np.diff(trace.time_s)))
        truth = meter.true_energy_j(trace.time_s[0], trace.time_s[-1], on="meter")
        exact = meter.true_power_w(trace.time_s, on="meter")
    assert energy == pytest.approx(truth, rel=0.002)
    assert np.mean(np.abs(trace.power_w - exact) < 0.01) > 0.99
    changes = since_zero[np.flatnonzero(np.diff(trace.inputs & 1)) + 1]
    assert changes == pytest.approx([0.5, 1.5], abs=0.0011)
    assert (changes > np.subtract([0.5, 1.5], 10e-6)).all()  # the level is read a moment after the time


def test_power_changed_live(simulated):
    with simulated(idle_w=1.0) as meter, Host(meter) as host:
        host.start()
        host.take(500)
        meter.power(6.0)
        meter.trigger(1)
        trace = host.take(2500)
    assert trace.power_w[-1] == pytest.approx(6.0, abs=0.01)
    assert trace.inputs[-1] & 1


def test_an_overflow_of_the_shunt_is_marked(simulated):
    with simulated(idle_w=60.0) as meter, Host(meter) as host:  # 12 A through 10 mOhm: more than 81.92 mV
        host.start()
        marked, state = Trace.empty(), host.state
        until = time.monotonic() + 30
        while not marked.damaged:
            assert time.monotonic() < until
            marked, state = edge_meter.decode(state, host.client.read(wait_s=5.0), 0.0)
    assert len(marked) == 0


@pytest.mark.parametrize(
    ("averaging", "bus", "shunt", "period_us"), [(0, 7, 7, 16488), (2, 2, 2, 10624), (0, 3, 2, 920)]
)
def test_other_settings(simulated, averaging, bus, shunt, period_us):
    with simulated(count=True) as meter, Host(meter) as host:
        got = host.client.configure(averaging=averaging, bus_conversion=bus, shunt_conversion=shunt)
        assert (got.averaging, got.bus_conversion, got.shunt_conversion) == (averaging, bus, shunt)
        assert got.period_us == period_us
        host.start()
        trace = host.take(50)
    assert set(np.diff(conversions(trace, lsb_v=1.25e-3))) == {1}
    assert np.diff(trace.time_s) * 1e6 == pytest.approx(period_us, rel=0.01)


def test_slow_settings_do_not_let_the_host_wait(simulated):
    with simulated() as meter, Host(meter) as host:
        assert host.client.configure(averaging=5, bus_conversion=7, shunt_conversion=7).period_us > 4_000_000
        host.start()
        assert host.client.identify(deadline_s=2).streaming
        assert host.client.stop().samples_sent == 0


@pytest.mark.parametrize("bus", [0, 1])
def test_settings_too_fast_for_the_bus_lose_samples_and_say_so(simulated, bus):
    with simulated(count=True) as meter, Host(meter) as host:
        host.client.configure(averaging=0, bus_conversion=bus, shunt_conversion=1)
        host.start()
        trace = host.take(2000)
        stopped, rest = host.stop()
    numbers = conversions(trace, lsb_v=1.25e-3)
    assert (np.diff(numbers) >= 1).all()  # none twice
    assert (conversions_of_shunt(host, trace) == numbers).all()  # none of two halves
    assert trace.lost > 0
    # The count is from time stamps: within a hundredth of what the chip converted.
    assert trace.lost + len(trace) == pytest.approx(numbers[-1] - numbers[0] + 1, rel=0.01)
    assert stopped.overruns >= trace.lost + rest.lost


def test_a_disturbance_on_the_alert_wire_is_no_conversion(simulated):
    with simulated(count=True) as meter, Host(meter) as host:
        # At 2.2 ms a sample, most disturbances come when nothing is read.
        host.client.configure(averaging=0, bus_conversion=4, shunt_conversion=4)
        host.start()
        numbers = []
        for _ in range(30):
            meter.glitch()
            numbers.extend(conversions(host.take(101), lsb_v=1.25e-3))
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
        with Line(str(meter.port), baud=115200) as line:
            line.write(b"\x00" + edge_frame(1))
            answer = b"".join(line.read(0.2) for _ in range(3))
            assert not edge_meter.decode(edge_meter.initial(), answer, 0.0)[1].replies
        with MeterClient(str(meter.port)) as client:
            assert client.identify().chip == Chip.INA226


# ---- faults


def test_identify_waits_for_the_boot_loader(simulated):
    with simulated(boot_s=1.2, real_time=True) as meter, MeterClient(str(meter.port)) as client:
        began = time.monotonic()
        assert client.identify().reset_cause == RESET_PIN
        assert time.monotonic() - began > 1.0


def test_nobody_at_the_port_is_said_in_time(simulated):
    silence = pytest.raises(NoAnswerError, match="did not answer IDENTIFY as a power meter within 1 s")
    with simulated(boot_s=30, real_time=True) as meter, MeterClient(str(meter.port)) as client, silence:
        client.identify(deadline_s=1.0)


@pytest.mark.parametrize("optiboot", [False, True])
def test_the_cause_of_a_reset_is_told_also_through_optiboot(simulated, optiboot):
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
        before = meter.status()["cycle"]
        meter.hang()
        took_s = (int(meter.events("watchdog")[-1][1]) - before) / 16e6
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
def test_a_chip_that_is_gone_is_told_and_may_come_back(simulated, fault):
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


def test_the_ina260_has_its_shunt_inside(simulated):
    refusal = pytest.raises(ReplyError, match="does not accept these arguments")
    with simulated(chip="ina260") as meter, Host(meter) as host, refusal:
        host.client.calibrate(2_000)
