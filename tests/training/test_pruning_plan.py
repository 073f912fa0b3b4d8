"""The options of pruning: schedule, blocks, overrides, and budgets on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import InputError
from edge.training.instruction_budget import (
    DENSE_COST,
    SPARSE_COST,
    LayerCandidate,
    damage_curve,
    global_sparsities,
    predict_instructions,
    solve,
)
from edge.training.pruning import block_mask
from edge.training.pruning_layers import PointwiseLayer, layer_targets
from edge.training.pruning_plan import BlockRule, CubicSchedule, Pruning, parse_block, parse_overrides


class Layer:
    """The part of a Keras layer that targets are made from."""

    def __init__(self, name, inputs, outputs, scale=1.0):
        self.name = name
        seed = sum(map(ord, name))
        self.kernel = np.random.default_rng(seed).normal(0, scale, (1, 1, inputs, outputs)).astype(np.float32)


@pytest.fixture
def layers():
    """Blocks 10 to 16 of a network and the convolution behind them; maps get smaller, layers wider."""
    found = [
        PointwiseLayer(Layer(f"block_{place}_{part}", 16 * (place - 8), 32 * (place - 8)), 10**6 // (place - 8), place)
        for place in range(10, 17)
        for part in ("expand", "project")
    ]
    return (*found, PointwiseLayer(Layer("Conv_1", 96, 256), 200_000, None))


def test_the_schedule_is_that_of_zhu_and_gupta():
    schedule = CubicSchedule(0.85, begin_step=100, end_step=500, every=100)
    for step in (100, 137, 300, 499):
        expected = 0.85 + (0 - 0.85) * (1 - (step - 100) / 400) ** 3
        assert schedule.sparsity_at(step) == pytest.approx(expected, abs=1e-12)
    assert [schedule.sparsity_at(step) for step in (0, 99, 500, 9999)] == [0, 0, 0.85, 0.85]
    assert [schedule.updates_until(step) for step in (99, 100, 199, 200, 500, 900)] == [0, 1, 1, 2, 5, 5]
    odd = CubicSchedule(0.5, begin_step=0, end_step=25, every=10)
    assert [odd.updates_until(step) for step in (9, 20, 24, 25, 99)] == [1, 3, 3, 4, 4]
    at_once = CubicSchedule(0.5, begin_step=3, end_step=3)
    assert [(at_once.sparsity_at(step), at_once.updates_until(step)) for step in (2, 3)] == [(0, 0), (0.5, 1)]


def test_new_weights_learn_before_they_are_pruned():
    pruning = Pruning(sparsity=0.9)
    assert pruning.schedule(1000, trained=False) == CubicSchedule(0.9, 250, 700, 9)
    assert pruning.schedule(1000, trained=True) == CubicSchedule(0.9, 0, 700, 14)
    assert Pruning(sparsity=0.9, begin=0.5, end=1.0, every=7).schedule(10, trained=True) == CubicSchedule(0.9, 5, 10, 7)


def test_blocks_are_read():
    assert parse_block("2") == BlockRule(2)
    assert parse_block("11-16b2") == BlockRule(2, 11, 16)
    assert parse_block("12b4") == BlockRule(4, 12, 12)


@pytest.mark.parametrize(
    "change",
    [
        {"sparsity": 0.0},
        {"sparsity": 1.0},
        {"block": "3"},
        {"block": "16-11b2"},
        {"budget": "best"},
        {"overrides": ("Conv_1",)},
        {"overrides": ("Conv_1=",)},
        {"overrides": ("Conv_1=1.5",)},
        {"begin": 0.8},
        {"end": 0.0},
        {"every": 0},
    ],
)
def test_what_cannot_be_meant_is_refused(change):
    with pytest.raises(InputError):
        Pruning(**{"sparsity": 0.85, **change})


def test_the_papers_patterns_go_by_block_of_the_network(layers):
    blocks = {t.name: t.block for t in layer_targets(Pruning(sparsity=0.85, block="11-16b2"), layers)}
    assert blocks["block_10_project"] == 1
    assert blocks["block_11_expand"] == blocks["block_16_project"] == blocks["Conv_1"] == 2
    blocks = {t.name: t.block for t in layer_targets(Pruning(sparsity=0.85, block="12b4"), layers)}
    assert [name for name, block in blocks.items() if block == 4] == ["block_12_expand", "block_12_project"]
    with pytest.raises(InputError, match="fits nothing: the network has blocks 10 to 16"):
        layer_targets(Pruning(sparsity=0.85, block="20b2"), layers)


def test_overrides_speak_of_layers_by_name(layers):
    overrides = ("block_1*_project=b4", "block_16_*=0.5", "Conv_1=0", "block_16_expand=0.9b1")
    found = {t.name: (t.sparsity, t.block) for t in layer_targets(
        Pruning(sparsity=0.8, block="2", overrides=overrides), layers)}  # fmt: skip
    assert found["block_10_expand"] == (0.8, 2)
    assert found["block_10_project"] == (0.8, 4)
    assert found["block_16_project"] == (0.5, 4)
    assert found["block_16_expand"] == (0.9, 1)
    assert found["Conv_1"][0] == 0
    assert parse_overrides(("a=.5b2",))[0].sparsity == 0.5
    with pytest.raises(InputError, match="no 1x1 convolution to prune is called 'block_99_"):
        layer_targets(Pruning(sparsity=0.8, overrides=("block_99_*=0.5",)), layers)


def test_the_global_budget_takes_the_smallest_weights_anywhere():
    small, large = (Layer(name, 32, 64, scale).kernel for name, scale in (("a", 0.1), ("b", 1.0)))
    shares = global_sparsities([small, large], [2, 2], 0.6)
    assert shares[0] == pytest.approx(0.98, abs=0.002)  # none is severed
    assert sum(shares) / 2 == pytest.approx(0.6, abs=0.001)
    alike = global_sparsities([small, small[..., ::-1]], [1, 1], 0.5)
    assert alike == pytest.approx([0.5, 0.5], abs=0.001)


def test_the_global_budget_keeps_what_is_settled(layers):
    pruning = Pruning(sparsity=0.8, budget="global", block="2", overrides=("Conv_1=0.5",))
    targets = layer_targets(pruning, layers)
    weights = sum(each.kernel.size for each in layers)
    assert sum(t.sparsity * e.kernel.size for t, e in zip(targets, layers, strict=True)) / weights == pytest.approx(
        0.8, abs=1e-4
    )
    assert targets[-1].sparsity == 0.5
    with pytest.raises(InputError, match="fixed layers leave"):
        layer_targets(Pruning(sparsity=0.1, budget="global", overrides=("*=0.9",)), layers)


def test_the_cost_model_gives_the_figures_it_was_made_from():
    macs, rest = 267_939_840, 26.1
    for block, at_80, at_90 in ((1, 67.0, 46.7), (2, 52.2, 39.0), (4, 57.6, 41.9)):
        assert predict_instructions(macs, 0.8, block) / 1e6 + rest == pytest.approx(at_80, abs=0.4)
        assert predict_instructions(macs, 0.9, block) / 1e6 + rest == pytest.approx(at_90, abs=0.4)
    assert DENSE_COST * macs / 1e6 + rest == pytest.approx(113.7, abs=0.1)
    assert SPARSE_COST[2] < SPARSE_COST[4] < SPARSE_COST[1]


def test_the_damage_is_what_masks_take():
    kernel = Layer("a", 24, 32).kernel
    for block in (1, 2, 4):
        kept = block_mask(kernel, 0.75, block)
        lost = 1 - np.square(kernel * kept, dtype=np.float64).sum() / np.square(kernel, dtype=np.float64).sum()
        assert np.interp(0.75, *damage_curve(kernel, block)) == pytest.approx(lost, rel=1e-6)


def test_the_solver_saves_what_is_asked_with_fewer_instructions_and_less_damage(layers):
    candidates = [LayerCandidate(each.name, each.kernel, each.macs, (1, 2, 4)) for each in layers]
    macs = np.array([each.macs for each in layers])
    for saved in (0.75, 0.85, 0.93):
        targets = solve(candidates, saved)
        shares = np.array([t.sparsity for t in targets])
        assert shares @ macs / macs.sum() == pytest.approx(saved, abs=1e-9)
        assert shares.min() >= 0.7 - 1e-9
        assert shares.max() <= max(0.95, (1 + saved) / 2) + 1e-9
        cost = sum(predict_instructions(each.macs, t.sparsity, t.block) for each, t in
                   zip(layers, targets, strict=True))  # fmt: skip
        assert cost < sum(predict_instructions(each.macs, saved, 1) for each in layers)
        same = [(each, t.sparsity, saved, t.block) for each, t in zip(layers, targets, strict=True)]
        solved, uniform = (
            sum(-np.log1p(-np.interp(row[which], *damage_curve(row[0].kernel, row[3]))) for row in same)
            for which in (1, 2)
        )
        assert solved < 0.995 * uniform


def test_the_solver_keeps_what_is_settled(layers):
    pruning = Pruning(sparsity=0.85, budget="instructions", block="4", overrides=("block_16_*=0.5b1",))
    targets = layer_targets(pruning, layers)
    settled = [t for t in targets if t.name.startswith("block_16")]
    assert [(t.sparsity, t.block) for t in settled] == [(0.5, 1)] * 2
    assert {t.block for t in targets if t not in settled} == {4}
    saved = sum(t.sparsity * each.macs for t, each in zip(targets, layers, strict=True))
    assert saved / sum(each.macs for each in layers) == pytest.approx(0.85, abs=1e-9)
    with pytest.raises(InputError, match=r"cannot be saved: the layers allow"):
        layer_targets(Pruning(sparsity=0.85, budget="instructions", overrides=("*=0.5",)), layers)
    unknown = (PointwiseLayer(layers[0].layer, None, 1),)
    with pytest.raises(InputError, match="its height or width is not fixed"):
        layer_targets(Pruning(sparsity=0.85, budget="instructions"), unknown)
