"""Alignment, integration, budget and rules of energy, each where it is hard."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from synthetic_board import BARKER, Board, polled_run_of, run_of, various

from converters.decode import decode
from edge.agent.messages import EnergyResult
from edge.measure.conditions import ConditionsSample
from edge.measure.energy.align_clock import RoundTrip, align_clock, clock_of_host, clock_of_meter
from edge.measure.energy.align_edges import align_edges
from edge.measure.energy.analyse import energy_of
from edge.measure.energy.energy_rules import energy_verdict
from edge.measure.energy.power import Power, digest, effective_rate_hz, power_of
from edge.measure.energy.schedule import Mark, Schedule, Stretch
from edge.measure.energy.uncertainty_budget import coverage_factor, effective_freedom
from edge.measure.energy.value import Energy, NotMeasured, Quantity, RefusedAlignment
from edge.measure.measurement import Window
from edge.report.terminal.energy_lines import energy_summary, format_joules
from firmware_tools.trace import Trace

SHORT = {"window_s": 1.0, "idle_s": 1.5}


@pytest.fixture(scope="module")
def known():
    """A run with short windows."""
    return run_of(various(3, **SHORT))


@pytest.fixture(scope="module")
def energy(known):
    """What is found in it."""
    return energy_of(known.run)


def trace_of(time_s, power_w, **changed) -> Trace:
    time_s, power_w = np.asarray(time_s, float), np.asarray(power_w, float)
    nan = np.full(len(time_s), np.nan)
    columns = {"supply_v": nan, "current_a": nan, "inputs": np.zeros(len(time_s), np.uint8)}
    return Trace(time_s, power_w, **{**columns, **changed})


def with_trace(run, **changed):
    return dataclasses.replace(run, trace=dataclasses.replace(run.trace, **changed))


def rules_broken(found) -> str:
    return "; ".join(found.reasons)


# --- power


def test_an_average_holds_since_the_sample_before():
    power = power_of(trace_of([1, 2, 3, 4], [10, 20, 30, 40]), "edge", polled=False)
    assert power.mean_w(0, 4) == pytest.approx(25)
    assert power.mean_w(1.5, 2.25) == pytest.approx((0.5 * 20 + 0.25 * 30) / 0.75)
    assert (power.begin_s, power.end_s) == (0, 4)


def test_moments_are_joined_by_lines_however_uneven():
    power = power_of(trace_of([0, 1, 1.5, 3], [0, 2, 3, 6]), "ppk2", polled=False)
    assert power.mean_w(0.3, 2.7) == pytest.approx(3.0)  # power is twice the time throughout


@pytest.mark.parametrize("kind", ["edge", "ppk2"])
def test_a_gap_is_bridged_and_counted(kind):
    time = np.delete(np.arange(1, 101) * 0.01, slice(40, 60))
    power = power_of(trace_of(time, np.full(len(time), 5.0)), kind, polled=False)
    assert power.mean_w(0.1, 0.95) == pytest.approx(5.0)
    assert power.missing_s(0.1, 0.95) == pytest.approx(0.20, abs=0.011)
    assert power.missing_s(0.1, 0.3) == 0
    assert (power.gaps(0.1, 0.95), power.gaps(0.1, 0.3)) == (1, 0)


def test_a_polled_meter_may_be_irregular():
    time = np.cumsum([0.4, 0.4, 0.9, 0.4, 0.4, 3.0, 0.4])
    power = power_of(trace_of(time, np.ones(7)), "um25c", polled=True)
    assert power.missing_s(power.begin_s, power.end_s) == pytest.approx(3.0)


def test_repeated_readings_are_no_readings():
    assert effective_rate_hz(np.repeat(np.arange(26.0), 4), 1.0) == 25


# --- trigger edges


def edges(marks, seen_s, period_s=0.005, **kwargs):
    """A trace of a line that changed at moments of the meter's clock."""
    time = np.arange(0, 100, period_s)
    levels = (np.searchsorted(np.asarray(seen_s), time, side="right") % 2).astype(np.uint8)
    return align_edges(
        trace_of(time, np.ones(len(time)), inputs=levels), marks, kwargs.get("rates", np.zeros(1)), lag_s=0.0
    )


def marks_at(times) -> list[Mark]:
    return [Mark(time, (index + 1) % 2, 1e-5) for index, time in enumerate(times)]


MOMENTS = (
    np.cumsum([1.3, 0.21, 0.33, 0.11, 0.52, 5.1, 0.4, 5.2, 0.41, 5.3, 0.31, 0.12, 0.22, 0.1])
    + 7
    + 0.003 * np.random.default_rng(2).random(14)
)


def test_edges_give_offset_and_drift():
    found = edges(marks_at(MOMENTS), 12.34 + MOMENTS * 1.0001)
    for moment in MOMENTS:
        assert found.meter_s(moment) == pytest.approx(12.34 + moment * 1.0001, abs=4 * found.uncertainty_s)
    assert found.uncertainty_s < 0.005 / 12**0.5
    assert "14 of 14" in found.detail


def test_edges_of_a_resonator_are_found_without_knowing_its_rate():
    rates = np.arange(-30, 31) * 3e-4
    found = edges(marks_at(MOMENTS), 12.34 + MOMENTS * 1.0057, rates=rates)
    assert found.drift == pytest.approx(0.0057, abs=4 * found.drift_uncertainty)


def test_two_lost_edges_do_no_harm():
    seen = np.delete(12.34 + MOMENTS, [4, 5])
    found = edges(marks_at(MOMENTS), seen)
    assert found.meter_s(20.0) == pytest.approx(32.34, abs=4 * found.uncertainty_s)
    assert "12 of 14" in found.detail


def test_changes_in_step_with_the_samples_average_nothing_out():
    moments = np.arange(8, 30) * 1.0
    found = edges(marks_at(moments + np.cumsum(np.arange(22) % 3)), 10.0012 + moments + np.cumsum(np.arange(22) % 3))
    assert found.uncertainty_s == pytest.approx(0.005 / 12**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("made", "seen", "words"),
    [
        (MOMENTS, [], "is the wire connected"),
        (MOMENTS[:2], MOMENTS, "at least 4"),
        (MOMENTS, np.arange(1, 99, 0.02), "floats or picks up noise"),
        (MOMENTS, np.sort(np.random.default_rng(1).uniform(10, 90, 14)), "fit what the meter saw"),
        (np.arange(8, 28), np.arange(1, 61) * 1.0, "fit at two places"),
    ],
    ids=["none", "few", "noise", "others", "regular"],
)
def test_edges_that_do_not_tell_are_refused(made, seen, words):
    found = edges(marks_at(made), seen)
    assert isinstance(found, RefusedAlignment)
    assert words in found.reason


# --- load code


def test_a_code_that_does_not_show_is_refused(known):
    noise = np.random.default_rng(5).normal(2.5, 0.1, len(known.run.trace))
    silent = dataclasses.replace(with_trace(known.run, power_w=noise), before=(), after=())
    silent = with_trace(silent, inputs=np.zeros(len(noise), np.uint8))
    found = energy_of(silent)
    assert isinstance(found, NotMeasured)
    assert "does not show in the power" in "".join(found.reasons)
    assert "no round trips to the agent were recorded" in "".join(found.reasons)


def test_a_code_upside_down_is_refused(known):
    upside_down = with_trace(known.run, power_w=10 - known.run.trace.power_w)
    refused = {each.method: each.reason for each in energy_of(upside_down).refused}
    assert "does not show" in refused["load code"]


def test_a_code_is_found_without_arrivals_and_a_clock_off_by_half_a_percent():
    known = run_of(various(11, **SHORT, meter_drift=0.006))
    found = energy_of(dataclasses.replace(known.run, arrivals=np.empty((0, 2))), only="load code")
    assert found.alignment.drift == pytest.approx(known.drift, abs=5 * found.alignment.drift_uncertainty)
    assert [each.method for each in found.refused] == ["round trips"]


def test_chips_shorter_than_the_samples_are_refused(known):
    slow = energy_of(polled_run_of(various(3, **SHORT), 2.5).run)
    assert any("shorter than the distance of two samples" in each.reason for each in slow.refused)


def test_the_recording_must_hold_the_run(known):
    kept = known.run.trace.time_s < known.run.trace.time_s[len(known.run.trace) // 2]
    trace = known.run.trace
    half = Trace(*(column[kept] for column in (trace.time_s, trace.power_w, trace.supply_v, trace.current_a,
                                               trace.inputs)))  # fmt: skip
    found = energy_of(dataclasses.replace(known.run, trace=half))
    assert isinstance(found, NotMeasured)
    assert "does not hold window" in found.reasons[0] or "shorter" in "".join(found.reasons)


@pytest.mark.parametrize(("rate_hz", "chip_s"), [(2.5, 1.6), (10.0, 0.4), (100.0, 0.1)])
def test_slow_meters_need_long_chips_and_get_energy_right(rate_hz, chip_s):
    known = polled_run_of(various(4, chip_s=chip_s, windows=2), rate_hz)
    found = energy_of(known.run, only="load code")
    assert found.gross_j.value == pytest.approx(known.gross_j, rel=0.01)
    assert found.alignment.method == "load code"
    assert "does not number them" in "".join(found.unknown)


def test_the_pattern_is_a_barker_code():
    signs = 2 * np.array(BARKER) - 1
    sides = np.correlate(signs, signs, "full")
    assert sides.max() == 13
    assert np.abs(np.delete(sides, 12)).max() == 1


# --- clocks


def test_the_best_round_trip_bounds_the_offset():
    trips = [RoundTrip(100 - a, 40.0, 100 + b) for a, b in ((0.03, 0.001), (0.002, 0.003), (0.2, 0.2))]
    found = align_clock(trips, (), clock_of_host(0.01), lag_s=0.0)
    assert found.meter_s(40.0) == pytest.approx(100.0005, abs=1e-9)
    assert found.uncertainty_s == pytest.approx(math.hypot(0.0025 / 3**0.5, 0.01 / 3**0.5))


def test_arrivals_are_late_never_early():
    draw = np.random.default_rng(3)
    meter = np.sort(draw.uniform(0, 60, 400))
    host = 500 + meter * 1.002 + 0.003 + draw.exponential(0.01, 400) + (draw.random(400) < 0.1) * 0.5
    found = clock_of_meter(np.stack([meter, host], axis=1))
    for moment in (1.0, 30.0, 59.0):
        at = 500 + moment * 1.002
        mapped = at + found.offset_s + found.drift * (at - found.reference_s)
        assert mapped == pytest.approx(moment, abs=2 * found.uncertainty_s)
    assert found.drift == pytest.approx(1 / 1.002 - 1, abs=5e-5)


def test_few_arrivals_tell_nothing():
    assert isinstance(clock_of_meter(np.empty((0, 2))), RefusedAlignment)
    assert isinstance(clock_of_meter(np.stack([np.arange(100) * 0.01] * 2, axis=1)), RefusedAlignment)


def test_alignments_that_contradict_each_other_are_a_reason(known):
    shifted = [dataclasses.replace(each, board_s=each.board_s + 0.5) for each in known.run.before]
    found = energy_of(dataclasses.replace(known.run, before=tuple(shifted), after=()))
    assert "the alignments contradict each other: " in rules_broken(found)


def test_the_surest_alignment_is_used_and_all_is_said(energy):
    assert energy.alignment.method == "trigger edges"
    assert energy.refused == ()
    assert energy.alignment.uncertainty_s > 0


# --- budget


def test_factors_are_students():
    scipy_stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 4, 7, 10, 20, 50, 100):
        exact = scipy_stats.t.ppf(0.5 + 0.9545 / 2, freedom)
        assert coverage_factor(freedom) == pytest.approx(exact, rel=4e-3)
    assert coverage_factor(None) == 2
    assert coverage_factor(4.9) == coverage_factor(4)
    assert coverage_factor(0.5) == coverage_factor(1)


def test_effective_freedom_is_that_of_what_dominates():
    assert effective_freedom([(1.0, 4)]) == pytest.approx(4)
    assert effective_freedom([(1.0, 4), (10.0, None)]) is None
    assert effective_freedom([(1.0, 4), (1.0, None)]) == pytest.approx(16)
    assert effective_freedom([(2.0, 4), (1.0, None)]) == pytest.approx(6.25)


def test_components_add_in_squares(energy):
    for quantity, field in ((energy.gross_j, "gross_j"), (energy.net_j, "net_j")):
        total = math.sqrt(sum(getattr(each, field) ** 2 for each in energy.components))
        assert quantity.standard_uncertainty == pytest.approx(total)
        assert quantity.expanded_uncertainty == pytest.approx(total * quantity.coverage_factor)


def test_an_offset_drops_out_of_the_net_energy_and_the_gain_does_not(known, energy):
    lines = {each.name: each for each in energy.components}
    assert lines["meter offset"].net_j == 0 < lines["meter offset"].gross_j
    assert lines["meter gain"].net_j / energy.net_j.value == pytest.approx(known.run.info.gain_uncertainty)
    assert lines["idle power"].gross_j == 0 < lines["idle power"].net_j
    assert [each.evaluation for each in energy.components] == ["B", "B", "B", "B", "A", "B"]


def test_guards_make_alignment_harmless():
    guarded, bare = (energy_of(run_of(various(8, **SHORT, guard_s=guard_s)).run, only="round trips")
                     for guard_s in (0.3, 0.0))  # fmt: skip
    shares = [next(c.gross_j for c in e.components if c.name == "alignment") / e.gross_j.value for e in (guarded, bare)]
    assert shares[1] > 3 * shares[0]


def test_energy_is_power_over_the_boards_seconds():
    known = run_of(various(5, **SHORT, meter_drift=0.03, meter_errs=False, lost_share=0.0))
    assert abs(known.drift) > 0.002
    assert energy_of(known.run).gross_j.value == pytest.approx(known.gross_j, rel=0.001)


def test_idle_is_taken_where_it_was_at_each_window():
    found = energy_of(run_of(various(3, **SHORT, drift=0.04, noise=0.002)).run)
    taken = [(each.gross_j - each.net_j) / (each.end_s - each.begin_s) for each in found.windows]
    assert taken == sorted(taken)
    share = (found.windows[-1].begin_s - found.windows[0].begin_s) / found.windows[-1].end_s
    assert taken[-1] - taken[0] > 0.5 * share * (found.idle.after_w - found.idle.before_w)


def test_one_window_has_no_uncertainty():
    found = energy_of(run_of(various(2, **SHORT, windows=1)).run)
    assert found.gross_j.value > 0
    assert (found.gross_j.standard_uncertainty, found.gross_j.coverage_factor) == (None, None)
    assert "the number of windows is 1" in rules_broken(found)


def test_coarse_steps_are_in_the_budget(known, energy):
    coarse = with_trace(known.run, current_a=np.round(known.run.trace.current_a, 1))
    lines = [next(c for c in e.components if c.name == "sampling") for e in (energy, energy_of(coarse))]
    assert lines[1].gross_j > 3 * lines[0].gross_j


# --- rules


def test_short_windows_are_said(energy):
    assert (
        rules_broken(energy)
        == f"a window lasts {min(w.end_s - w.begin_s for w in energy.windows):.4g} s, at least 10 s are needed"
    )


def test_losses_are_counted():
    found = energy_of(run_of(various(3, **SHORT, lost_share=0.004)).run)
    assert "samples were lost" in rules_broken(found)
    assert found.lost > 0.001 * found.samples


def test_a_recording_that_ends_early_is_said(known):
    found = energy_of(dataclasses.replace(known.run, incomplete="the meter was unplugged"))
    assert "the recording ends early: the meter was unplugged" in rules_broken(found)


def test_windows_that_differ_are_said(known, energy):
    first = energy.windows[0]
    begin, end = (energy.alignment.meter_s(moment) for moment in (first.begin_s, first.end_s))
    inside = (known.run.trace.time_s > begin) & (known.run.trace.time_s < end)
    found = energy_of(with_trace(known.run, power_w=known.run.trace.power_w * (1 + 0.2 * inside)))
    assert "the windows' energies differ by" in rules_broken(found)


def test_clocks_aligned_too_badly_for_the_windows_are_said():
    known = polled_run_of(various(4, chip_s=1.6, windows=2, window_s=1.0, guard_s=0.0), 2.5)
    assert "of the energy uncertain, at most 1% is allowed" in rules_broken(energy_of(known.run, only="round trips"))


def test_a_meter_at_its_end_is_said(known):
    limit = np.quantile(known.run.trace.current_a, 0.6)
    found = energy_of(with_trace(known.run, current_a=np.minimum(known.run.trace.current_a, limit)))
    assert "at its range's end" in rules_broken(found)


def test_damage_is_said(known):
    assert "500 frames or samples of the meter were damaged" in rules_broken(
        energy_of(with_trace(known.run, damaged=500))
    )


def test_an_idle_that_changes_is_said():
    assert "the idle power changed from" in rules_broken(energy_of(run_of(various(3, **SHORT, drift=0.12)).run))


def test_readings_that_hardly_change_are_said(known):
    every = 500
    held = np.repeat(known.run.trace.power_w[::every], every)[: len(known.run.trace)]
    found = energy_of(with_trace(known.run, power_w=held), only="trigger edges")
    assert "at least 20 are needed" in rules_broken(found)


def test_a_trigger_that_was_asked_for_must_be_seen(known):
    deaf = with_trace(known.run, inputs=np.zeros(len(known.run.trace), np.uint8))
    found = energy_of(dataclasses.replace(deaf, trigger_asked=True))
    assert "the trigger line was asked for and could not be used: the meter saw 0 changes" in rules_broken(found)
    assert found.alignment.method == "load code"
    assert "trigger" not in rules_broken(energy_of(deaf))


def test_throttling_in_the_run_is_said(known):
    conditions = tuple(
        ConditionsSample.from_json({"throttled": {"now": now, "since_boot": now}, "governor": "performance"})
        for now in ([], ["throttled"])
    )
    schedule = dataclasses.replace(known.run.schedule, conditions=conditions)
    found = energy_of(dataclasses.replace(known.run, schedule=schedule))
    assert "the firmware reported throttled during the windows" in rules_broken(found)


def test_windows_that_draw_no_more_than_idle_are_said():
    found = energy_of(run_of(various(3, **SHORT, busy_w=0.0)).run, only="trigger edges")
    assert "no more than the idle board's" in rules_broken(found)
    assert {each.method for each in found.refused} == {"load code"}


def test_no_samples_and_no_windows_are_no_energy(known):
    assert "gave 0 samples" in energy_of(dataclasses.replace(known.run, trace=Trace.empty())).reasons[0]
    bare = dataclasses.replace(known.run.schedule, windows=())
    assert energy_of(dataclasses.replace(known.run, schedule=bare)) == NotMeasured(("the board ran no window",))


# --- the value


def test_the_value_is_json_and_comes_back(energy):
    text = json.dumps(dataclasses.asdict(energy), allow_nan=False)
    assert decode(Energy, json.loads(text), "energy") == energy
    assert len(text) < 300_000


def test_the_drawing_keeps_highs_and_lows_on_the_boards_clock(known, energy):
    drawn = energy.trace
    assert len(drawn.time_s) <= 2000
    assert max(drawn.max_w) == pytest.approx(known.run.trace.power_w.max(), abs=1e-4)
    assert min(drawn.min_w) == pytest.approx(known.run.trace.power_w.min(), abs=1e-4)
    busy = [w for t, w in zip(drawn.time_s, drawn.mean_w, strict=True)
            if energy.windows[0].begin_s + 0.1 < t < energy.windows[0].end_s - 0.1]  # fmt: skip
    assert np.mean(busy) == pytest.approx(energy.windows[0].mean_w, rel=0.01)


def test_a_digest_tells_traces_apart(known):
    other = with_trace(known.run, power_w=known.run.trace.power_w + 1e-9)
    assert digest(known.run.trace) != digest(other.trace)


def test_an_estimate_stays_one(known):
    info = dataclasses.replace(known.run.info, is_estimate=True)
    assert energy_of(dataclasses.replace(known.run, info=info)).is_estimate


def test_a_schedule_is_read_from_the_agents_result():
    result = {
        "idle_s": [[0, 1]], "codes": [{"begin_s": 1, "end_s": 2, "busy_s": [[1.2, 1.5]], "blur_s": 1e-3}],
        "windows": [{"begin_s": 3, "end_s": 13, "runs": 40}], "marks": [[1.2, 1, 1e-5]], "chip_s": 0.1,
        "conditions": [{"time_s": 0, "governor": "performance"}],
        "runtime": {"name": "ai-edge-litert", "version": None},
    }  # fmt: skip
    schedule = Schedule.from_result(decode(EnergyResult, result, "result"))
    assert schedule.whole == Stretch(0, 13)
    assert schedule.windows[0].count == 40
    assert schedule.conditions[0].governor == "performance"


def test_power_knows_its_delay():
    power = power_of(trace_of([0, 1, 2, 3], [1, 1, 1, 1]), "edge", polled=False)
    assert isinstance(power, Power)
    assert power.lag_s == pytest.approx(math.hypot(0.0023, 1 / 12**0.5))


def test_boards_differ():
    assert various(1) != various(2)
    assert Board(1).seed == 1


def test_a_fast_meter_is_aligned_as_well_and_as_quickly():
    known = polled_run_of(various(6, **SHORT), 20_000.0)
    run = dataclasses.replace(known.run, info=dataclasses.replace(known.run.info, kind="ppk2", clock="meter"))
    found = energy_of(run, only="load code")
    assert len(run.trace) > 300_000
    assert found.alignment.power_uncertainty_s < 1e-3
    assert found.gross_j.value == pytest.approx(known.gross_j, rel=0.005)


def test_coarser_power_has_the_same_joules():
    draw = np.random.default_rng(1)
    power = power_of(trace_of(np.arange(1, 10001) * 1e-4, draw.normal(3, 1, 10000)), "edge", polled=False)
    coarse = power.coarser(0.01)
    assert len(coarse.samples_w) == pytest.approx(100, abs=1)
    assert coarse.mean_w(0.1, 0.9) == pytest.approx(power.mean_w(0.1, 0.9), rel=1e-9)
    assert power.coarser(1e-5) is power


# --- verdict and words


def test_the_verdict_is_a_part_of_the_measurements(energy):
    seconds = (energy.windows[0].end_s - energy.windows[0].begin_s) / energy.windows[0].runs
    alike = [Window(1e3 * seconds, 100, 100 * seconds)] * 5
    found = energy_verdict(energy, alike)
    assert found.reasons == tuple(f"energy: {reason}" for reason in energy.reasons)
    assert energy_verdict(None, alike).valid
    missing = energy_verdict(NotMeasured(("the meter gave 0 samples",)), alike)
    assert missing.reasons == ("energy: not measured: the meter gave 0 samples",)


def test_inferences_that_took_another_time_are_said(energy):
    seconds = (energy.windows[0].end_s - energy.windows[0].begin_s) / energy.windows[0].runs
    faster = [Window(800 * seconds, 100, 80 * seconds)] * 5
    assert "%), at most 10% is allowed: heat, or" in energy_verdict(energy, faster).reasons[-1]


@pytest.mark.parametrize(
    ("value", "expanded", "said"),
    [
        (0.12341, 0.0041, "123.4 mJ +- 4.1 mJ (k=2)"),
        (1.2345, 0.041, "1.234 J +- 0.041 J (k=2)"),
        (5.6e-5, 1.2e-6, "56.0 uJ +- 1.2 uJ (k=2)"),
        (250.4, 12.0, "250 J +- 12 J (k=2)"),
    ],
)
def test_joules_have_the_digits_of_their_uncertainty(value, expanded, said):
    assert format_joules(Quantity(value, expanded / 2, expanded, 2.0, None)) == said


def test_what_is_unknown_or_an_estimate_is_said(energy):
    assert format_joules(Quantity(0.5, None, None, None, None)) == "500 mJ +- unknown"
    text = "\n".join(energy_summary(dataclasses.replace(energy, is_estimate=True)))
    assert "(ESTIMATE)" in text
    assert "aligned by trigger edges" in text
    assert list(energy_summary(None)) == []
