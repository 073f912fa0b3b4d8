"""The surgeon against brute force: every possible choice, least squares, the textbook's one-at-a-time update."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.training.oneshot.moments import Moments
from edge.training.oneshot.surgery import refit, select


def layer(inputs=8, outputs=4, *, pixels=300, noise=0.1, seed=0):
    """Inputs of a dense and of a pruned network that depend on each other, and weights."""
    random = np.random.default_rng(seed)
    dense = random.normal(size=(pixels, inputs)) @ random.normal(size=(inputs, inputs))
    pruned = dense + noise * random.normal(size=dense.shape)
    return pruned, dense, random.normal(size=(inputs, outputs))


def quadratic(pruned, dense, weights, *, centred=False, damping=1e-9):
    moments = Moments(weights)
    for part in range(0, len(pruned), 100):
        moments.add(pruned[part : part + 100], dense[part : part + 100])
    return moments.quadratic(centred=centred, damping=damping)


def mean_square(pruned, dense, weights, changed, *, centred=False):
    error = pruned @ changed - dense @ weights
    return np.square(error - error.mean(axis=0) * centred).mean(axis=0)


def one_at_a_time(problem, count):
    """Optimal Brain Surgeon as in the paper: one weight, all others corrected, the inverse worked out anew."""
    weights = np.linalg.solve(problem.hessian, problem.target)[:, 0]
    left = list(range(len(weights)))
    for _ in range(count):
        inverse = np.linalg.inv(problem.hessian[np.ix_(left, left)])
        worst = int(np.argmin(weights[left] ** 2 / np.diag(inverse)))
        weights[left] -= inverse[worst] * weights[left[worst]] / inverse[worst, worst]
        weights[left.pop(worst)] = 0
    return weights


@pytest.mark.parametrize("centred", [False, True])
def test_the_quadratic_is_the_mean_squared_error_of_any_weights(centred):
    pruned, dense, weights = layer()
    pruned += 3.0
    problem = quadratic(pruned, dense, weights, centred=centred, damping=0.1)
    for changed in (weights, np.zeros_like(weights), layer(seed=1)[2]):
        expected = mean_square(pruned, dense, weights, changed, centred=centred)
        assert problem.mean_squared_error(changed) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_correction_is_least_squares_on_the_mask(block):
    pruned, dense, weights = layer(10, 8)
    problem = quadratic(pruned, dense, weights)
    kept = select(problem, np.ones(8), sparsity=0.5, block=block)
    found = refit(problem, kept, block)
    assert (found[~kept] == 0).all()
    for output in range(8):
        rows = kept[:, output]
        best, *_ = np.linalg.lstsq(pruned[:, rows], dense @ weights[:, output], rcond=None)
        assert found[rows, output] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_one_output_is_pruned_as_the_textbook_does_it(seed):
    pruned, dense, weights = layer(12, 1, seed=seed)
    problem = quadratic(pruned, dense, weights)
    expected = one_at_a_time(problem, 7)
    kept = select(problem, np.ones(1), sparsity=7 / 12, block=1)
    assert kept[:, 0].tolist() == (expected != 0).tolist()
    assert refit(problem, kept, 1)[:, 0] == pytest.approx(expected, rel=1e-6)


def test_the_choice_is_among_the_best_of_all_choices():
    better = []
    for seed in range(8):
        pruned, dense, weights = layer(9, 1, seed=seed, noise=0.0)
        problem = quadratic(pruned, dense, weights)
        errors = []
        for rows in combinations(range(9), 4):
            best, *_ = np.linalg.lstsq(pruned[:, rows], dense @ weights, rcond=None)
            errors.append(np.square(pruned[:, rows] @ best - dense @ weights).mean())
        kept = select(problem, np.ones(1), sparsity=5 / 9, block=1)
        found = problem.mean_squared_error(refit(problem, kept, 1))[0]
        better.append(int((np.array(errors) < found * (1 - 1e-6)).sum()))
    assert np.median(better) <= 5, f"choices of 126 that are better than the greedy one: {better}"
    assert min(better) == 0


def test_groups_of_removals_lose_nothing_to_single_ones():
    pruned, dense, weights = layer(48, 6, noise=0.5, pixels=600)
    problem = quadratic(pruned, dense, weights, damping=0.01)
    errors = []
    for candidates in (6, 12, 48):
        kept = select(problem, np.ones(6), sparsity=0.7, block=2, candidates=candidates)
        errors.append(problem.mean_squared_error(refit(problem, kept, 2)).sum())
    assert errors[0] == pytest.approx(errors[2], rel=0.05)
    assert errors[1] == pytest.approx(errors[2], rel=0.02)


@settings(deadline=None, max_examples=30)
@given(
    inputs=st.integers(1, 9), outputs=st.integers(1, 13), sparsity=st.floats(0, 1), block=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_mask_is_exact_to_one_block_and_of_whole_blocks(inputs, outputs, sparsity, block, seed):
    problem = quadratic(*layer(inputs, outputs, seed=seed), damping=0.01)
    kept = select(problem, np.ones(outputs), sparsity=sparsity, block=block)
    assert abs(int((~kept).sum()) - sparsity * kept.size) <= block / 2
    for start in range(0, outputs, block):
        assert (kept[:, start : start + block] == kept[:, start : start + 1]).all()


def test_twins_are_not_removed_together():
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 4))
    x[:, 1] = x[:, 0]
    problem = quadratic(x, x, np.array([[1.0], [1.0], [0.9], [0.9]]), damping=1e-6)
    kept = select(problem, np.ones(1), sparsity=0.25, block=1)
    assert kept[:2].sum() == 1, "one of two equal inputs can speak for both"
    corrected = refit(problem, kept, 1)
    assert corrected[:2].sum() == pytest.approx(2.0, rel=1e-3)
    assert problem.mean_squared_error(corrected)[0] < 1e-6


def test_outputs_count_by_their_importance():
    pruned, dense, weights = layer(16, 2, noise=0.0)
    kept = select(quadratic(pruned, dense, weights), np.array([1.0, 1e-12]), sparsity=0.4, block=1)
    assert kept[:, 0].sum() > kept[:, 1].sum()


@pytest.mark.parametrize("pixels", [0, 1, 5, 40])
def test_degenerate_inputs_give_finite_weights(pixels):
    pruned, dense, weights = layer(12, 4, pixels=40)
    pruned, dense = pruned[:pixels].copy(), dense[:pixels].copy()
    pruned[:, 3] = dense[:, 3] = 0.0  # a dead channel
    pruned[:, 5] = pruned[:, 4]
    for centred in (False, True):
        problem = quadratic(pruned, dense, weights, centred=centred, damping=0.01)
        kept = select(problem, np.ones(4), sparsity=0.5, block=2)
        found = refit(problem, kept, 2)
        assert np.isfinite(found).all()
        assert (~kept).sum() == 24
        assert np.isfinite(problem.relative_error(found, np.ones(4)))
    if pixels > 1:
        assert not kept[3].any(), "what is always zero is not missed"
    if pixels == 0:
        assert (found[kept] == weights[kept]).all(), "nothing is known: nothing is changed"


def test_large_constant_inputs_leave_nothing_indefinite_when_centred():
    for seed in range(20):
        x = np.tile(1e4 * np.random.default_rng(seed).normal(size=12), (37, 1))
        problem = quadratic(x, x, np.ones((12, 2)), centred=True, damping=0.01)
        assert np.linalg.eigvalsh(problem.hessian).min() > 0
        assert np.isfinite(refit(problem, select(problem, np.ones(2), sparsity=0.5, block=1), 1)).all()
