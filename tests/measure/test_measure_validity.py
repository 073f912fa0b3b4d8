"""Validity rules: each is broken by its own cause, kept without it, and unknown where the device is silent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge.measure.conditions import ConditionsSample
from edge.measure.measurement import Window
from edge.measure.plan import Plan
from edge.measure.validity import RULES, LatencyEvidence, join_verdicts, judge

PLAN = Plan(window_s=0.5, min_runs=5)


def sample(**changes):
    """Return the conditions of a quiet Raspberry Pi, as its agent states them, with some changed."""
    value = {
        "governor": "performance",
        "frequencies_khz": [1_800_000] * 4,
        "temperature_c": 55.0,
        "throttled": {"word": "0x0", "now": [], "since_boot": []},
        "since": {"wall_s": 0.5, "other_cpu_share": 0.01, "steal_share": 0.0},
        **changes,
    }
    return ConditionsSample.from_json(json.loads(json.dumps(value)))


def evidence(medians=(10.0, 10.1, 9.9, 10.05, 10.0), runs=50, duration_s=0.5, **changes):
    """Return a quiet run's evidence, with some of it changed."""
    return replace(
        LatencyEvidence(
            plan=PLAN,
            windows=tuple(Window(value, runs, duration_s) for value in medians),
            samples_ns=[10_000_000 + 137 * index for index in range(50)],
            conditions=(sample(since=None), *[sample() for _ in medians]),
            machine="aarch64",
        ),
        **changes,
    )


def late(changed):
    """Return conditions that change in the third window."""
    return (sample(), sample(), sample(), changed, changed, changed)


BROKEN = {
    "windows": (evidence(medians=(10.0, 10.1, 9.9)), "number of windows is 3, at least 5"),
    "window length": (evidence(duration_s=0.3), "lasted 0.300 s, 0.500 s were asked"),
    "runs": (evidence(runs=2), "holds 2 runs, at least 5"),
    "spread": (evidence(medians=(10.0, 10.1, 12.0, 9.9, 10.0)), "differ by 21.0%, at most 10%"),
    "drift": (evidence(medians=(10.0, 10.1, 10.2, 10.3, 10.4)), "rise steadily, by 3.9%"),
    "other processes": (
        evidence(conditions=late(sample(since={"wall_s": 0.5, "other_cpu_share": 0.5, "steal_share": 0}))),
        "other processes used 30% of all processors",
    ),
    "hypervisor": (
        evidence(conditions=late(sample(since={"wall_s": 0.5, "other_cpu_share": 0.0, "steal_share": 0.1}))),
        "the hypervisor took 6.0%",
    ),
    "governor": (evidence(conditions=late(sample(governor="ondemand"))), "from performance to ondemand"),
    "clock": (evidence(conditions=late(sample(frequencies_khz=[600_000] * 4))), "between 600 and 1800 MHz, by 67%"),
    "throttling": (
        evidence(conditions=late(sample(throttled={"now": ["under-voltage"], "since_boot": ["under-voltage"]}))),
        "the firmware reported under-voltage",
    ),
    "temperature": (evidence(conditions=late(sample(temperature_c=84.5))), "reached 84.5 C, at most 80 C"),
    "Edge TPU": (
        evidence(conditions=late(sample(edge_tpus=[{"temperature_c": 86.5, "trip_c": 85.0}]))),
        "the Edge TPU was 1.5 C above the temperature",
    ),
    "timer": (evidence(samples_ns=[8_000_000, 12_000_000] * 25), "steps by 4000 us, at most 1%"),
}


def test_every_rule_has_its_case():
    assert [rule.name for rule in RULES] == list(BROKEN)


def test_a_quiet_run_is_valid_and_nothing_is_unknown():
    verdict = judge(evidence())
    assert (verdict.valid, verdict.reasons, verdict.unknown) == (True, (), ())


@pytest.mark.parametrize("name", BROKEN)
def test_rule_is_broken_by_its_cause_alone(name):
    facts, words = BROKEN[name]
    verdict = judge(facts, [rule for rule in RULES if rule.name == name])
    assert not verdict.valid
    assert len(verdict.reasons) == 1
    assert words in verdict.reasons[0]
    others = judge(facts, [rule for rule in RULES if rule.name not in (name, "runs")])
    assert others.valid, others.reasons


def test_a_silent_device_makes_rules_unknown_never_broken_or_kept():
    silent = ConditionsSample.from_json({})
    verdict = judge(evidence(conditions=(silent,) * 6))
    assert verdict.valid
    assert len(verdict.unknown) == 6
    for word in ("other processes", "hypervisor", "governor", "clock", "throttling", "temperature"):
        assert any(word in each for each in verdict.unknown)


def test_fields_of_other_types_are_unknown():
    odd = ConditionsSample.from_json(
        {"governor": 3, "frequencies_khz": "fast", "temperature_c": True, "throttled": 0, "since": []}
    )
    assert odd == ConditionsSample.from_json({})


def test_a_hung_sensor_is_no_temperature():
    assert sample(temperature_c=-87.9).temperature_c is None


def test_one_missing_window_makes_the_load_unknown():
    conditions = (sample(), *[sample()] * 4, sample(since=None))
    assert any("other processes" in each for each in judge(evidence(conditions=conditions)).unknown)


def test_a_bit_from_before_the_run_does_not_count_but_a_new_one_does():
    old = {"now": [], "since_boot": ["throttled"]}
    assert judge(evidence(conditions=(sample(throttled=old),) * 6)).valid
    conditions = (*[sample()] * 5, sample(throttled=old))
    assert "reported throttled" in judge(evidence(conditions=conditions)).reasons[0]


def test_a_pc_may_be_warmer_than_a_board():
    warm = evidence(conditions=(sample(temperature_c=85.0),) * 6)
    assert not judge(warm).valid
    assert judge(replace(warm, machine="x86_64")).valid


def test_small_steady_change_and_unsteady_large_one_are_no_drift():
    for medians in ((10.0, 10.01, 10.02, 10.03, 10.04), (10.0, 10.4, 10.2, 10.5, 10.3)):
        assert judge(evidence(medians=medians)).valid


def test_too_few_samples_cannot_show_the_timer():
    assert any("timer" in each for each in judge(evidence(samples_ns=[1, 2, 3])).unknown)


def test_no_windows_at_all_is_invalid():
    assert not judge(evidence(medians=())).valid


def test_parts_are_join_verdicts_and_the_same_unknown_is_said_once():
    silent = evidence(conditions=(ConditionsSample.from_json({}),) * 6)
    broken = judge(evidence(runs=2), prefix="all cores: ")
    whole = join_verdicts([judge(silent), broken, judge(silent)])
    assert not whole.valid
    assert all(reason.startswith("all cores: ") for reason in whole.reasons)
    assert len(whole.unknown) == 6
