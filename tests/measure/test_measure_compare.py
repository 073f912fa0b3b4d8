"""Verdicts on simulated windows keep their error rates; what is not comparable is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.measure.comparison import compare
from edge.measure.measurement import Instructions, Kernel, RuntimeRef, Validity, Window
from edge.measure.verdict import FASTER, INCONCLUSIVE, NOT_SLOWER, SLOWER, VerdictCriteria, decide
from edge.report.terminal.verdict_lines import comparison_summary

TERMS = VerdictCriteria(margin=0.05, alpha=0.05)
TRIALS = 400


@pytest.fixture
def make(sample_measurement):
    """A function that returns a valid measurement with given window medians."""

    def build(medians, name="model", **changes):
        return replace(
            sample_measurement,
            artifact=replace(sample_measurement.artifact, name=name),
            windows=tuple(Window(value, 20, 0.5) for value in medians),
            latency_ms=replace(sample_measurement.latency_ms, median=medians[0], min=0, p90=1e9, p99=1e9),
            validity=Validity(valid=True, reasons=(), unknown=()),
            **changes,
        )

    return build


def noisy_windows(generator, centre_ms, count=5):
    """Return window medians of 40 samples that depend on each other, with skewed outliers, as real ones do."""
    windows = centre_ms * np.exp(generator.normal(0, 0.02, count))
    medians = []
    for window in windows:
        slow = np.convolve(generator.normal(0, 0.01, 60), np.ones(20) / np.sqrt(20), "valid")
        medians.append(float(np.median(window * np.exp(slow + generator.exponential(0.01, len(slow))))))
    return medians


def share_of(verdict, factor, seed, criteria=TERMS):
    generator = np.random.default_rng(seed)
    found = [
        decide(
            noisy_windows(generator, 10), noisy_windows(generator, 10 * factor), criteria, unit="window medians"
        ).verdict
        for _ in range(TRIALS)
    ]
    return found.count(verdict) / TRIALS


def test_false_alarms_at_the_margin_stay_within_alpha():
    # Four standard errors of a share of 5 % in 400 trials.
    assert share_of(SLOWER, 1.05, seed=1) <= 0.05 + 4 * (0.05 * 0.95 / TRIALS) ** 0.5


def test_false_alarms_on_equal_models_are_rare():
    assert share_of(SLOWER, 1.0, seed=2) <= 0.01


def test_false_all_clear_at_the_margin_stays_within_alpha():
    assert share_of(NOT_SLOWER, 1.05, seed=3) + share_of(FASTER, 1.05, seed=3) <= 0.05 + 0.044


def test_a_slow_down_of_20_percent_is_found():
    assert share_of(SLOWER, 1.2, seed=4) >= 0.98


def test_a_speed_up_of_20_percent_is_found_and_equal_models_pass():
    assert share_of(FASTER, 0.8, seed=5) >= 0.98
    assert share_of(NOT_SLOWER, 1.0, seed=6) >= 0.75


@given(st.lists(st.floats(1, 100), min_size=3, max_size=8), st.lists(st.floats(1, 100), min_size=3, max_size=8))
def test_slower_and_its_opposite_are_never_both_shown(before, after):
    decision = decide(before, after, TERMS, unit="window medians")
    assert max(decision.p_slower, decision.p_not_slower) > TERMS.alpha
    if decision.verdict == SLOWER:
        assert decision.interval.low >= 1.05 * (1 - 1e-9)


def test_too_few_windows_are_inconclusive_and_say_so(make):
    outcome = compare([make([10.0, 10.1])], [make([20.0, 20.1])], TERMS)
    assert outcome.verdict == INCONCLUSIVE
    assert "too few to decide" in outcome.comparisons[0].finding.sentence


def test_verdicts_carry_estimate_and_interval(make):
    base = [10.0, 10.1, 9.9, 10.05, 9.95]
    outcome = compare([make(base)], [make([value * 1.2 for value in base])], TERMS)
    finding = outcome.comparisons[0].finding
    assert (outcome.verdict, finding.quantity) == (SLOWER, "latency_ms")
    assert finding.ratio == pytest.approx(1.2)
    assert finding.decision.interval.low < 1.2 < finding.decision.interval.high
    assert finding.decision.p_slower == pytest.approx(1 / 252)


def test_four_repeats_on_each_side_are_the_units(make):
    sides = [[make([base + step] * 5) for step in (0.0, 0.1, 0.2, 0.3)] for base in (10, 12)]
    decision = compare(*sides, TERMS).comparisons[0].finding.decision
    assert (decision.unit, decision.units_before, decision.units_after) == ("measurements", 4, 4)
    assert compare(sides[0][:3], sides[1][:3], TERMS).comparisons[0].finding.decision.units_before == 15


BASE = [10.0, 10.1, 9.9, 10.05, 9.95]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 4}, "thread counts differ: 1 against 4"),
        ({"runtime": RuntimeRef("tflite-runtime", "2.14.0")}, "runtimes differ"),
        (
            {"validity": Validity(valid=False, reasons=("too warm",), unknown=())},
            "second measurement is invalid (too",
        ),
    ],
)
def test_what_is_not_comparable_is_refused_unless_forced(make, changes, words):
    sides = [make(BASE)], [replace(make(BASE), **changes)]
    with pytest.raises(InputError) as caught:
        compare(*sides, TERMS)
    assert words in str(caught.value)
    assert "--force" in caught.value.hint
    assert any(words in each for each in compare(*sides, TERMS, force=True).comparisons[0].caveats)


def test_another_machine_of_the_same_name_is_another_device(make):
    other = make(BASE)
    facts = {**other.device.facts, "cpu": {**other.device.facts["cpu"], "model": "cortex-a72"}}
    with pytest.raises(InputError, match="cortex-a72"):
        compare([make(BASE)], [replace(other, device=replace(other.device, facts=facts))], TERMS)


def test_lists_are_matched_by_name_and_the_rest_is_named(make):
    outcome = compare([make(BASE, "a"), make(BASE, "b")], [make(BASE, "c"), make(BASE, "b")], TERMS)
    assert [each.name for each in outcome.comparisons] == ["b"]
    assert (outcome.only_before, outcome.only_after) == (("a on local",), ("c on local",))
    with pytest.raises(InputError, match="no model of the first file is in the second"):
        compare([make(BASE, "a"), make(BASE, "b")], [make(BASE, "c")], TERMS)


def test_two_single_models_are_compared_whatever_their_names(make):
    assert compare([make(BASE, "old")], [make(BASE, "new")], TERMS).comparisons[0].name == "old -> new"


@pytest.mark.parametrize(("count", "verdict"), [(1051, SLOWER), (1050, NOT_SLOWER), (1000, NOT_SLOWER), (900, FASTER)])
def test_instructions_are_compared_exactly(make, count, verdict):
    sides = [
        [make(BASE, latency_all_cores_ms=None, instructions=Instructions(each, None))]
        for each in (1000.0, float(count))
    ]
    silent = [[replace(side[0], latency_ms=None, windows=())] for side in sides]
    finding = compare(*silent, TERMS).comparisons[0].finding
    assert (finding.quantity, finding.verdict, finding.decision) == ("instructions", verdict, None)


def test_nothing_in_common_is_an_error(make):
    with pytest.raises(InputError, match="neither latency windows nor instruction counts"):
        compare([make(BASE)], [replace(make(BASE), latency_ms=None, windows=())], TERMS)


def test_the_gravest_verdict_is_the_outcomes(make):
    slow = [value * 1.5 for value in BASE]
    outcome = compare([make(BASE, "a"), make(BASE, "b")], [make(BASE, "a"), make(slow, "b")], TERMS)
    assert [each.finding.verdict for each in outcome.comparisons] == [NOT_SLOWER, SLOWER]
    assert outcome.verdict == SLOWER


def test_kernel_families_that_changed_are_listed(make):
    before = make(BASE, kernels=(Kernel("GEMM", 3, 100.0), Kernel("DWConv", 2, 50.0)))
    after = make(BASE, kernels=(Kernel("SPMM", 3, 40.0), Kernel("DWConv", 2, 51.0)))
    comparison = compare([before], [after], TERMS).comparisons[0]
    changes = {each.name: (each.time_before_us, each.time_after_us) for each in comparison.kernels}
    assert changes == {"GEMM": (100.0, None), "SPMM": (None, 40.0), "DWConv": (50.0, 51.0)}
    assert compare([before], [replace(after, kernels=None)], TERMS).comparisons[0].kernels is None


def test_outcome_is_json_and_text_of_80_columns(make):
    long_name = "a" * 120
    before = make(BASE, kernels=(Kernel(f"Convolution (NHWC, {long_name}) IGEMM", 3, 100.0),))
    outcome = compare([before], [make([value * 1.2 for value in BASE], kernels=before.kernels)], TERMS)
    assert json.loads(json.dumps(outcome.to_json(), allow_nan=False))["verdict"] == SLOWER
    text = comparison_summary(outcome)
    assert "SLOWER: a slow-down of more than 5 % is shown" in text
    assert max(map(len, text.splitlines())) <= 80
