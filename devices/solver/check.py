"""Checks that a runtime works on a board: the agent runs two tiny models with it, whose outputs are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices.bundle import agent_bundle
from devices.contract import Completed, Device
from devices.messages.model_jobs import InferRequest, ModelSetup
from devices.messages.protocol import ProtocolError, decode_array, decode_result, encode_array
from devices.probe import run_agent
from devices.solver.errors import SetupError
from devices.solver.solve import Solution

if TYPE_CHECKING:
    import numpy as np

MODELS = Path(__file__).with_name("data")
# The same five layers twice (3x3, depthwise and 1x1 convolution, mean, dense), so that a processor meets the kernels
# of both; the outputs for `_inputs`, and how far a runtime may be from them (int8: in steps).
ANSWERS = {
    "fp32": ((0.029992931, -0.0097183827, 0.026339909, -0.026039079), 1e-5),
    "int8": ((75, -19, 66, -69), 2),
}


def check_runtime(device: Device, python: str, solution: Solution, *, deadline_s: float) -> None:
    """Run both models on the board with one of its Pythons.

    Raises:
        SetupError: The runtime cannot be imported, crashes, or computes wrong results; names the signal or the result.
        DeviceError: The board does not answer.
    """
    requests = [
        InferRequest(
            ModelSetup(device.place(MODELS / f"check-{kind}.tflite"), solution.name),
            inputs=((encode_array(_inputs(kind)),),),
        )
        for kind in ANSWERS
    ]
    done, answers = run_agent(device, (python, _agent_on(device)), requests, deadline_s=deadline_s)
    for number, (kind, request) in enumerate(zip(ANSWERS, requests, strict=True)):
        if number >= len(answers):
            raise _crash_error(done, solution)
        _judge(request, answers[number], kind, solution)


def _agent_on(device: Device) -> str:
    """Return where the agent's zip lies on the board."""
    last = device.agent_argv()[-1]
    return last if last.endswith(".pyz") else device.place(agent_bundle())


def _judge(request: InferRequest, answer: Mapping[str, Any], kind: str, solution: Solution) -> None:
    if answer.get("ok") is not True:
        message = str((answer.get("error") or {}).get("message")).splitlines()[0]
        raise SetupError(f"{solution.name} {solution.version} failed on the board: {message}")
    try:
        result = decode_result(request, answer)
        got = decode_array(result.outputs[0][0]).ravel().tolist()
    except (ProtocolError, IndexError) as error:
        raise SetupError(f"{solution.name} {solution.version} failed on the board: {error}") from error
    ran = result.runtime
    if (ran.name, ran.version) != (solution.name, solution.version):
        raise SetupError(f"{solution.name} {solution.version} was installed, but {ran} ran on the board")
    expected, tolerance = ANSWERS[kind]
    if len(got) != len(expected) or any(abs(one - other) > tolerance for one, other in zip(got, expected, strict=True)):
        raise SetupError(
            f"{solution.name} {solution.version} computes wrong results on the board: "
            f"the {kind} check model gave {got}, expected {list(expected)}"
        )


def _crash_error(done: Completed, solution: Solution) -> SetupError:
    lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    hint = f"it wrote: {lines[-1][:200]}" if lines else None
    if done.exit.signal == "SIGILL":
        hint = "its wheel uses an instruction that this processor lacks; choose another one with --runtime"
    return SetupError(f"{solution.name} {solution.version} died on the board with {done.exit}", hint=hint)


def _inputs(kind: str) -> np.ndarray:
    import numpy as np

    ramp = np.arange(192).reshape(1, 8, 8, 3)
    return (ramp / 192).astype(np.float32) if kind == "fp32" else (ramp - 96).astype(np.int8)
