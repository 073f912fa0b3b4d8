"""`edge compare` as a process: verdicts, exit codes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge.measure.measurement import Validity, Window
from edge.measure.measurement_files import load_measurements, save_measurements

SAMPLE = Path(__file__).parents[1] / "measure" / "data" / "mobilenet_v1_0.25_128_quant.json"
BASE = (10.0, 10.1, 9.9, 10.05, 9.95)


def edge(*args):
    return subprocess.run(
        [sys.executable, "-m", "edge", "compare", *map(str, args)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def write(tmp_path):
    """A function that writes a measurement with windows `factor` times as long as the base, and returns its path."""

    def build(name, factor=1.0, spread=1.0, reasons=()):
        medians = [factor * (10 + spread * (value - 10)) for value in BASE]
        value = replace(
            load_measurements(SAMPLE)[0],
            windows=tuple(Window(each, 50, 0.5) for each in medians),
            validity=Validity(valid=not reasons, reasons=reasons, unknown=()),
        )
        save_measurements(tmp_path / name, [value])
        return tmp_path / name

    return build


def test_slower_than_allowed_exits_12_and_names_the_model(write):
    ended = edge(write("a.json"), write("b.json", 1.2), "--fail-if-slower", "5%")
    assert ended.returncode == 12
    assert "SLOWER: a slow-down of more than 5 % is shown" in ended.stdout
    assert "error: slower than allowed: mobilenet_v1_0.25_128_quant" in ended.stderr


def test_without_the_option_a_slow_down_is_told_but_no_failure(write):
    ended = edge(write("a.json"), write("b.json", 1.2))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "SLOWER" in ended.stdout


def test_a_slow_down_within_the_margin_passes(write):
    ended = edge(write("a.json"), write("b.json", 1.2), "--fail-if-slower", "50%", "--json")
    assert ended.returncode == 0
    document = json.loads(ended.stdout)
    assert document["verdict"] == "not slower"
    assert document["comparisons"][0]["finding"]["ratio"] == pytest.approx(1.2)


def test_inconclusive_passes_unless_asked_and_says_so(write):
    files = write("a.json", spread=20), write("b.json", 1.05, spread=20)
    ended = edge(*files, "--fail-if-slower", "5%")
    assert ended.returncode == 0
    assert "INCONCLUSIVE" in ended.stdout
    strict = edge(*files, "--fail-if-slower", "5%", "--fail-if-inconclusive")
    assert strict.returncode == 11
    assert "error: inconclusive" in strict.stderr


def test_invalid_measurements_are_refused_unless_forced(write):
    invalid = write("b.json", reasons=("too warm",))
    refused = edge(write("a.json"), invalid)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "the second measurement is invalid (too warm)" in refused.stderr
    assert "--force" in refused.stderr
    told = edge(write("a.json"), invalid, "--force")
    assert told.returncode == 0
    assert "COMPARED ANYWAY: the second measurement is invalid" in told.stdout


def test_many_reasons_are_told_one_by_one_within_80_columns(write):
    reasons = (
        "other processes used 68% of all processors during the windows, at most 10% is allowed; the busiest was git",
        "all cores (2 threads): the window medians differ by 52.9%, at most 10% is allowed",
    )
    refused = edge(write("a.json", reasons=reasons), write("b.json", reasons=("too warm",)))
    assert (refused.returncode, refused.stdout) == (3, "")
    told = refused.stderr.partition("hint:")[0].splitlines()
    assert told == [
        "error: mobilenet_v1_0.25_128_quant cannot be compared:",
        "  the first measurement is invalid:",
        "    - other processes used 68% of all processors during the windows, at most 10%",
        "      is allowed; the busiest was git",
        "    - all cores (2 threads): the window medians differ by 52.9%, at most 10% is",
        "      allowed",
        "  the second measurement is invalid (too warm)",
    ]


@pytest.mark.parametrize("percent", ["5", "0.05", "-5%", "five%", "nan%", "5%5", "%", ""])
def test_a_margin_that_is_no_percentage_is_a_usage_error(write, percent):
    ended = edge(write("a.json"), write("b.json"), "--fail-if-slower", percent)
    assert ended.returncode == 2
    assert "write it like 5%" in ended.stderr


def test_a_missing_or_foreign_file_is_named(write, tmp_path):
    ended = edge(write("a.json"), tmp_path / "none.json")
    assert ended.returncode == 3
    assert "none.json" in ended.stderr
    assert "hint:" in ended.stderr
    (tmp_path / "foreign.json").write_text('{"schema": "edge-measurement/7"}')
    ended = edge(tmp_path / "foreign.json", write("b.json"))
    assert ended.returncode == 3
    assert "edge-measurement/7" in ended.stderr
