"""Proof that a runtime works on a board: the agent runs two tiny models with it, and the answers are known."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices.bundle import agent_bundle
from devices.contract import Completed, Device
from devices.solver.errors import SetupError
from devices.solver.solve import Solution

if TYPE_CHECKING:
    import numpy as np

MODELS = Path(__file__).with_name("data")
# The same five layers twice (3x3, depthwise and 1x1 convolution, mean, dense), so that a processor meets the kernels
# of both; answers to `_inputs`, and how far a runtime may be from them (int8: in steps).
ANSWERS = {
    "fp32": ((0.029992931, -0.0097183827, 0.026339909, -0.026039079), 1e-5),
    "int8": ((75, -19, 66, -69), 2),
}


def check_runtime(device: Device, python: str, solution: Solution, *, deadline_s: float) -> None:
    """Run both models on the board with one of its Pythons.

    Raises:
        SetupError: The runtime cannot be imported, dies, or answers wrongly; says which signal or which answer.
        DeviceError: The board does not answer.
    """
    requests = [
        {"id": number, "job": "infer", "model": device.place(MODELS / f"check-{kind}.tflite"),
         "runtime": solution.name, "threads": 1, "inputs": [[_encoded(_inputs(kind))]]}
        for number, kind in enumerate(ANSWERS)
    ]  # fmt: skip
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in requests)
    done = device.run((python, _agent_on(device)), deadline_s=deadline_s, stdin=lines)
    answers = _answers(done)
    for number, kind in enumerate(ANSWERS):
        if number not in answers:
            raise _died(done, solution)
        _judge(answers[number], kind, solution)


def _agent_on(device: Device) -> str:
    """Return where the agent's zip lies on the board."""
    last = device.agent_argv()[-1]
    return last if last.endswith(".pyz") else device.place(agent_bundle())


def _judge(answer: Mapping[str, Any], kind: str, solution: Solution) -> None:
    if answer.get("ok") is not True:
        said = str((answer.get("error") or {}).get("message")).splitlines()[0]
        raise SetupError(f"{solution.name} {solution.version} failed on the board: {said}")
    ran = answer["result"]["runtime"]
    if (ran["name"], ran["version"]) != (solution.name, solution.version):
        raise SetupError(
            f"{solution.name} {solution.version} was installed, but {ran['name']} {ran['version']} ran on the board"
        )
    wanted, tolerance = ANSWERS[kind]
    got = _decoded(answer["result"]["outputs"][0][0]).ravel().tolist()
    if len(got) != len(wanted) or any(abs(one - other) > tolerance for one, other in zip(got, wanted, strict=True)):
        raise SetupError(
            f"{solution.name} {solution.version} computes wrongly on the board: "
            f"the {kind} check model gave {got}, right is {list(wanted)}"
        )


def _died(done: Completed, solution: Solution) -> SetupError:
    said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    hint = f"it wrote: {said[-1][:200]}" if said else None
    if done.exit.signal == "SIGILL":
        hint = "its wheel uses an instruction that this processor lacks; choose another one with --runtime"
    return SetupError(f"{solution.name} {solution.version} died on the board with {done.exit}", hint=hint)


def _answers(done: Completed) -> dict[int, Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    for line in done.stdout.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            break
        if isinstance(answer, dict) and "ok" in answer and isinstance(answer.get("id"), int):
            found[answer["id"]] = answer
    return found


def _inputs(kind: str) -> np.ndarray:
    import numpy as np

    ramp = np.arange(192).reshape(1, 8, 8, 3)
    return (ramp / 192).astype(np.float32) if kind == "fp32" else (ramp - 96).astype(np.int8)


def _encoded(array: np.ndarray) -> dict[str, str]:
    import numpy as np

    memory = io.BytesIO()
    np.save(memory, array, allow_pickle=False)
    return {"npy": base64.b64encode(memory.getvalue()).decode("ascii")}


def _decoded(value: Mapping[str, str]) -> np.ndarray:
    import numpy as np

    array: np.ndarray = np.load(io.BytesIO(base64.b64decode(value["npy"])), allow_pickle=False)
    return array
