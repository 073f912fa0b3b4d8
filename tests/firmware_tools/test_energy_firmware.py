"""Energy through the real firmware: known pulses on a simulated ATmega328P, its serial line, our meter, the analysis.

The load is simulated and so is the board that makes it; firmware, protocol, port, decoder and analysis are real.
"""

from __future__ import annotations

import numpy as np
import pytest

from devices.meters.lookup import find_meter
from edge.agent.load_code import BARKER_RUNS
from edge.measure.energy.analyse import EnergyRun, energy_of
from edge.measure.energy.schedule import Code, Mark, Runs, Schedule, Stretch
from firmware_tools.trace import Trace

IDLE_W, LOW_W, HIGH_W = 2.413, 4.217, 5.339
CHIP_S, GUARD_S, HALF_S, RUNS, WINDOWS = 0.1, 0.15, 0.0113, 45, 3
# The board's clock: schedule seconds, but begun earlier and 200 ppm fast.
BEGAN_S, FAST = 1000.0, 2e-4


class Script:
    """What the board does: pieces of power and changes of the trigger for the bench, the account for the analysis."""

    def __init__(self):
        self.now, self.pieces, self.triggers = 0.0, [], []
        self.idle, self.codes, self.windows = [], [], []
        draw = np.random.default_rng(6)
        self.pause(0.3)
        self.idle.append(self.pause(1.0))
        self.codes.append(self.code(draw))
        for _ in range(WINDOWS):
            self.pause(0.1)
            self.trigger(1)
            self.infer(round(GUARD_S / HALF_S / 2))
            self.windows.append(self.infer(RUNS))
            self.infer(round(GUARD_S / HALF_S / 2))
            self.trigger(0)
        self.codes.append(self.code(draw))
        self.idle.append(self.pause(1.0))
        self.pause(0.5)

    def power(self, seconds, watts):
        begin, self.now = self.now, self.now + seconds
        self.pieces.append((seconds, watts))
        return begin, self.now

    def pause(self, seconds):
        return self.power(seconds, IDLE_W)

    def infer(self, runs):
        """Each inference has a cheap half and a dear one."""
        begin = self.now
        for _ in range(runs):
            self.power(HALF_S, LOW_W)
            self.power(HALF_S, HIGH_W)
        return begin, self.now

    def trigger(self, level):
        self.triggers.append((self.now, level))

    def code(self, draw):
        begin, _ = self.pause(CHIP_S)
        busy = []
        for level, chips in BARKER_RUNS:
            seconds = chips * CHIP_S * draw.uniform(0.9, 1.1)
            if level:
                self.trigger(1)
            span = self.power(seconds, LOW_W if level else IDLE_W)
            if level:
                busy.append(span)
                self.trigger(0)
        return begin, self.pause(CHIP_S)[1], busy

    def schedule(self):
        def on_board(*moments):
            return [BEGAN_S + moment * (1 + FAST) for moment in moments]

        return Schedule(
            idle=tuple(Stretch(*on_board(*each)) for each in self.idle),
            codes=tuple(
                Code(Stretch(*on_board(begin, end)), tuple(Stretch(*on_board(*each)) for each in busy), 0.0)
                for begin, end, busy in self.codes
            ),
            windows=tuple(Runs(*on_board(*each), RUNS) for each in self.windows),
            marks=tuple(Mark(*on_board(moment), level, 1e-5) for moment, level in self.triggers),
            chip_s=CHIP_S,
            conditions=(),
        )


@pytest.fixture(scope="module")
def run(meter_parts):
    """The script as our meter saw it, what the bench knows of each window, and where the schedule's zero was."""
    from simulated_meter import SimulatedMeter

    program, elf = meter_parts
    script = Script()
    with SimulatedMeter(
        script.pieces, triggers=script.triggers, shunt_ohm=0.02, idle_w=IDLE_W, program=program, elf=elf("ina226")
    ) as bench:
        with find_meter(f"edge:{bench.port}") as meter:
            meter.calibrate_shunt(0.02)
            meter.start()
            parts = [Trace.empty()]
            while not len(parts[-1]) or parts[-1].time_s[-1] < bench.zero_s + script.now:
                parts.append(meter.read(2.0))
            info = meter.info()
            meter.stop()
        truths = [bench.true_energy_j(*each) / RUNS for each in script.windows]
        zero_s = bench.zero_s
    run = EnergyRun(info, Trace.concatenate(parts), np.empty((0, 2)), script.schedule(), (), ())
    return run, truths, zero_s


@pytest.mark.slow
@pytest.mark.parametrize("method", ["trigger edges", "load code"])
def test_joules_come_through_the_firmware(run, method):
    recorded, truths, zero_s = run
    found = energy_of(recorded, only=method)
    assert recorded.trace.lost == 0
    truth = float(np.median(truths))
    # The board's clock is fast by FAST, and energy is power over its seconds.
    assert found.gross_j.value == pytest.approx(truth, rel=0.01)
    assert abs(found.gross_j.value - truth * (1 + FAST)) <= found.gross_j.expanded_uncertainty
    for window, known in zip(found.windows, truths, strict=True):
        assert window.gross_j / window.runs == pytest.approx(known, rel=0.01)
    assert found.net_j.value == pytest.approx(truth - IDLE_W * 2 * HALF_S, rel=0.01)
    assert found.alignment.method == method
    middle_s = recorded.schedule.windows[1].begin_s
    seen_s = found.alignment.meter_s(middle_s - recorded.schedule.whole.begin_s)
    assert seen_s == pytest.approx(zero_s + (middle_s - BEGAN_S) / (1 + FAST), abs=3 * found.alignment.uncertainty_s)


@pytest.mark.slow
def test_only_what_was_made_short_is_invalid(run):
    found = energy_of(run[0])
    assert [reason.split(",")[0].split(" lasts")[0] for reason in found.reasons] == [
        "the number of windows is 3",
        "a window",
    ]
    assert found.meter.identity.startswith("edge power meter, INA226")
    assert 40 < found.meter.effective_rate_hz < found.meter.nominal_rate_hz
