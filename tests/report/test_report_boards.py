"""Two boards of four variants each: fronts, charts and a variant to ship for each; predicted beside observed."""

from __future__ import annotations

import dataclasses
import json

import pytest
from sample_measurements import emulated, real_measurement, scaled

from edge.measure.advice import AdviceCriteria
from edge.measure.findings import PredictedKernels, SparseVerdict
from edge.measure.measurement import Instructions, Measurement, RecordedAccuracy, SparseKernelCount
from edge.measure.measurement_files import save_measurements
from edge.report.markdown import markdown_of
from edge.report.material import Material
from edge.report.write import compose, json_of, write_report

ROWS = (("net-fp32", 113.8, 13.9, 168, 0), ("net-int8", 110.7, 3.6, 165, 0), ("net-sparse", 52.2, 7.5, 167, 34),
        ("net-sparse-int8", 52.2, 2.4, 166, 34))  # fmt: skip


def on_board(board: str, name: str, million: float, size: float, right: int, ran: int) -> Measurement:
    made = emulated(scaled(name, factor=1, model_bytes=int(size * 1e6), correct=right))
    reasons = () if ran else ("the model is not pruned",)
    predicted = PredictedKernels(board.removeprefix("emulated-"), "ai-edge-litert==2.1.6", ran, 34, False, reasons)
    return dataclasses.replace(
        made,
        device=dataclasses.replace(made.device, name=board),
        instructions=Instructions(million * 1e6, 0.0),
        accuracy=RecordedAccuracy(right, 200),
        validity=dataclasses.replace(made.validity, valid=True, reasons=()),
        sparse_kernels=SparseKernelCount(ran, 34),
        sparse_verdict=SparseVerdict(predicted, True, ran > 0, "kernel names", ""),
    )


def two_boards() -> list[Measurement]:
    return [on_board(board, *row) for board in ("emulated-pi4", "emulated-pi5") for row in ROWS]


def forged(measurement: Measurement) -> Measurement:
    return dataclasses.replace(measurement, sparse_kernels=SparseKernelCount(0, 34))


def sections(*measurements, **options):
    document = compose(Material(measurements=measurements, artifacts=()), **options)
    return {section.key: section for section in document.sections}


def columns(table, row):
    return dict(zip([column.head for column in table.columns], table.rows[row], strict=True))


def test_each_board_has_charts_of_its_own_and_one_variant_to_ship():
    found = sections(*two_boards())
    charts = found["tradeoff-section"].charts
    assert [chart.key for chart in charts] == ["size-0", "accuracy-0", "size-1", "accuracy-1"]
    assert found["tradeoff-section"].title == "Size, instructions, accuracy"
    for board, chart in zip(("pi4", "pi4", "pi5", "pi5"), charts, strict=True):
        assert f"emulated-{board}" in chart.title
        standings = {row[0]: row[-2] for row in chart.table.rows}
        assert standings == {
            "net-fp32": "on the front", "net-int8": "dominated", "net-sparse": "on the front",
            "net-sparse-int8": "SHIP",
        }  # fmt: skip
        assert "point-ship" in [key.swatch for key in chart.legend]
        assert chart.spec["layer"][1]["encoding"]["x"]["axis"]["title"] == "instructions per inference (million)"
    (table,) = found["shipping"].tables
    assert [row[0] for row in table.rows] == ["emulated-pi4", "emulated-pi5"]
    assert columns(table, 0)["Variant to ship"] == "net-sparse-int8"
    assert columns(table, 0)["Speed"] == "52.2 million instructions"
    first, second, both = found["shipping"].bullets
    assert first.startswith("Ship net-sparse-int8 on emulated-pi4: ")
    assert second.startswith("Ship net-sparse-int8 on emulated-pi5: ")
    assert both.startswith("emulated-pi4, emulated-pi5: Instructions are not time")


def test_milliseconds_and_instructions_share_neither_chart_nor_table():
    timed = [
        scaled("net-a", factor=1, model_bytes=5, correct=None),
        scaled("net-b", factor=2, model_bytes=4, correct=None),
    ]
    section = sections(*timed, *two_boards()[:2])["tradeoff-section"]
    assert section.title == "Size, speed, accuracy"
    axes = [chart.spec["layer"][1]["encoding"]["x"]["axis"]["title"] for chart in section.charts]
    assert axes == ["median latency (ms)", *["instructions per inference (million)"] * 2]
    for chart in section.charts:
        text = json.dumps([chart.spec, dataclasses.asdict(chart.table)])
        assert ("net-a" in text) != ("net-fp32" in text)


def test_one_variant_alone_is_no_choice():
    assert not {"shipping", "tradeoff-section"} & sections(real_measurement()).keys()
    assert "tradeoff-section" not in sections(two_boards()[0], two_boards()[4])


def test_the_terms_are_the_users():
    every = [on_board("emulated-pi4", *row) for row in (ROWS[0], ("net-tiny", 10, 1, 100, 0))]
    assert columns(sections(*every)["shipping"].tables[0], 0)["Variant to ship"] == "net-fp32"
    lax = sections(*every, criteria=AdviceCriteria(loss=0.5))
    assert columns(lax["shipping"].tables[0], 0)["Variant to ship"] == "net-tiny"
    material = Material(measurements=tuple(every), artifacts=())
    (advice,) = json_of(compose(material), material, AdviceCriteria(loss=0.5))["advice"]
    assert (advice["device"], advice["ship"]["label"]) == ("emulated-pi4", "net-tiny")


def test_predicted_stands_beside_observed():
    (table,) = sections(*two_boards())["sparse-section"].tables
    assert columns(table, 2) == {
        "Variant": "net-sparse · emulated-pi4", "Predicted": "34 of 34", "Observed": "34 of 34",
        "Observed by": "kernel names", "Predicted and observed": "agree", "Verdict": "sparse kernels ran: 34 of 34",
    }  # fmt: skip
    assert columns(table, 0)["Verdict"] == "sparse kernels ran: none, because the model is not pruned"
    old = dataclasses.replace(two_boards()[0], sparse_verdict=None)
    assert "sparse-section" not in sections(old)


def test_sparse_kernels_come_early_only_where_there_are_any():
    dense = [on_board("emulated-pi4", *row) for row in ROWS[:2]]
    assert list(sections(*two_boards())).index("sparse-section") == 2
    assert list(sections(*dense, forged(two_boards()[2]))).index("sparse-section") == 2
    keys = list(sections(*dense))
    assert keys[keys.index("sparse-section") + 1] == "validity-section"


def test_a_forged_proof_is_told_first_and_never_shipped():
    honest = two_boards()
    material = Material(measurements=(*honest[:3], forged(honest[3])), artifacts=())
    document = compose(material)
    assert document.verdict.standing == "valid"
    assert "there are alarms" in document.verdict.headline
    (alarm,) = document.verdict.alarms
    assert alarm.startswith("net-sparse-int8 on emulated-pi4: predicted and observed sparse kernels DISAGREE")
    assert "❌ **net-sparse-int8 on emulated-pi4" in markdown_of(document)
    found = {section.key: section for section in document.sections}
    assert columns(found["summary"].tables[0], 3)["Sparse kernels ran"] == "none of 34, DISAGREES"
    assert columns(found["shipping"].tables[0], 0)["Variant to ship"] == "net-sparse"
    assert compose(Material(measurements=tuple(honest), artifacts=())).verdict.alarms == ()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_both_boards_and_shows_a_forged_proof_in_red(browser, tmp_path, width):
    honest = two_boards()
    save_measurements(tmp_path / "boards.json", [*honest[:7], forged(honest[7])])
    write_report([tmp_path / "boards.json"], tmp_path / "boards.html")
    page = browser.new_page()
    page.screen(width, 900, phone=width < 500)
    page.open(tmp_path / "boards.html")
    assert page.problems == []
    assert page.value("document.documentElement.scrollWidth") <= width
    for chart in ("size-0", "accuracy-0", "size-1", "accuracy-1"):
        assert page.value(f"document.querySelectorAll('[data-chart={chart}] .mark-symbol path').length") == 4
    assert page.value("document.querySelector('.verdict').className") == "verdict alarmed"
    red = "rgb(179, 38, 30)"
    assert page.value("getComputedStyle(document.querySelector('.alarms li')).color") == red
    cells = page.value("[...document.querySelectorAll('td')].filter((c) => c.textContent.includes('DISAGREES'))"
                       ".map((c) => getComputedStyle(c).color)")  # fmt: skip
    assert cells == [red] * 3
