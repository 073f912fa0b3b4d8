"""Meters that must not be believed: on another board, not calibrated, clipped, frozen, or losing samples."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from synthetic_board import polled_run_of, run_of, various

from converters.decode import decode
from devices.local import LocalDevice
from devices.meters.lookup import find_meter
from devices.meters.recording import Recording, load_recording, save_recording
from edge.errors import InputError
from edge.measure.conditions import ConditionsSample
from edge.measure.energy.align_clock import clock_of_meter, most_drift
from edge.measure.energy.analyse import energy_of
from edge.measure.energy.energy_run import check_meter, measure_energy, open_meter
from edge.measure.energy.power import power_of
from edge.measure.energy.value import Drawing, Energy, NotMeasured, RefusedAlignment
from edge.measure.plan import EnergyPlan, Plan
from edge.measure.profiling import EnergyNotMeasured, MeasuringFailure, Profiled, SomeFilesFailed, profile_files
from firmware_tools.errors import LineError
from firmware_tools.trace import Trace

SHORT = {"window_s": 1.0, "idle_s": 1.5}


@pytest.fixture(scope="module")
def known():
    """A run with short windows."""
    return run_of(various(3, **SHORT))


def changed(run, info=None, **columns):
    return dataclasses.replace(
        run, trace=dataclasses.replace(run.trace, **columns), info=dataclasses.replace(run.info, **(info or {}))
    )


def said(found) -> str:
    return "; ".join(found.reasons)


def busy(run):
    return (run.trace.inputs & 1).astype(bool)


def drawing(current, run):
    """The columns of a current at the run's supply."""
    return {"current_a": current, "power_w": current * run.trace.supply_v}


# --- the load shows


def elsewhere(run, seed):
    """The power of another board: steady, with noise."""
    watts = 2.5 + np.random.default_rng(seed).normal(0, 0.02, len(run.trace))
    return changed(run, power_w=watts, current_a=watts / 5, supply_v=np.full(len(watts), 5.0),
                   inputs=np.zeros(len(watts), np.uint8))  # fmt: skip


@pytest.mark.parametrize("seed", [1, 7, 10])
def test_a_meter_on_another_board_is_said(known, seed):
    found = energy_of(elsewhere(known.run, seed))
    assert found.alignment.method == "round trips"
    assert "the meter does not show this board's load: the load code does not show" in said(found)


def test_power_within_its_uncertainty_of_idle_is_no_more_than_idle(known):
    draws = [energy_of(elsewhere(known.run, seed)) for seed in range(8)]
    assert any(each.net_j.value > 0 for each in draws)
    assert all("no more than the idle board's" in said(each) for each in draws)


def test_a_code_that_a_slow_meter_cannot_show_is_not_held_against_it(known):
    every = slice(None, None, 40)
    slow = Trace(*(getattr(known.run.trace, name)[every]
                   for name in ("time_s", "power_w", "supply_v", "current_a", "inputs")))  # fmt: skip
    found = energy_of(dataclasses.replace(known.run, trace=slow), only="round trips")
    assert any("shorter than the distance" in each.reason for each in found.refused)
    assert "does not see" not in said(found)


# --- calibration


@pytest.mark.parametrize("wrap", [False, True], ids=["live", "replayed"])
def test_a_shunt_nobody_calibrated_is_said(known, wrap):
    settings = {"calibrated": False, "shunt_uohm": 20000}
    if wrap:
        settings = {"recorded_kind": "edge", "recorded_settings": settings}
    found = energy_of(changed(known.run, {"settings": settings}))
    assert "never calibrated" in said(found)
    assert "edge meter calibrate bench --shunt-ohm" in said(found)


def test_a_shunt_inside_the_chip_needs_no_calibration(known):
    settings = {"calibrated": False, "shunt_uohm": None}
    assert "calibrated" not in said(energy_of(changed(known.run, {"settings": settings})))


def test_a_driver_that_does_not_state_its_shunt_is_unknown(known):
    info = {"kind": "hwmon", "identity": "ina226 (hwmon3)", "settings": {"shunt_uohm": None}}
    assert any("resistance of the shunt" in each for each in energy_of(changed(known.run, info)).unknown)
    known_one = energy_of(changed(known.run, {**info, "settings": {"shunt_uohm": 10000.0}}))
    assert not any("resistance of the shunt" in each for each in known_one.unknown)
    inside = energy_of(changed(known.run, {**info, "settings": {"chip": "ina260", "shunt_uohm": None}}))
    assert not any("resistance of the shunt" in each for each in inside.unknown)


# --- the meter's clock


@pytest.mark.parametrize("rate", [0.0, 1e-5, -1.0, 0.95, 1.05], ids=["at once", "replay", "back", "slow", "fast"])
def test_a_clock_no_meter_has_is_refused_at_once(known, rate):
    arrivals = known.run.arrivals.copy()
    arrivals[:, 1] = arrivals[0, 1] + rate * (arrivals[:, 0] - arrivals[0, 0])
    assert isinstance(clock_of_meter(arrivals), RefusedAlignment)
    found = energy_of(dataclasses.replace(known.run, arrivals=arrivals))
    assert [each.method for each in found.refused] == ["round trips"]


def test_a_quartz_may_be_off_by_less_than_a_resonator():
    times = np.arange(0, 60, 0.5)
    arrivals = np.stack([times, 7000 + 1.005 * times], axis=1)
    assert not isinstance(clock_of_meter(arrivals, most_drift("edge")), RefusedAlignment)
    assert isinstance(clock_of_meter(arrivals, most_drift("ppk2")), RefusedAlignment)


def test_samples_missing_without_being_counted_are_said():
    run = run_of(various(5, **SHORT, meter_drift=0.006)).run
    assert "does not count" not in said(energy_of(run))
    ppk2 = changed(run, {"kind": "ppk2"})
    assert "samples are missing that it does not count" in said(energy_of(ppk2, only="trigger edges"))


def test_a_recording_is_read_by_the_clock_it_was_made_with():
    run = polled_run_of(various(4, **SHORT, chip_s=0.4), 20.0).run
    settings = {"recorded_kind": "um25c", "recorded_clock": "host", "recorded_settings": {}}
    found = energy_of(changed(run, {"kind": "replay", "clock": "meter", "settings": settings}))
    assert "round trips" not in [each.method for each in found.refused]


# --- range


def clipped_bursts(run, share, **info):
    """Bursts of current, less frequent than `share`, seen by a meter whose range ends in them."""
    trace = run.trace
    burst = np.convolve((busy(run) & ((19.7 * trace.time_s) % 1.0 < share)).astype(float), [0.5, 0.5], "same")
    current = np.round((trace.current_a + 0.6 * burst) / 1e-3) * 1e-3
    limit = np.quantile(current[busy(run)], 1 - 0.95 * share)
    return [energy_of(changed(run, {"kind": "hwmon", **info}, **drawing(each, run)))
            for each in (current, np.minimum(current, limit))]  # fmt: skip


@pytest.mark.parametrize("share", [0.04, 0.12, 0.18])
def test_a_range_that_ends_now_and_then_is_said(known, share):
    whole, clipped = clipped_bursts(known.run, share)
    assert clipped.gross_j.value < whole.gross_j.value
    assert "range" not in said(whole)
    assert "the meter was at its range's end" in said(clipped)


def test_the_range_of_a_known_chip_is_known(known):
    peak = float(known.run.trace.current_a.max())
    ends = [energy_of(changed(known.run, {"settings": {"chip": "ina226", "shunt_uohm": 0.08192 / amperes * 1e6}}))
            for amperes in (0.9 * peak, 1.2 * peak)]  # fmt: skip
    assert "are at the end of the meter's range" in said(ends[0])
    assert "range" not in said(ends[1])


def test_steps_too_coarse_to_show_a_range_are_judged_by_the_most_frequent(known):
    current = np.round(known.run.trace.current_a / 0.02) * 0.02
    middle = np.round(np.median(current[busy(known.run)]) / 0.02) * 0.02
    found = energy_of(changed(known.run, {"kind": "csv"}, **drawing(np.minimum(current, middle), known.run)))
    assert "too coarse to tell" in said(found)


def test_a_load_of_few_levels_is_no_end_of_a_range(known):
    draw = np.random.default_rng(1)
    count = len(known.run.trace)
    current = np.where(draw.random(count) < 0.5, 0.5, 0.7)
    rare = draw.random(count) < 0.05
    current[rare] = np.round(draw.uniform(0.5, 0.7, rare.sum()), 3)
    found = energy_of(changed(known.run, {"kind": "csv"}, **drawing(current, known.run)), only="trigger edges")
    assert "range" not in said(found)


# --- idle, rate, throttling, early ends


def test_a_board_that_draws_less_than_nothing_is_said(known):
    trace = known.run.trace
    shifted = energy_of(changed(known.run, power_w=trace.power_w - np.median(trace.power_w[:200]) - 0.05))
    assert shifted.idle.drift is None
    assert "a board that is on draws more than nothing" in said(shifted)


def test_a_meter_that_hangs_for_a_window_is_said(known):
    trace, second = known.run.trace, energy_of(known.run).windows[1]
    origin = energy_of(known.run).alignment
    low, high = np.searchsorted(
        trace.time_s, [origin.meter_s(second.begin_s - 0.1), origin.meter_s(second.end_s + 0.1)]
    )
    watts = trace.power_w.copy()
    watts[low:high] = second.mean_w
    found = energy_of(changed(known.run, power_w=watts))
    assert "the readings changed 0 times in a window" in said(found)
    assert found.meter.effective_rate_hz > 20


@pytest.mark.parametrize(("share", "hung"), [(0.1, False), (0.5, True), (0.9, True)])
def test_a_meter_that_hangs_for_a_part_of_a_window_is_said(known, share, hung):
    trace, second = known.run.trace, energy_of(known.run).windows[1]
    origin = energy_of(known.run).alignment
    length_s = second.end_s - second.begin_s
    low, high = np.searchsorted(
        trace.time_s, [origin.meter_s(second.begin_s + part * length_s) for part in (0.05, 0.05 + share)]
    )
    watts = trace.power_w.copy()
    watts[low:high] = second.mean_w
    found = energy_of(changed(known.run, power_w=watts))
    assert ("of window 2, at most 20% is allowed" in said(found)) == hung


def test_an_edge_tpu_that_throttles_is_said(known):
    hot = [ConditionsSample.from_json({"edge_tpus": [{"temperature_c": each, "trip_c": 84.8}]}) for each in (60, 101.0)]
    schedule = dataclasses.replace(known.run.schedule, conditions=tuple(hot))
    found = energy_of(dataclasses.replace(known.run, schedule=schedule))
    assert "the Edge TPU was 16.2 C above" in said(found)


def test_why_a_recording_ends_early_is_said_even_where_nothing_was_measured(known):
    found = energy_of(dataclasses.replace(known.run, trace=Trace.empty(), incomplete="the line broke"))
    assert isinstance(found, NotMeasured)
    assert found.reasons[0] == "the recording ends early: the line broke"


def test_a_drawing_has_columns_of_one_length():
    with pytest.raises(ValueError, match="2, 2, 2, 1 points"):
        Drawing((0.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0,))


def test_means_stamped_in_their_middle_are_not_shifted():
    ends = np.arange(0.0, 10.1, 0.5)
    middles, watts = (ends[1:] + ends[:-1]) / 2, np.diff(ends**2) / 0.5  # power is twice the time
    none = np.full(len(watts), np.nan)
    trace = Trace(middles, watts, none, none, np.zeros(len(watts), np.uint8))
    assert power_of(trace, "rapl", polled=True).mean_w(2.0, 8.0) == pytest.approx(10.0)


# --- what is refused before anything is measured


def info_of(**fields):
    return dataclasses.replace(run_of(various(3, window_s=0.1, idle_s=0.1)).run.info, **fields)


class Open:
    """An open meter, of which nothing but its description is asked."""

    def info(self):
        return info_of()


def test_a_recording_is_no_meter_of_a_board(known, tmp_path):
    path, run = tmp_path / "old.edgetrace", known.run
    save_recording(path, Recording(run.info, run.trace, run.arrivals, "2026-01-01T00:00:00Z", {}))
    plan = EnergyPlan(f"replay:{path}")
    with pytest.raises(InputError, match="is a recording, not a meter wired to this board"), open_meter(plan):
        pass
    with find_meter(plan.meter) as meter, pytest.raises(InputError, match="is a recording"):
        measure_energy(LocalDevice(), Plan(energy=plan), "x", meter=meter, machine=None, on_step=print)


def test_one_meter_is_open_from_the_first_file_to_the_last(monkeypatch, tmp_path):
    talk = []

    class Meter(Open):
        def __enter__(self):
            talk.append("open")
            return self

        def __exit__(self, *_):
            talk.append("close")

    monkeypatch.setattr("edge.measure.energy.energy_run.find_meter", lambda _: Meter())
    paths = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    found = profile_files(
        paths, LocalDevice(), Plan(energy=EnergyPlan("x")), on_failure=lambda each: talk.append(each.path.stem)
    )
    assert talk == ["open", "a", "b", "close"]
    assert len(found.failures) == 2


def test_a_measurement_that_lacks_its_energy_is_counted_once(sample_measurement, tmp_path):
    error = EnergyNotMeasured(LineError("it is gone", hint="plug it in"), sample_measurement)
    assert (str(error), error.hint, error.exit_code) == ("the energy was not measured: it is gone", "plug it in", 10)
    lost = MeasuringFailure(tmp_path / "a.tflite", "pi4", error, error.exit_code)
    with pytest.raises(EnergyNotMeasured):
        Profiled((sample_measurement,), (lost,)).check()
    with pytest.raises(SomeFilesFailed, match="1 of 2 measurements") as caught:
        Profiled((sample_measurement, sample_measurement), (lost,)).check()
    assert caught.value.exit_code == 10


def test_a_recording_that_cannot_be_kept_loses_nothing_else(known, tmp_path, monkeypatch):
    run = known.run
    recording = Recording(run.info, run.trace, run.arrivals, "2026-01-01T00:00:00Z", {})
    monkeypatch.setattr("edge.measure.energy.energy_run.record_run", lambda *_, **__: (run, recording))
    (tmp_path / "file").touch()
    energy = {name: EnergyPlan("x", trace=tmp_path / name) for name in ("file/a.edgetrace", "b.edgetrace")}
    lost, kept = (measure_energy(LocalDevice(), Plan(energy=each), "x", meter=Open(), machine=None, on_step=print)
                  for each in energy.values())  # fmt: skip
    assert lost.gross_j == kept.gross_j
    assert lost.reasons == (*kept.reasons, lost.reasons[-1])
    assert "could not write" in lost.reasons[-1]
    assert load_recording(tmp_path / "b.edgetrace").info == run.info


def test_a_trigger_line_needs_a_meter_with_an_input():
    plan = EnergyPlan("x", trigger="gpiochip0:17")
    check_meter(info_of(), plan)
    with pytest.raises(InputError, match="has no input for the trigger line gpiochip0:17"):
        check_meter(info_of(kind="um25c", has_trigger=False), plan)


@pytest.mark.parametrize("line", ["gpiochip0:99999999999", "gpiochip0:\u0661", "x" * 40 + ":1", "gpiochip0:1\n"])
def test_a_line_no_chip_has_is_refused(line):
    with pytest.raises(InputError, match="CHIP:LINE"):
        EnergyPlan("x", trigger=line)


def test_a_file_without_the_later_field_is_read(known):
    found = energy_of(known.run)
    raw = json.loads(json.dumps(dataclasses.asdict(found)))
    del raw["alignment"]["power_uncertainty_s"], raw["refused"]
    raw["refused"] = [{"method": "load code", "reason": "none"}]
    read = decode(Energy, raw, "energy")
    assert read.alignment.shown_uncertainty_s == found.alignment.uncertainty_s
    assert not read.refused[0].load_unseen
