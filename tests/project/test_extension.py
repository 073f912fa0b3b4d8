"""A new recipe, model, meter or board is one more record in one table: made-up ones work in a copy of the product."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
import tty
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge", "converters", "devices", "firmware_tools")
TIMEOUT_S = 120


@dataclass(frozen=True)
class Extension:
    """A made-up record: its table, the line after which it is inserted, and the command that lists it.

    Attributes:
        files: new files that go with it, by their paths.
        most_files: of the product that such an extension may touch.
    """

    table: str
    after: str
    record: str
    command: tuple[str, ...]
    listed: str
    most_files: int
    files: dict[str, str] = field(default_factory=dict)


RECIPE = Extension(
    table="converters/recipes.py",
    after="_TABLE = (\n",
    record="""
    Recipe(
        name="made-up", lowering="float16",
        weights="float16", activations="float32", interface="float32", calibrated=False,
        tolerance=Tolerance(relative_rms_error=0.03, top1_agreement=0.98, accuracy_drop=0.01),
        about="half the size, as a made-up recipe",
    ),
""",
    command=("convert", "--help"),
    listed="made-up,",
    most_files=2,
)
MODEL = Extension(
    table="edge/models/catalog.py",
    after="BUILT_IN: tuple[ModelSpec, ...] = (\n",
    record="""
    ModelSpec(
        name="made_up_net",
        target="edge.models.made_up_net:build_made_up_net",
        defaults={"image_size": 8, "classes": 3},
        parameters=579,
        trainable=579,
        fused=579,
        macs=576,
        mode="tf",
        dataset="none",
        source="made up",
    ),
""",
    command=("models",),
    listed="made_up_net",
    most_files=2,
    files={
        "edge/models/made_up_net.py": """
import keras

def build_made_up_net(*, image_size, classes):
    return keras.Sequential([keras.Input((image_size, image_size, 3)), keras.layers.Flatten(),
                             keras.layers.Dense(classes, activation="softmax")])
"""
    },
)
METER = Extension(
    table="devices/meters/kinds.py",
    after="_KINDS = (\n",
    record="""
    MeterKind("made-up", "a made-up meter", "made-up:/dev/null", "made_up_meter:MadeUpMeter", (0.1, 0.01)),
""",
    command=("meter", "kinds"),
    listed="made-up:/dev/null",
    most_files=2,
    files={
        "devices/meters/made_up_meter.py": """
from dataclasses import dataclass

import numpy as np

from devices.meters.accuracy import assume_accuracy
from devices.meters.meter_settings import parse_settings, setting
from devices.meters.streamed import StreamedMeter
from firmware_tools.codecs.framing import Decoder
from firmware_tools.trace import Trace


@dataclass(frozen=True)
class MadeUpSettings:
    scale: float = setting("watts per unit", 1.0, low=0.001, high=1000)


class MadeUpMeter(StreamedMeter):
    kind = "made-up"
    Settings = MadeUpSettings

    def __init__(self, name, address, settings):
        super().__init__(name, address, parse_settings(name, settings, MadeUpSettings))

    def _greet(self):
        self._decoder = Decoder(self._lines, b"")
        return self.describe("made up", assume_accuracy("made-up"), rate_hz=None, clock="host")

    def _lines(self, pending, data, host_s):
        *lines, rest = (pending + data).split(b"\\n")
        power = self._settings.scale * np.array(lines, np.float64)
        times = host_s - 1e-6 * np.arange(len(lines) - 1, -1, -1.0)
        nothing = np.full(len(lines), np.nan)
        return Trace(times, power, nothing, nothing, np.zeros(len(lines), np.uint8)), rest
"""
    },
)
WHEEL = Extension(
    table="converters/targets/runtimes.py",
    after="RUNTIMES: tuple[Runtime, ...] = (\n",
    record="""
    Runtime(LITERT, "9.9.0", _SINCE_2_1_6, _NUMPY_2, _FROM_2_2, oldest_emulator=(99,)),
""",
    command=("doctor",),
    listed="ai-edge-litert==9.9.0",
    most_files=1,
)
BOARD = Extension(
    table="converters/targets/boards.py",
    after="_TABLE: tuple[Target, ...] = (\n",
    record="""
    EmulatedBoard("madeup", "Made-up Board 1", "Cortex-A72", "aarch64", _ARMV8,
                  model="Made-up Board 1 Rev 1", soc="none", qemu_cpu="cortex-a72"),
""",
    command=("devices",),
    listed="emulated-madeup",
    most_files=1,
)


@pytest.fixture
def product(tmp_path):
    """A copy of the product's packages, without what Python has cached."""
    folder = tmp_path / "product"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def extend(product: Path, extension: Extension) -> None:
    """Insert the record at the begin of its table and add the files."""
    table = product / extension.table
    text = table.read_text()
    assert text.count(extension.after) == 1, f"{extension.table} has no single table that begins {extension.after!r}"
    table.write_text(text.replace(extension.after, extension.after + extension.record))
    for path, content in extension.files.items():
        (product / path).write_text(content)


def edge(product: Path, *arguments: str) -> str:
    """Run a command of the copy and return what it prints."""
    # The command's folder is the copy, not the checkout: Python looks for modules there first.
    environment = {**os.environ, "PYTHONPATH": str(product), "COLUMNS": "120"}
    command = [sys.executable, "-m", "edge", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=product, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "extension", [RECIPE, MODEL, METER, BOARD, WHEEL], ids=["recipe", "model", "meter", "board", "wheel"]
)
def test_one_record_in_one_table_is_listed(product, extension):
    assert 1 + len(extension.files) <= extension.most_files
    assert extension.listed not in edge(product, *extension.command)
    extend(product, extension)
    assert extension.listed in edge(product, *extension.command)


def test_a_made_up_recipe_converts_a_made_up_model(product, tmp_path):
    extend(product, RECIPE)
    extend(product, MODEL)
    edge(product, "convert", "made_up_net", "--to", "made-up", "--out", str(tmp_path))
    record = json.loads((tmp_path / "made_up_net-made-up.json").read_text())
    assert record["recipe"]["name"] == "made-up"
    assert (tmp_path / "made_up_net-made-up.tflite").is_file()
    assert "made-up" in edge(product, "inspect", str(tmp_path / "made_up_net-made-up.tflite"))


def test_files_are_analysed_for_a_made_up_board(product, tmp_path):
    extend(product, BOARD)
    model = product / "devices" / "solver" / "data" / "check-int8.tflite"
    inspected = json.loads(edge(product, "inspect", str(model), "--target", "madeup", "--json"))
    assert inspected["target"]["name"] == "madeup"


def test_a_made_up_meter_is_read(product):
    extend(product, METER)
    near, far = pty.openpty()
    tty.setraw(far)
    done = threading.Event()

    def send():
        while not done.wait(0.005):
            os.write(near, b"5\n")

    sender = threading.Thread(target=send)
    sender.start()
    try:
        arguments = ("meter", "read", f"made-up:{os.ttyname(far)}", "--set", "scale=0.5", "--seconds", "0.2", "--json")
        read = json.loads(edge(product, *arguments))
    finally:
        done.set()
        sender.join()
        os.close(near)
        os.close(far)
    assert read["power"]["mean_w"] == pytest.approx(2.5)
    assert read["meter"]["settings"] == {"scale": 0.5}
    assert "assumed limits 10% and 10 mW" in read["meter"]["accuracy_source"]


def test_the_newest_runtime_for_a_board_is_a_made_up_wheel(product):
    extend(product, WHEEL)
    code = (
        "from devices.solver.platforms import BoardPlatform\n"
        "from devices.solver.solve import solve\n"
        "platform = BoardPlatform('aarch64', (3, 11), (2, 36), frozenset({'asimd'}))\n"
        "print(solve(platform, 'newest').version, solve(platform).version)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(product)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=product, capture_output=True, text=True, check=True
    )
    assert done.stdout == "9.9.0 2.1.6\n"


def test_nothing_is_known_of_the_sparse_kernels_of_a_wheel_that_was_not_measured(product):
    extend(product, WHEEL)
    model = product / "devices" / "solver" / "data" / "check-fp32.tflite"
    runtime = ("--runtime", "ai-edge-litert==9.9.0")
    target = json.loads(edge(product, "inspect", str(model), "--target", "pi4", *runtime, "--json"))["target"]
    assert any("was not measured" in reason for reason in target["sparse"]["reasons"])
