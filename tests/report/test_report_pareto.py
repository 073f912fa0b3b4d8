"""Fronts: who is on them, who is not, and who is not judged."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_measurements import emulated, real_measurement, scaled, variants

from edge.measure.measurement import RecordedAccuracy
from edge.measure.measurement_files import measurement_from_json
from edge.report.material import Material, entries_of
from edge.report.sections.shipping_section import fronts
from edge.report.sections.tradeoff_section import wilson


def entries(*measurements):
    return entries_of(Material(measurements=measurements, artifacts=()))


def standings(*measurements):
    (front,) = fronts(entries(*measurements))
    return {point.label: point.standing for point in front.points}


def test_front_of_three_objectives():
    (front,) = fronts(entries(*variants()))
    assert front.objectives == ("latency", "size", "accuracy")
    assert {point.label: point.standing for point in front.points} == {
        "net-fp32": "front",
        "net-fp16": "front",
        "net-dynamic": "dominated",
        "net-int8": "front",
        "net-other": "not judged",
    }
    why = {point.label: point.why for point in front.points}
    assert "net-fp16" in why["net-dynamic"]
    assert why["net-other"] == "the measurement is invalid"


def test_unknown_accuracy_is_not_judged_and_beats_nobody():
    small = scaled("unknown", factor=0.5, model_bytes=1, correct=None)
    assert standings(*variants()[:2], small) == {"net-fp32": "front", "net-fp16": "front", "unknown": "not judged"}


def test_without_accuracies_only_latency_and_size_count():
    slow, fast = (scaled(name, factor=f, model_bytes=9, correct=None) for name, f in (("slow", 2), ("fast", 1)))
    (front,) = fronts(entries(slow, fast))
    assert front.objectives == ("latency", "size")
    assert standings(slow, fast) == {"slow": "dominated", "fast": "front"}


def test_emulated_time_is_on_no_front():
    timed = dataclasses.replace(emulated(real_measurement()), latency_ms=real_measurement().latency_ms)
    assert fronts(entries(dataclasses.replace(timed, instructions=None))) == ()
    (front,) = fronts(entries(timed))
    assert (front.speed, front.objectives) == ("instructions", ("instructions", "size"))
    assert (front.points[0].median_ms, front.points[0].instructions) == (None, 100e6)


def test_milliseconds_and_instructions_are_on_fronts_of_their_own_whatever_the_device_is_called():
    here = real_measurement()
    facts = {**here.device.facts, "kind": "emulated"}
    board = dataclasses.replace(emulated(here), device=dataclasses.replace(here.device, facts=facts))
    assert board.device.name == here.device.name
    assert [front.speed for front in fronts(entries(here, board))] == ["latency", "instructions"]


def test_devices_have_fronts_of_their_own():
    one = real_measurement().to_json()
    other = json.loads(json.dumps(one).replace('"local"', '"pi4"'))
    both = [measurement_from_json(each) for each in (one, other)]
    assert [front.device for front in fronts(entries(*both))] == ["local", "pi4"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 5)), min_size=2, max_size=7))
def test_dominated_means_beaten_by_one_on_the_front(rows):
    found = standings(
        *(scaled(str(i), factor=f, model_bytes=size, correct=right) for i, (f, size, right) in enumerate(rows))
    )
    costs = {str(i): (f, size, -right) for i, (f, size, right) in enumerate(rows)}
    front = [costs[label] for label, standing in found.items() if standing == "front"]
    assert front
    for label, standing in found.items():
        own = costs[label]
        beaten = any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in front)
        assert beaten == (standing == "dominated")


@pytest.mark.parametrize(
    ("correct", "of", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (200, 200, 0.9812, 1.0)]
)
def test_wilson_interval(correct, of, low, high):
    assert wilson(RecordedAccuracy(correct=correct, of=of)) == pytest.approx((low, high), abs=1e-4)
