"""The section on energy: figures with their uncertainty, the power over time, the budget, and INVALID where it is."""

from __future__ import annotations

import dataclasses
import json
import re
from importlib.resources import files

import pytest
from sample_energy import BUSY_W, LATENCY_S, sample_energy
from sample_measurements import real_measurement, scaled

from edge.measure.measurement import Validity
from edge.measure.measurement_files import measurement_from_json, save_measurements
from edge.report.material import Material, entries_of
from edge.report.sections.energy_section import energy_section, power_chart
from edge.report.write import compose, write_report

REASON = "a window lasts 3 s, at least 10 s are needed"


def with_energy():
    """Two variants: one valid, one whose energy is invalid and an estimate."""
    fine = dataclasses.replace(scaled("net-int8", factor=1.0, model_bytes=1, correct=1), energy=sample_energy())
    broken = dataclasses.replace(
        scaled("net-fp32", factor=3.0, model_bytes=1, correct=1, valid=False),
        energy=sample_energy(factor=3.0, reasons=(REASON,), is_estimate=True),
        validity=Validity(valid=False, reasons=(f"energy: {REASON}",), unknown=()),
    )
    return [fine, broken]


@pytest.fixture
def section():
    return energy_section(entries_of(Material(measurements=tuple(with_energy()), artifacts=())))


def test_figures_have_their_uncertainty_and_verdict(section):
    first, second = section.tables[0].rows
    gross_mj = 1e3 * BUSY_W * LATENCY_S
    spread_mj = 2.05 * gross_mj * (0.003**2 + 0.001**2) ** 0.5
    assert first[:2] == ("net-int8", f"{gross_mj:.2f} ± {spread_mj:.2f}")
    assert (first[-1], second[-1]) == ("valid", "INVALID")
    assert second[0] == "net-fp32 (estimate)"


def test_each_quantity_has_its_own_coverage_factor():
    energy = sample_energy()
    energy = dataclasses.replace(energy, net_j=dataclasses.replace(energy.net_j, coverage_factor=2.87))
    measurement = dataclasses.replace(real_measurement(), energy=energy)
    table = energy_section(entries_of(Material(measurements=(measurement,), artifacts=()))).tables[0]
    heads = [column.head for column in table.columns]
    assert (table.rows[0][heads.index("k")], table.rows[0][heads.index("k, net")]) == ("2.05", "2.87")


def test_the_meter_the_alignment_and_the_reasons_are_said(section):
    said = "\n".join(section.paragraphs)
    assert "edge power meter, INA226 (bench), 201 new readings/s, 3 of 14003 samples lost" in said
    assert "aligned by load code, standard uncertainty 2.6 ms (correlation 0.98" in said
    assert f"INVALID, net-fp32: {REASON}." in said
    assert "An estimate." in said


def test_the_budget_is_a_table_per_variant(section):
    budget = section.tables[1]
    assert [row[0] for row in budget.rows] == ["meter gain", "repeatability"]
    assert [row[1] for row in budget.rows] == ["B", "A"]
    assert budget.rows[0][4] == "90.0 %"
    assert not budget.folded


def test_without_energy_there_is_no_section():
    assert energy_section(entries_of(Material(measurements=(real_measurement(),), artifacts=()))) is None


def test_without_net_or_uncertainty_they_are_unknown():
    bare = sample_energy()
    bare = dataclasses.replace(
        bare, net_j=None, idle=None,
        gross_j=dataclasses.replace(bare.gross_j, standard_uncertainty=None, expanded_uncertainty=None,
                                    coverage_factor=None, degrees_of_freedom=None),
    )  # fmt: skip
    measurement = dataclasses.replace(real_measurement(), energy=bare)
    found = energy_section(entries_of(Material(measurements=(measurement,), artifacts=())))
    row = found.tables[0].rows[0]
    assert row[1].endswith("± unknown")
    assert row[2] == row[3] == row[4] == row[7] == "unknown"
    json.dumps([chart.spec for chart in found.charts])


def test_points_are_thinned_and_windows_shaded():
    spec = power_chart(sample_energy())
    shaded, area, line = (layer["data"]["values"] for layer in spec["layer"])
    assert len(shaded) == 5
    assert area == line
    assert 400 <= len(line) <= 600
    assert max(point["high"] for point in line) == pytest.approx(BUSY_W + 0.2)


def test_charts_use_only_colours_of_the_style_sheet(section):
    style = files("edge.report.html").joinpath("page.css").read_text()
    for chart in section.charts:
        text = json.dumps(chart.spec)
        assert set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) <= set(re.findall(r"(--[a-z0-9-]+):", style))
        assert not re.findall(r"#[0-9a-f]{3,8}\b", text)
        assert all(f".{key.swatch}" in style for key in chart.legend)


def test_measurements_with_energy_come_back_and_older_ones_still_load():
    measurement = with_energy()[0]
    assert measurement_from_json(json.loads(json.dumps(measurement.to_json()))) == measurement
    assert real_measurement().energy is None


def test_hostile_texts_stay_texts():
    evil = "</script><b>\n| x |"
    energy = sample_energy(reasons=(evil,))
    energy = dataclasses.replace(energy, meter=dataclasses.replace(energy.meter, identity=evil, name=evil))
    measurement = dataclasses.replace(real_measurement(), energy=energy)
    document = compose(Material(measurements=(measurement,), artifacts=()))
    assert any(section.title == "Energy" for section in document.sections)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_draws_power_bars_and_whiskers(browser, tmp_path, width, dark):
    save_measurements(tmp_path / "two.json", with_energy())
    write_report([tmp_path / "two.json"], tmp_path / "report.html")
    page = browser.new_page()
    page.screen(width, 900, dark=dark, phone=width < 500)
    page.open(tmp_path / "report.html")
    states = dict(page.value(
        "[...document.querySelectorAll('#energy-section figure')]"
        ".map((f) => [f.querySelector('.canvas').dataset.chart, f.dataset.state])"
    ))  # fmt: skip
    assert states == {"energy": "drawn", "power-0": "drawn", "power-1": "drawn"}
    assert page.problems == []
    assert page.value("document.documentElement.scrollWidth") <= width

    def marks(chart, kind):
        return page.value(f"document.querySelectorAll('[data-chart={chart}] .{kind} path').length")

    assert marks("energy", "mark-rect") == 4
    assert page.value("document.querySelectorAll('[data-chart=energy] .mark-rule.role-mark line').length") == 6
    assert marks("power-0", "mark-rect") == 5
    assert page.value("document.querySelectorAll('#energy-section > .scroll td.bad').length") == 1


@pytest.mark.parametrize("huge", [1e160, 1e308, 5e-324])
def test_absurd_figures_are_no_fault(huge):
    energy = sample_energy()
    absurd = dataclasses.replace(
        energy,
        gross_j=dataclasses.replace(energy.gross_j, value=huge, expanded_uncertainty=huge),
        net_j=dataclasses.replace(energy.net_j, expanded_uncertainty=huge),
        components=tuple(dataclasses.replace(each, gross_j=huge, net_j=-huge) for each in energy.components),
        windows=tuple(dataclasses.replace(each, gross_j=huge, net_j=huge) for each in energy.windows),
        mean_w=huge,
    )
    document = compose(Material(measurements=(dataclasses.replace(real_measurement(), energy=absurd),), artifacts=()))
    found = next(section for section in document.sections if section.title == "Energy")
    cells = [cell for table in found.tables for row in table.rows for cell in row]
    assert all(len(cell) < 40 or " " in cell.strip() for cell in cells), cells
    assert not any("nan" in cell or "inf" in cell for cell in cells), cells
