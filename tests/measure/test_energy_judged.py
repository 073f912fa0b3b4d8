"""The promise: on a board whose joules are known, energy within 1 %, and the stated uncertainty holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_board import run_of, various

from edge.measure.energy.analyse import energy_of

METHODS = ("trigger edges", "load code", "round trips")
RUNS = 100


@pytest.fixture(scope="module")
def judged():
    """By method, arrays of (error, standard uncertainty, expanded uncertainty), relative, of gross and of net."""
    found = {(method, kind): [] for method in METHODS for kind in ("gross", "net", "clock")}
    for seed in range(RUNS):
        known = run_of(various(seed))
        schedule = known.run.schedule
        at = schedule.windows[0].begin_s - schedule.whole.begin_s
        truth_s = schedule.windows[0].begin_s + known.offset_s + known.drift * at
        for method in METHODS:
            energy = energy_of(known.run, only=method)
            assert energy.reasons == (), seed
            for kind, value, truth in (("gross", energy.gross_j, known.gross_j), ("net", energy.net_j, known.net_j)):
                found[method, kind].append(
                    (value.value / truth - 1, value.standard_uncertainty / truth, value.expanded_uncertainty / truth)
                )
            u = energy.alignment.uncertainty_s
            found[method, "clock"].append((energy.alignment.meter_s(at) - truth_s, u, 2 * u))
    return {key: np.array(rows) for key, rows in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["gross", "net"])
def test_energy_is_right_and_its_uncertainty_honest(judged, method, kind, record_property):
    error, standard, expanded = judged[method, kind].T
    covered = int((np.abs(error) <= expanded).sum())
    ratio = float(np.sqrt(np.mean((error / standard) ** 2)))
    record_property("figures", f"{covered} of {RUNS}, worst {np.abs(error).max():.2%}, ratio {ratio:.2f}")
    assert np.abs(error).max() < 0.01
    assert covered >= 95
    assert 0.3 < ratio < 1.3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_clocks_are_aligned_as_well_as_stated(judged, method):
    error, standard, expanded = judged[method, "clock"].T
    assert (np.abs(error) <= expanded).mean() >= 0.95
    assert 0.3 < np.sqrt(np.mean((error / standard) ** 2)) < 1.3
