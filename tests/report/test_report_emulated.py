"""What the report says of emulated boards: counted instructions, and nothing only a real board can tell."""

from __future__ import annotations

import dataclasses
import json

import pytest
from sample_measurements import counted, emulated, real_measurement, scaled, variants

from edge.measure.measurement import Instructions, SparseKernelCount
from edge.report.document import DataTable
from edge.report.markdown import markdown_of
from edge.report.material import Material
from edge.report.write import compose

BOARD = emulated(scaled("net-sparse", factor=1, model_bytes=9_000_000, correct=None))


def sections(*measurements):
    document = compose(Material(measurements=measurements, artifacts=()))
    return {section.key: section for section in document.sections}


def segments(chart):
    return {value["part"]: value["value"] for layer in chart.spec["layer"] for value in layer["data"]["values"]
            if "part" in value and layer["mark"]["type"] == "rect"}  # fmt: skip


def colors(chart):
    return {key.text: key.swatch for key in chart.legend}


def columns(table: DataTable, row: int = 0) -> dict[str, str]:
    return dict(zip([column.head for column in table.columns], table.rows[row], strict=True))


def test_instructions_are_stacked_by_family_and_listed_by_microkernel():
    section = sections(BOARD)["instructions-section"]
    (chart,) = section.charts
    assert segments(chart) == pytest.approx(
        {"spmm": 50, "gemm": 30, "dwconv2d_chw": 15, "XNNPACK, around its kernels": 4, "other functions": 1}
    )
    assert chart.spec["layer"][2]["encoding"]["x"]["axis"]["title"] == "instructions per inference (million)"
    totals, kernels = section.tables
    assert columns(totals) == {
        "Variant": "net-sparse", "Million": "100", "Instructions": "100,000,000", "Estimates": "2",
        "Estimates differ by": "750 (< 0.1 %)",
    }  # fmt: skip
    assert columns(kernels, 1) == {
        "Microkernel": "xnn_f32_gemm_minmax_ukernel_7x8__asm_aarch64_neonfma_ld128_2", "Family": "gemm",
        "Count (million)": "20.0", "Share": "20.0 %",
    }  # fmt: skip
    assert section.paragraphs[0].startswith("Counted instructions are exact, but they are not time")


def test_a_family_has_the_colour_of_its_kernels_times_and_no_other_kernels():
    found = sections(*variants(), BOARD)
    times, counts = colors(found["kernels-section"].charts[0]), colors(found["instructions-section"].charts[0])
    assert counts["gemm"] == times["Fully Connected GEMM"]
    assert len(set(counts.values())) == len(counts)
    assert counts["spmm"] not in times.values()


def test_families_beyond_the_colours_are_drawn_with_the_other_functions():
    own = counted()
    many = tuple(dataclasses.replace(own.kernels[0], family=f"family{n}", per_inference=10e6 - n) for n in range(10))
    (chart,) = sections(dataclasses.replace(BOARD, instructions=dataclasses.replace(own, kernels=many)))[
        "instructions-section"
    ].charts
    drawn = segments(chart)
    assert list(drawn)[:6] == [f"family{n}" for n in range(6)]
    assert drawn["other functions"] == pytest.approx(40, rel=1e-3)


def test_a_bare_count_is_one_bar():
    section = sections(dataclasses.replace(BOARD, instructions=Instructions(812_345_678.0, None)))[
        "instructions-section"
    ]
    assert segments(section.charts[0]) == pytest.approx({"all functions": 812.345678})
    (totals,) = section.tables
    assert columns(totals)["Estimates differ by"] == columns(totals)["Estimates"] == "unknown"


def test_nothing_is_said_that_only_a_board_can_tell():
    text = markdown_of(compose(Material(measurements=(BOARD,), artifacts=())))
    for word in ("windows of", "warm-up", "Governor", "All samples", "Latency", "p99", "Peak memory", "Energy:"):
        assert word not in text, word
    assert "net-sparse ran under emulation: Raspberry Pi 4 Model B (emulated by QEMU 7.2.22), CPU cortex-a72." in text
    assert "net-sparse: 100 million instructions per inference on emulated-pi4 (counted, not timed)." in text
    (machines,) = sections(BOARD)["conditions-section"].tables
    assert (columns(machines)["Cores"], columns(machines)["Memory (MB)"]) == ("—", "—")


def test_beside_an_emulated_board_the_measured_keep_plan_and_conditions():
    found = sections(variants()[0], BOARD)
    conditions, plan = found["conditions-section"].tables[0], found["validity-section"].tables[0]
    assert [row[0] for row in conditions.rows] == ["net-fp32 · local"]
    assert [columns(plan, row)["Plan"] == "—" for row in (0, 1)] == [False, True]
    assert "net-sparse" not in json.dumps(dataclasses.asdict(conditions))


@pytest.mark.parametrize(
    ("sparse", "text"),
    [(SparseKernelCount(34, 34), "34 of 34"), (SparseKernelCount(0, 34), "none of 34"), (None, "unknown"),
     (SparseKernelCount(0, 0), "no 1x1 convolutions")],
    ids=["all", "none", "unknown", "no convolutions"],
)  # fmt: skip
@pytest.mark.parametrize("measurement", [real_measurement(), BOARD], ids=["measured", "emulated"])
def test_the_summary_says_whether_sparse_kernels_ran(measurement, sparse, text):
    (table,) = sections(dataclasses.replace(measurement, sparse_kernels=sparse))["summary"].tables
    assert columns(table)["Sparse kernels ran"] == text
