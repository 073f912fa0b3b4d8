"""What to ship: each rule of the advice decides something."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.measure.advice import AdviceCriteria, ShippingAdvice, advise_each
from edge.measure.findings import PredictedKernels, SparseVerdict
from edge.measure.measurement import DeviceRef, Instructions, RecordedAccuracy, SparseKernelCount
from edge.report.terminal.verdict_lines import advice_text

FORECAST = PredictedKernels("pi4", "ai-edge-litert==2.1.6", 34, 34, False, ())


@pytest.fixture(scope="session")
def variant(sample_measurement):
    """Return the sample as another variant: on `board`, `cost` ms there, or million instructions where emulated."""

    def make(name, cost=10.0, *, size=1_000_000, right=None, of=200, board="pi4", valid=True, **fields):
        latency = sample_measurement.latency_ms
        scaled = {each: getattr(latency, each) / latency.median * cost for each in ("min", "median", "p90", "p99")}
        emulated = board.startswith("emulated-")
        return dataclasses.replace(
            sample_measurement,
            artifact=dataclasses.replace(sample_measurement.artifact, name=name),
            device=DeviceRef(board, {}),
            latency_ms=None if emulated else dataclasses.replace(latency, **scaled),
            instructions=Instructions(cost * 1e6, 0.0) if emulated else None,
            memory=dataclasses.replace(sample_measurement.memory, model_bytes=size),
            accuracy=None if right is None else RecordedAccuracy(right, of),
            validity=dataclasses.replace(sample_measurement.validity, valid=valid),
            **fields,
        )

    return make


def only(found) -> ShippingAdvice:
    (advice,) = found
    return advice


def shipped(*measurements, **criteria) -> str | None:
    ship = only(advise_each(measurements, AdviceCriteria(**criteria))).ship
    return None if ship is None else ship.label


def standings(*measurements, **criteria) -> dict[str, str]:
    return {
        each.point.label: each.standing for each in only(advise_each(measurements, AdviceCriteria(**criteria))).outcomes
    }


def test_the_fastest_of_the_accurate_enough(variant):
    every = [
        variant("fp32", 30, right=170), variant("int8", 10, right=168), variant("tiny", 5, right=150),
    ]  # fmt: skip
    assert shipped(*every) == "int8"
    assert standings(*every) == {"fp32": "on the front", "int8": "SHIP", "tiny": "too inaccurate"}
    assert shipped(*every, loss=0.10) == "tiny"
    assert shipped(*every, loss=0.0) == "fp32"
    said = " ".join(only(advise_each(every)).sentences)
    assert (
        "Ship int8 on pi4: 10.0 ms, 1.00 MB, accuracy 84.0% (168 of 200): the lowest latency of those at most 2" in said
    )
    assert "Not tiny: 10.0 points less accurate than the best, 2 points are allowed." in said


def test_exactly_the_loss_that_is_allowed_is_allowed(variant):
    assert shipped(variant("fp32", 30, right=170), variant("int8", 10, right=166)) == "int8"
    # As floating-point numbers 155 / 300 - 0.02 is more than 149 / 300.
    assert shipped(variant("fp32", 30, right=155, of=300), variant("int8", 10, right=149, of=300)) == "int8"
    assert shipped(variant("fp32", 30, right=170), variant("int8", 10, right=165)) == "fp32"


def test_of_equally_fast_ones_the_smallest_and_then_the_most_accurate(variant):
    fast, small = variant("fast", 10.0, size=9_000_000), variant("small", 10.15, size=2_000_000)
    assert shipped(fast, small) == "small"
    assert shipped(fast, small, alike=0.01) == "fast"
    assert (
        "within 2% of the lowest latency of all, and of these the smallest file"
        in only(advise_each([fast, small])).sentences[0]
    )
    assert shipped(variant("worse", right=168), variant("better", right=170)) == "better"


def test_invalid_measurements_are_not_advised(variant):
    bad = variant("bad", 1, valid=False)
    assert shipped(bad, variant("good", 10)) == "good"
    assert standings(bad, variant("good", 10))["bad"] == "not to be relied on"
    nothing = only(advise_each([bad]))
    assert nothing.ship is None
    assert nothing.sentences[0] == "Nothing can be advised for pi4: no measurement there can be relied on."
    assert nothing.sentences[1:] == ("Not bad: the measurement is invalid.",)


@pytest.mark.parametrize(
    ("ran", "corrupts", "why"),
    [(0, False, "predicted and observed sparse kernels disagree"), (34, True, "its results would be wrong there"),
     (34, False, None)],
)  # fmt: skip
def test_what_ran_not_as_predicted_or_computes_wrongly_is_not_advised(ran, corrupts, why, variant):
    predicted = dataclasses.replace(FORECAST, corrupts=corrupts)
    verdict = SparseVerdict(predicted, ran == 34, ran > 0, "kernel names", "")
    sparse = variant("sparse", 1, sparse_kernels=SparseKernelCount(ran, 34), sparse_verdict=verdict)
    advice = only(advise_each([sparse, variant("dense", 10)]))
    assert advice.ship.label == ("sparse" if why is None else "dense")
    assert (why is None) or f"Not sparse: {why}." in advice.sentences


def test_an_unknown_accuracy_is_said_and_not_advised_beside_known_ones(variant):
    unknown = variant("unknown", 1)
    every = [unknown, variant("a", 10, right=170), variant("b", 12, right=171)]
    assert shipped(*every) == "a"
    assert standings(*every)["unknown"] == "accuracy unknown"
    assert "Not unknown: its accuracy is unknown." in only(advise_each(every)).sentences
    assert "The accuracy of no variant is known" in only(advise_each([unknown])).sentences[1]
    alone = only(advise_each(every[:2]))
    assert alone.ship.label == "unknown"
    assert "Only the accuracy of a is known: it was not used." in alone.sentences[1]


def test_accuracies_from_different_numbers_of_pictures_are_told(variant):
    advice = only(advise_each([variant("a", right=170), variant("b", right=80, of=100)]))
    assert "Accuracies were counted on different numbers of images (100 and 200)." in advice.sentences


def test_never_across_devices_runtimes_threads_or_kinds_of_speed(variant):
    here = variant("a", 10)
    others = [
        variant("b", 1, board="pi5"),
        variant("c", 1, threads=4),
        variant("d", 1, runtime=dataclasses.replace(here.runtime, version="9.0")),
        variant("e", 1, board="emulated-pi4"),
        dataclasses.replace(variant("f", 1), device=DeviceRef("pi4", {"board": "another board of that name"})),
    ]
    found = advise_each([here, *others])
    assert [each.ship.label for each in found] == ["a", "b", "c", "d", "e", "f"]
    assert [each.front.speed for each in found] == ["latency"] * 4 + ["instructions", "latency"]
    assert {len(each.front.points) for each in found} == {1}
    assert "the only one that could be judged" in found[0].sentences[0]


def test_instructions_that_differ_less_than_they_repeat_are_equal(variant):
    board = "emulated-pi4"
    advice = only(advise_each([
        variant("sparse", 52.16001, size=7_000_000, board=board), variant("sparse-int8", 52.16012, size=2, board=board),
    ]))  # fmt: skip
    assert standings_of(advice) == {"sparse": "dominated", "sparse-int8": "SHIP"}
    assert advice.sentences[-1] == "Instructions are not time: where two are close, measure on the board."
    assert json.loads(json.dumps(advice.to_json()))["ship"]["median_ms"] is None


def standings_of(advice):
    return {each.point.label: each.standing for each in advice.outcomes}


def test_without_any_speed_there_is_no_advice(variant):
    assert advise_each([dataclasses.replace(variant("a"), latency_ms=None)]) == ()


def test_two_boards_fit_80_columns(variant):
    every = [
        variant(name, cost, size=size, right=right, board=board)
        for board in ("emulated-pi4", "some-board-with-a-long-name-of-its-own")
        for name, cost, size, right in (
            ("mobilenet_v2_with_a_very_long_name_indeed-sparse-int8", 1234.5, 23_400_000, 199),
            ("b-fp32", 1500, 50_000_000, 200), ("c", 1.0, 1, 3), ("d", 2, 5, None),
        )
    ]  # fmt: skip
    text = advice_text(advise_each(every))
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("What to ship\n\nemulated-pi4, ai-edge-litert 2.3.0, 1 thread, by instructions")
    rows = [line for line in text.splitlines() if line.startswith("> ")]
    assert len(rows) == 2
    assert all(row.endswith("SHIP") for row in rows)
    assert text.count("Not d: its accuracy is unknown.") == 1, "what is said of both boards stands once"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(150, 200)), min_size=1, max_size=6))
def test_what_is_advised_is_on_the_front_and_within_the_loss(variant, rows):
    every = [variant(str(i), cost, size=size, right=right) for i, (cost, size, right) in enumerate(rows)]
    advice = only(advise_each(every))
    assert advice.ship.standing == "front"
    if len(rows) > 1:
        assert advice.ship.share >= max(right for *_, right in rows) / 200 - 0.02 - 1e-9
