"""The gate of `edge convert --to sparse`: files that would run dense, or wrongly, on the target."""

from __future__ import annotations

import pytest

from converters.errors import ConversionError, SourceError
from converters.targets.analysis import analyse
from converters.targets.sparse_gate import require_sparse_on


def _named(zoo_models, wanted):
    return next(name for name, model in zoo_models.items() if wanted(analyse(model, "pi4").sparse))


@pytest.fixture
def sparse_model(zoo_models):
    return zoo_models[_named(zoo_models, lambda found: found.engages and not found.corrupts)]


def test_a_file_that_runs_sparse_passes(sparse_model):
    require_sparse_on("pi4")(sparse_model)


def test_the_same_file_is_refused_for_a_desktop_unless_forced(sparse_model):
    with pytest.raises(ConversionError, match=r"x86 .* no sparse kernel would run"):
        require_sparse_on("x86")(sparse_model)
    require_sparse_on("x86", force=True)(sparse_model)


@pytest.mark.parametrize("target", ["pi4", "x86"])  # a file made for a desktop ends up on a board
def test_wrong_results_on_any_board_are_refused_even_if_forced(zoo_models, target):
    model = zoo_models[_named(zoo_models, lambda found: found.corrupts)]
    with pytest.raises(ConversionError, match=r"on pi.* wrong results"):
        require_sparse_on(target, force=True)(model)


def test_an_unknown_target_is_answered_with_the_known_ones():
    with pytest.raises(SourceError, match="pi4"):
        require_sparse_on("pi44")
