"""What the report says: the order, the numbers, and what it keeps apart."""

from __future__ import annotations

import dataclasses
import json
import re
from importlib.resources import files

import pytest
from sample_measurements import emulated, real_measurement, scaled, variants

from edge.measure.measurement_files import measurement_from_json
from edge.report.formatting import digits, field_text, field_title, megabytes, percent
from edge.report.markdown import escape, markdown_of
from edge.report.material import Material
from edge.report.sections.kernel_section import family_of
from edge.report.sections.latency_section import domain_of, thin_out
from edge.report.write import compose, render


def document(*measurements, **options):
    return compose(Material(measurements=measurements, artifacts=()), **options)


def test_the_order_a_reader_needs():
    keys = [section.key for section in document(*variants(), emulated(real_measurement())).sections]
    assert keys == [
        "summary", "shipping", "latency-section", "kernels-section", "tradeoff-section", "instructions-section",
        "emulated-kernels-section", "validity-section", "conditions-section", "provenance-section", "unknown-section",
    ]  # fmt: skip


def test_an_invalid_measurement_is_said_first_and_is_never_the_fastest():
    bad = scaled("quick-but-wrong", factor=0.1, model_bytes=1, correct=None, valid=False)
    verdict = document(*variants()[:4], bad).verdict
    assert verdict.standing == "invalid"
    assert verdict.headline.startswith("INVALID: 1 of 5")
    assert verdict.reasons == ("quick-but-wrong: window medians differ by 18 %",)
    assert "Fastest on local: net-int8" in verdict.sentences[1]


def test_all_valid_is_said():
    verdict = document(*variants()[:4]).verdict
    assert (verdict.standing, verdict.headline) == ("valid", "All 4 measurements are valid.")


def test_emulated_and_measured_share_no_table_and_no_chart():
    shown_names = {"net-int8": False, "board": False}
    board = emulated(scaled("board", factor=1, model_bytes=9, correct=None))
    board = dataclasses.replace(board, latency_ms=real_measurement().latency_ms)
    for section in document(variants()[3], board).sections:
        if section.key in ("conditions-section", "validity-section", "provenance-section", "unknown-section"):
            continue
        for part in (*section.charts, *section.tables):
            text = json.dumps(dataclasses.asdict(part))
            found = {name for name in shown_names if name in text}
            assert len(found) <= 1, part
            shown_names.update(dict.fromkeys(found, True))
    assert all(shown_names.values())


def test_what_is_unknown_is_visible_and_never_zero():
    bare = dataclasses.replace(
        real_measurement(), latency_ms=None, latency_all_cores_ms=None, windows=(), kernels=None, operators=None,
        kernel_profile=None, kernels_reason="no profiler in this runtime", accuracy=None,
        memory=dataclasses.replace(real_measurement().memory, peak_rss_bytes=None),
    )  # fmt: skip
    report = document(bare)
    (table,) = report.sections[0].tables
    row = dict(zip([column.head for column in table.columns], table.rows[0], strict=True))
    for head in ("Median (ms)", "p99 (ms)", "All cores, median (ms)", "Accuracy", "Peak memory (MB)"):
        assert row[head] == "unknown"
    bullets = " ".join(report.sections[-1].bullets)
    assert "no profiler in this runtime" in bullets
    for word in ("Latency", "Instructions", "Energy", "Accuracy", "Peak memory"):
        assert f"{word}: unknown" in bullets


@pytest.mark.parametrize(
    "odd",
    [5, -0.0, 1e999, "text", True, [], [None], {"now": 5}, {"a": [{}]}, 10**400, None],
    ids=lambda odd: repr(odd)[:12],
)
def test_open_fields_may_hold_anything(odd):
    names = (
        "governor",
        "frequencies_khz",
        "temperature_c",
        "load_1min",
        "throttled",
        "since",
        "cpu",
        "os",
        "memory_bytes",
    )
    fields = dict.fromkeys(names, odd)
    real = real_measurement()
    strange = dataclasses.replace(
        real,
        device=dataclasses.replace(real.device, facts=fields),
        conditions=dataclasses.replace(real.conditions, before=fields, after={}, samples=(fields,)),
        artifact=dataclasses.replace(real.artifact, parity=dict.fromkeys(("samples", "cosine", "accuracy"), odd)),
    )
    material = Material(measurements=(strange,), artifacts=())
    assert "Energy" in render(compose(material), material, form="md")


def test_charts_load_nothing_and_use_only_colours_of_the_style_sheet():
    style = files("edge.report.html").joinpath("page.css").read_text()
    defined = set(re.findall(r"(--[a-z0-9-]+):", style))
    for section in document(*variants(), emulated(real_measurement())).sections:
        for chart in section.charts:
            text = json.dumps(chart.spec)
            assert '"url"' not in text
            assert set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) <= defined
            assert not re.findall(r"#[0-9a-f]{3,8}\b", text)
            assert all(f".{key.swatch}" in style for key in chart.legend)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(scheme):
    style = files("edge.report.html").joinpath("page.css").read_text()
    blocks = re.findall(r":root \{(.*?--.*?)\}", style, re.DOTALL)
    colors = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", "".join(blocks[: scheme + 1])))
    for name in ("ink", "muted", "accent", "alert", "good"):
        assert contrast(colors[name], colors["bg"]) >= 4.5, name
    assert contrast(colors["alert"], colors["alert-soft"]) >= 4.5
    assert contrast(colors["good"], colors["good-soft"]) >= 4.5
    for name in ("c1", "c2", "c3", "c4", "c5", "c6", "c-other", "c-outside"):
        assert contrast(colors[name], colors[f"on-{name}"]) >= 4.5, name


def contrast(one, other):
    """Contrast ratio of two sRGB colours (WCAG 2.2, relative luminance)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_markdown_tables_are_whole_whatever_the_names_hold():
    evil = "a|b\n\n# <script>alert(1)</script> [x](http://y) `c` **d** _e_ @team"
    real = real_measurement()
    text = markdown_of(document(dataclasses.replace(real, artifact=dataclasses.replace(real.artifact, name=evil))))
    assert "<script" not in text
    assert "\n# <" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block


def test_markdown_leaves_common_names_readable():
    assert escape("mobilenet_v2-int8") == "mobilenet_v2-int8"
    assert escape("_private_ a|b") == r"\_private\_ a\|b"


def test_json_holds_the_measurements_as_they_were():
    material = Material(measurements=tuple(variants()), artifacts=())
    value = json.loads(render(compose(material), material, form="json"))
    assert value["schema"] == "edge-report/1"
    assert [measurement_from_json(each) for each in value["measurements"]] == variants()
    assert [point["standing"] for point in value["pareto"][0]["points"]].count("front") == 3


def test_the_same_measurements_make_the_same_page():
    material = Material(measurements=tuple(variants()), artifacts=())
    assert render(compose(material), material, form="html") == render(compose(material), material, form="html")


@pytest.mark.parametrize(
    ("kernel", "family"),
    [
        ("Fully Connected (NC, QD8, F32, QC8W) GEMM", "Fully Connected GEMM"),
        ("Convolution (NCHW, F32) SPMM", "Convolution SPMM"),
        ("SOFTMAX", "SOFTMAX"),
        ("(odd)", "(odd)"),
    ],
)
def test_kernel_family(kernel, family):
    assert family_of(kernel) == family


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00002, "2.0e-5"), (0.123456, "0.123"), (1.5, "1.50"), (9.999, "10.0"), (12.34, "12.3"),
     (123.4, "123"), (12345.6, "12,346"), (-2.5, "-2.50")],
)  # fmt: skip
def test_three_significant_digits(value, text):
    assert digits(value) == text


def test_units_follow_the_names():
    assert field_title("temperature_c") == "temperature (°C)"
    assert field_text("frequencies_khz", [1_800_000, None]) == "1,800, unknown"
    assert field_text("energy_j", None) == "unknown"
    assert field_text("throttled", False) == "no"
    assert percent(0.0001) == "< 0.1 %"
    assert megabytes(3_940_000) == "3.94"


def test_thinning_keeps_time_order_and_ends():
    thin = thin_out(range(10_000), 300)
    assert len(thin) == 300
    assert thin[0][1] < 0.01
    assert thin[-1][1] > 0.99
    assert thin_out([5.0]) == ((5.0, 0.5),)
    assert thin_out([]) == ()


def test_the_axis_begins_at_zero_only_where_variants_differ():
    one, other = (scaled("a", factor=f, model_bytes=1, correct=None).latency_ms for f in (1.0, 4.0))
    assert domain_of([one, other])[0] == 0
    assert domain_of([dataclasses.replace(one, min=9.0, median=9.1, p90=9.2, p99=9.3)])[0] > 8


def test_a_place_that_all_rows_share_is_said_once():
    table = document(*variants()).sections[0].tables[0]
    heads = [column.head for column in table.columns]
    assert "Device" not in heads
    assert "Runtime" not in heads
    assert "All on local with ai-edge-litert" in table.caption
    elsewhere = dataclasses.replace(variants()[0].device, name="pi4")
    table = document(*variants(), dataclasses.replace(variants()[0], device=elsewhere)).sections[0].tables[0]
    assert [column.head for column in table.columns][:2] == ["Variant", "Threads"]
    assert table.caption.endswith("(MB). All with ai-edge-litert 2.3.0")
    alone = document(real_measurement()).sections[0].tables[0]
    assert {"Device", "Runtime"} <= {column.head for column in alone.columns}
