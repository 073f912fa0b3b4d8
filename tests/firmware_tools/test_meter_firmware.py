"""The firmware itself, run instruction by instruction: rates, losses, what a sample holds, settings."""

from __future__ import annotations

import time

import numpy as np
import pytest
from meter_host import PERIOD_US, Host, conversions, conversions_of_shunt

from firmware_tools.codecs import edge_frames
from firmware_tools.power_meter.chips import InaChip
from firmware_tools.trace import Trace


@pytest.mark.parametrize("chip", ["ina226", "ina219", "ina260"])
def test_a_chip_is_identified_and_passes_its_self_test(simulated, chip):
    with simulated(chip=chip) as meter, Host(meter) as host:
        assert host.identity.chip == InaChip[chip.upper()]
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


def test_a_chip_that_converts_too_slowly_is_detected(simulated):
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


def test_questions_between_samples_cost_none(simulated):
    with simulated(count=True) as meter, Host(meter) as host:
        host.start()
        for _ in range(50):
            assert host.client.identify().overruns == 0
        trace = host.take(1000)
    assert trace.lost == 0
    assert set(np.diff(conversions(trace, lsb_v=1.25e-3))) == {1}


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
            marked, state = edge_frames.decode(state, host.client.read(wait_s=5.0), 0.0)
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


@pytest.mark.parametrize("rounds", [1 << 16, 1 << 17])
def test_the_clock_goes_on_over_its_middle_and_its_end(simulated, rounds):
    with simulated() as meter, Host(meter) as host:
        meter.set_clock(rounds - 10)
        host.start()
        trace = host.take(1000)
    assert trace.time_s[0] < rounds * 0.032768 < trace.time_s[-1]
    assert np.diff(trace.time_s) * 1e6 == pytest.approx(664, abs=3)
    assert trace.damaged == trace.lost == 0
