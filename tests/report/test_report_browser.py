"""The page as a reader has it: opened from the disk in a real browser."""

from __future__ import annotations

import dataclasses
import json

import pytest
from sample_measurements import emulated, real_measurement, scaled, variants

from edge.measure.measurement_files import save_measurements
from edge.report.sections.latency_section import thin_out
from edge.report.write import write_report

HOSTILE = "</script><img src=x onerror=\"window.pwned='yes'\"><b>&amp;{{7*7}}`${1}`"
FIGURES = (
    "[...document.querySelectorAll('figure')].map((f) => [f.querySelector('.canvas').dataset.chart, f.dataset.state])"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of five variants and one emulated board."""
    folder = tmp_path_factory.mktemp("report")
    save_measurements(folder / "six.json", [*variants(), emulated(real_measurement())])
    write_report([folder / "six.json"], folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_charts_are_drawn_without_an_error_or_a_request(browser, report, width, dark):
    page = browser.new_page()
    page.screen(width, 844, dark=dark, phone=width < 500)
    page.open(report)
    drawn = dict(page.value(FIGURES))
    assert set(drawn) == {
        "latency", "all-cores", "kernels", "size-0", "accuracy-0", "instructions",
    }  # fmt: skip
    assert set(drawn.values()) == {"drawn"}
    assert page.problems == []
    assert page.requests == [report.as_uri()]
    assert page.value("document.documentElement.scrollWidth") <= width
    page.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.value("document.documentElement.scrollWidth") <= width


def test_every_dot_bar_and_point_is_there(browser, report):
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(report)

    def marks(chart, kind):
        return page.value(f"document.querySelectorAll('[data-chart={chart}] .{kind} path').length")

    five = variants()
    limit = max(one.latency_ms.p99 for one in five) * 1.06
    dots = sum(ms <= limit for one in five for ms, _ in thin_out(one.latency_ms.values))
    assert marks("latency", "mark-symbol") == dots + sum(len(one.windows) for one in five)
    families = {each.name for one in five for each in one.kernels}
    assert marks("kernels", "mark-rect") >= 5 * min(len(families), 4)
    assert marks("size-0", "mark-symbol") == 5
    assert marks("accuracy-0", "mark-symbol") == 4
    assert marks("instructions", "mark-rect") == 5


def test_bars_are_as_high_as_laid_out_however_few_they_are(browser, report):
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(report)
    for chart in ("kernels", "instructions"):
        bar = f"document.querySelector('[data-chart={chart}] .mark-rect path').getBoundingClientRect().height"
        assert 20 <= page.value(bar) <= 32, chart


def test_colours_follow_the_scheme_and_print(browser, report):
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(report)
    fill = "getComputedStyle(document.querySelector('[data-chart=kernels] .mark-rect path')).fill"
    light = page.value(fill)
    page.screen(1280, 900, dark=True)
    dark = page.value(fill)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert light == "rgb(0, 114, 178)"
    assert dark != light
    assert page.value(fill) == light


def test_hostile_names_are_shown_and_never_run(browser, tmp_path):
    real = real_measurement()
    evil = dataclasses.replace(
        real,
        artifact=dataclasses.replace(real.artifact, name=HOSTILE, path=HOSTILE, recipe=HOSTILE),
        device=dataclasses.replace(real.device, name=HOSTILE, facts={"board": HOSTILE, "kind": HOSTILE}),
        runtime=dataclasses.replace(real.runtime, name=HOSTILE),
        kernels=tuple(dataclasses.replace(each, name=HOSTILE + each.name) for each in real.kernels),
        operators=tuple(dataclasses.replace(each, kernel=HOSTILE, op=HOSTILE) for each in real.operators),
        validity=dataclasses.replace(real.validity, valid=False, reasons=(HOSTILE,), unknown=(HOSTILE,)),
        conditions=dataclasses.replace(real.conditions, before={"governor": HOSTILE, HOSTILE: HOSTILE}, samples=()),
        notes=(HOSTILE,),
    )
    save_measurements(tmp_path / "evil.json", [evil])
    out = tmp_path / "evil.html"
    write_report([tmp_path / "evil.json"], out, title=HOSTILE)
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(out)
    _hover(page, "[data-chart=kernels] .mark-rect path")
    assert page.value("document.querySelector('#vg-tooltip-element.visible') !== null")
    assert "onerror" in page.value("document.querySelector('#vg-tooltip-element').textContent")
    assert page.value("typeof window.pwned") == "undefined"
    assert page.value("document.images.length + document.querySelectorAll('main b').length") == 0
    assert page.value("document.title") == page.value("document.querySelector('h1').textContent") == HOSTILE
    assert {state for _, state in page.value(FIGURES)} == {"drawn"}
    assert page.problems == []
    assert page.requests == [out.as_uri()]


def test_the_policy_stops_what_is_slipped_in(browser, report, tmp_path):
    text = report.read_text()
    tampered = tmp_path / "tampered.html"
    tampered.write_text(
        text.replace("</main>", "</main><script>window.pwned = 1</script><img src='http://127.0.0.1:9/x'>")
    )
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(tampered)
    assert page.value("typeof window.pwned") == "undefined"
    assert sum("Content Security Policy" in problem for problem in page.problems) == 2


def test_tables_remain_without_scripts(browser, report):
    page = browser.new_page()
    page.screen(390, 844, phone=True)
    page.open(report, javascript=False)
    assert page.value("document.querySelectorAll('svg').length") == 0
    assert page.value("getComputedStyle(document.querySelector('.canvas')).display") == "none"
    assert page.value("document.querySelector('noscript').textContent.includes('in the tables')")
    page.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    text = page.value("document.querySelector('main').innerText")
    for one in variants():
        assert one.artifact.name in text
    assert "Window medians (ms)" in text
    assert page.value("document.documentElement.scrollWidth") <= 390


def test_charts_have_words_for_those_who_cannot_see_them(browser, report):
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(report)
    said = page.value("[...document.querySelectorAll('.canvas')].map((c) => [c.getAttribute('role'), c.ariaLabel])")
    assert {role for role, _ in said} == {"img"}
    assert all("net-int8" in label or "emulated" in label or "_quant" in label for _, label in said)
    headings = page.value("[...document.querySelectorAll('h1, h2')].map((h) => h.tagName)")
    assert headings[0] == "H1"
    assert headings.count("H1") == 1


def test_a_chart_that_fails_says_so(browser, report, tmp_path):
    broken = tmp_path / "broken.html"
    head, tail = report.read_text().split('id="specs">', 1)
    specs, tail = tail.split("</script>", 1)
    charts = {**json.loads(specs), "kernels": {"$schema": "none", "mark": "no such mark"}}
    broken.write_text(f'{head}id="specs">{json.dumps(charts)}</script>{tail}')
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(broken)
    assert dict(page.value(FIGURES))["kernels"] == "failed"
    assert "could not be drawn" in page.value("document.querySelector('[data-chart=kernels]').textContent")
    assert page.problems


def _hover(page, selector):
    page.value(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
    box = page.value(
        f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for shift in (0, 1):
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + shift, y=box[1])


def test_names_break_behind_an_underscore_and_are_still_found(browser, tmp_path):
    name = "mobilenet_v2_1.0_224_with_a_long_name_int8"
    save_measurements(tmp_path / "one.json", [scaled(name, factor=1.0, model_bytes=1, correct=1)])
    write_report([tmp_path / "one.json"], tmp_path / "one.html")
    page = browser.new_page()
    page.screen(1280, 900)
    page.open(tmp_path / "one.html")
    said = page.value("[...document.querySelectorAll('#summary th[scope=row]')].map((th) => th.innerHTML)")
    assert said == [name.replace("_", "_<wbr>")]
    assert page.value("document.querySelector('#summary th[scope=row]').textContent") == name
    assert page.value(f"window.find({name!r})")
