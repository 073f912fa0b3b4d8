"""What is predicted is what happens: every network of the zoo on emulated boards and here, kernels by name."""

from __future__ import annotations

import itertools
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from sparse_zoo import ZOO

from converters.targets.analysis import analyse
from devices.contract import Device
from devices.emulated.build_cache import DEBIAN_PACKAGES, find_program
from devices.emulated.device import EmulatedDevice, create_emulated_device
from devices.emulated.qemu import find_qemu
from devices.emulated.runtime_choice import set_runtime
from devices.errors import DeviceError
from devices.messages.model_jobs import InferRequest, ModelSetup
from devices.messages.protocol import decode_array, encode_array
from devices.registry import find_device
from edge.agent.client import AgentClient
from edge.agent.messages import KernelsRequest
from edge.measure.instructions import count_instructions
from edge.runtime.errors import RuntimeFault

DEADLINE_S = 120.0
# LiteRT's profiler takes no file with a size left open; those are counted instead.
PROFILED = [name for name, entry in ZOO.items() if entry.batch is not None]
SMALL = [name for name in PROFILED if "mobilenet" not in name and name != "integer"]
# Outputs of the small networks differ by 1e-2; a right one differs from another machine's by rounding alone.
ROUNDING = 1e-6
COUNTED = [
    ("pi4", "ai-edge-litert==2.1.6", "flatten-free-batch"),
    ("pi4", "ai-edge-litert==2.1.6", "computed-size"),
    ("pi4", "tflite-runtime==2.14.0", "mobilenet"),
    ("pi5", "tflite-runtime==2.14.0", "mobilenet"),
    ("pi5", "tflite-runtime==2.14.0", "flatten-free-batch"),
    ("pi5", "tflite-runtime==2.14.0", "plain-free-batch"),
    ("pi5", "tflite-runtime==2.14.0", "computed-size"),
    ("pi5", "tflite-runtime==2.14.0", "tanh"),
]
WAYS = len(PROFILED) * 3 + len(COUNTED)


@pytest.fixture
def emulated(require_part, monkeypatch, tmp_path):
    """QEMU and what makes the root file system; the choices of runtimes are this test's own."""
    for program in ("qemu-aarch64", "mmdebstrap"):
        try:
            find_program(program)
        except DeviceError as error:
            require_part(program, f"apt install {DEBIAN_PACKAGES[program]} ({error})")
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path / "config"))

    def board(target: str, runtime: str) -> EmulatedDevice:
        set_runtime(f"emulated-{target}", runtime, find_qemu())
        return create_emulated_device(f"emulated-{target}")

    return board


def sparse_kernels(agent: AgentClient, path: str) -> int | None:
    """Return how many sparse kernels ran; None where the runtime refuses the file."""
    try:
        result = agent.call(KernelsRequest(ModelSetup(path), runs=1), deadline_s=DEADLINE_S)
    except RuntimeFault:
        return None
    if result.profile is None:
        return None
    return sum(each.calls for each in result.profile.kernels if "SPMM" in each.name.split())


def disagreements(device: Device, target: str, runtime: str, files: dict[str, Path], models) -> dict[str, str]:
    """Profile every file in one process of the board, and say where the prediction is wrong."""
    found = {}
    with AgentClient.on(device) as agent:
        for name in PROFILED:
            ran = sparse_kernels(agent, device.place(files[name]))
            predicted = analyse(models[name], target, runtime).sparse
            if ran != predicted.ran and not (ran is None and (predicted.corrupts or predicted.refused)):
                found[name] = f"predicted {predicted.ran}, ran {ran}"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("target", ["pi4", "pi5"])
def test_the_profile_of_emulated_boards_agrees(target, emulated, zoo_files, zoo_models):
    runtime = "ai-edge-litert==2.1.6"
    assert disagreements(emulated(target, runtime), target, runtime, zoo_files, zoo_models) == {}


def test_the_profile_of_this_machine_agrees(require_part, zoo_files, zoo_models):
    information = Path("/proc/cpuinfo")
    if not information.is_file() or " avx " not in information.read_text(encoding="utf-8"):
        require_part("an x86 processor with AVX", "run the tests on one")
    runtime = f"ai-edge-litert=={version('ai-edge-litert')}"
    assert disagreements(find_device("local"), "x86", runtime, zoo_files, zoo_models) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "runtime", "name"), COUNTED)
def test_the_instructions_executed_agree(target, runtime, name, emulated, zoo_files, zoo_models):
    device = emulated(target, runtime)
    counted = count_instructions(device, device.place(zoo_files[name]), runtime=None, budget_s=0.0).instructions()
    ran = any("spmm" in each.family for each in counted.kernels)
    assert analyse(zoo_models[name], target, runtime).sparse.engages is ran


@pytest.mark.slow
def test_results_are_wrong_exactly_where_it_is_said(emulated, zoo_files, zoo_models):
    runtime = "ai-edge-litert==2.1.6"
    board, here = emulated("pi4", runtime), find_device("local")
    with AgentClient.on(board) as far, AgentClient.on(here) as near:
        for name in SMALL:
            right = _outputs(near, zoo_files[name], zoo_models[name])
            found = _outputs(far, zoo_files[name], zoo_models[name])
            same = found is not None and all(map(_alike, right, found))
            predicted = analyse(zoo_models[name], "pi4", runtime).sparse
            assert same is not (predicted.corrupts or predicted.refused), name


def test_there_are_enough_of_them():
    assert WAYS >= 100
    assert len({(board, runtime) for board, runtime, _ in COUNTED}) >= 3
    assert all(name in ZOO for name in itertools.chain(PROFILED, (each[2] for each in COUNTED)))


def _outputs(agent: AgentClient, path: Path, model) -> list[np.ndarray] | None:
    shape = model.main.tensors[model.main.inputs[0]].shape
    value = encode_array(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))
    try:
        done = agent.call(InferRequest(ModelSetup(str(path)), ((value,),)), deadline_s=DEADLINE_S)
    except RuntimeFault:
        return None
    return [decode_array(each) for each in done.outputs[0]]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() < ROUNDING)
