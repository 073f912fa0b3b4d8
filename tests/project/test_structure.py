"""The structure's figures keep their limits: what `python tests/project/structure.py` prints."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import structure


@pytest.mark.parametrize("figure", structure.figures(), ids=lambda figure: figure.name.replace(" ", "-"))
def test_a_figure_keeps_its_limit(figure):
    assert figure.holds, f"{figure.name}: {figure.value:g}, limit {figure.limit:g}\n" + "\n".join(figure.places)


def test_every_reason_is_of_a_module_that_needs_one():
    assert set(structure.REASONS) <= {module.name for module in structure.product()}


@pytest.mark.slow
def test_commands_parse_once_and_load_what_they_need(require_part):
    if shutil.which("qemu-aarch64") is None:
        require_part("QEMU's user mode", "apt install qemu-user mmdebstrap")
    for figure in structure.run_figures():
        assert figure.holds, f"{figure.name}: {figure.value:g}, limit {figure.limit:g}"
