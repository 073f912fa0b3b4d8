"""A new board and a new runtime wheel are one record each: a copy of the project with such a record knows them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOARD = """EmulatedBoard("cm4", "Compute Module 4", "Cortex-A72", "aarch64", _ARMV8,
                         model="Raspberry Pi Compute Module 4", soc="bcm2711", qemu_cpu="cortex-a72"),"""
WHEEL = 'Runtime(LITERT, "9.9.0", _SINCE_2_1_6, _NUMPY_2, _FROM_2_2, oldest_emulator=(99,)),'
MODEL = "devices/solver/data/check-fp32.tflite"
SOLVE = """
from devices.solver.platforms import BoardPlatform
from devices.solver.solve import solve
platform = BoardPlatform("aarch64", (3, 11), (2, 36), frozenset({"asimd"}))
print(solve(platform, "newest").to_json()["version"], solve(platform).version)
"""


@pytest.fixture
def run(tmp_path):
    """Copy the project with one record added; return a function that runs its Python."""
    for room in ("converters", "devices", "edge", "firmware_tools"):
        shutil.copytree(ROOT / room, tmp_path / room)

    def run(file: str, table: str, record: str, *words: str) -> str:
        path = tmp_path / file
        before, line, after = path.read_text().partition(table)
        path.write_text(f"{before}{line}\n    {record}{after}")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run([sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, text=True,
                              check=True)  # fmt: skip
        return done.stdout

    return run


EDGE = ("-c", "from edge.cli.main import main; main()")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("devices",), "emulated-cm4"),
        (("inspect", MODEL, "--target", "cm4"), "Compute Module 4, Cortex-A72"),
        (("inspect", MODEL, "--target", "emulated-cm4"), "Target cm4"),
        (("inspect", "--help"), "cm4"),
    ],
)
def test_a_new_board_is_one_record(run, arguments, shown):
    table = "_TABLE: tuple[Target, ...] = ("
    assert shown in run("converters/targets/boards.py", table, BOARD, *EDGE, *arguments)


def test_a_new_runtime_wheel_is_one_record(run):
    table = "RUNTIMES: tuple[Runtime, ...] = ("
    assert run("converters/targets/runtimes.py", table, WHEEL, "-c", SOLVE) == "9.9.0 2.1.6\n"


def test_nothing_is_known_of_the_sparse_kernels_of_a_wheel_that_was_not_measured(run):
    table = "RUNTIMES: tuple[Runtime, ...] = ("
    words = (*EDGE, "inspect", MODEL, "--target", "pi4", "--runtime", "ai-edge-litert==9.9.0", "--json")
    target = json.loads(run("converters/targets/runtimes.py", table, WHEEL, *words))["target"]
    assert any("was not measured" in reason for reason in target["sparse"]["reasons"])
