"""From a board's facts to the runtime that fits it, or to the reasons why none does and what would change that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from devices.facts import Facts
from devices.solver.errors import NoRuntimeFits
from devices.solver.obstacles import Obstacle, board_obstacle, runtime_obstacle
from devices.solver.runtimes import NUMPY_FROM_SYSTEM, RUNTIMES, Runtime
from devices.solver.tags import platform_tags, python_tag
from devices.solver.target import Target

NEWEST = "newest"


@dataclass(frozen=True)
class Capabilities:
    """What a runtime can do on a processor; None is unknown."""

    sparse_kernels: bool | None
    dynamic_range: bool
    int8_xnnpack: bool
    kernel_profile: bool


@dataclass(frozen=True)
class Solution:
    """A runtime for a board: what to download under which tags, what the board's system must bring, and why this one.

    `requirements` are pinned, the runtime first and NumPy second unless the system brings it.
    """

    name: str
    version: str
    requirements: tuple[str, ...]
    system_packages: tuple[str, ...]
    architecture: str
    python: tuple[int, ...]
    python_tag: str
    platform_tags: tuple[str, ...]
    capabilities: Capabilities
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


def solve(facts: Facts | Target, want: str | None = None) -> Solution:
    """Choose a runtime for a board. Nothing is downloaded or asked.

    Args:
        facts: The board.
        want: None for the version verified the most among those that fit, "newest", a name ("tflite-runtime") for
            the best version of it, or "name==version".

    Raises:
        NoRuntimeFits: None fits, or not the one that was asked for; says why and what would.
    """
    target = facts if isinstance(facts, Target) else Target.of(facts)
    asked = _asked(want)
    obstacle = board_obstacle(target)
    if obstacle is not None:
        raise _none_fits(target, want, [(None, obstacle)])
    obstacles = [(each, runtime_obstacle(target, each)) for each in asked]
    fitting = [each for each, found in obstacles if found is None]
    if not fitting:
        raise _none_fits(target, want, [(each, found) for each, found in obstacles if found is not None])
    chosen = _best(fitting, newest=want == NEWEST)
    refused = dict.fromkeys(found.why for _, found in obstacles if found is not None)
    return _solution(target, chosen, (_why(chosen, want, len(fitting)), *refused))


def sparse_kernels(runtime: Runtime, target: Target) -> bool | None:
    """Return whether XNNPACK's sparse kernels can run; None where the processor does not state its features.

    From the runs of each runtime on Cortex-A72, Cortex-A76 and x86-64.
    """
    if runtime.sparse == "none" or (target.architecture == "x86_64" and _has(target, "avx")):
        return False
    if target.architecture == "aarch64":
        return True if runtime.sparse == "arm" else _has(target, "asimdhp")
    return None  # 32-bit ARM and x86 without AVX were not looked at


def _has(target: Target, feature: str) -> bool | None:
    return None if target.features is None else feature in target.features


def _asked(want: str | None) -> tuple[Runtime, ...]:
    if want in (None, NEWEST):
        return RUNTIMES
    name, _, version = str(want).partition("==")
    named = tuple(each for each in RUNTIMES if each.name == name.strip())
    found = tuple(each for each in named if each.version == version.strip()) if version else named
    if not found:
        known = [each.requirement for each in named or RUNTIMES]
        near = get_close_matches(str(want), known, n=1)
        raise NoRuntimeFits(
            f"there is no runtime {want!r} in the table",
            reasons=(),
            hint=(f"did you mean {near[0]}? " if near else "") + f"known are: {', '.join(known)}, or newest",
        )
    return found


def _best(fitting: list[Runtime], *, newest: bool) -> Runtime:
    return next((each for each in fitting if each.recommended and not newest), fitting[0])


def _why(chosen: Runtime, want: str | None, fitting: int) -> str:
    if want == chosen.requirement:
        return "asked for"
    if chosen.recommended and want != NEWEST:
        return f"the version verified the most, of {fitting} that fit"
    return f"the newest of {fitting} that fit"


def _solution(target: Target, chosen: Runtime, reasons: tuple[str, ...]) -> Solution:
    from_system = NUMPY_FROM_SYSTEM.get(target.architecture)
    packages = (chosen.requirement, *(() if from_system else (chosen.numpy,)), *chosen.declared)
    assert target.glibc is not None
    return Solution(
        name=chosen.name,
        version=chosen.version,
        requirements=packages,
        system_packages=(from_system,) if from_system else (),
        architecture=target.architecture,
        python=target.python,
        python_tag=python_tag(target.python),
        platform_tags=platform_tags(target.architecture, target.glibc),
        capabilities=Capabilities(
            sparse_kernels=sparse_kernels(chosen, target),
            dynamic_range=chosen.dynamic_range,
            int8_xnnpack=chosen.int8_xnnpack and target.architecture != "armv7l",
            kernel_profile=chosen.kernel_profile,
        ),
        reasons=reasons,
    )


def _none_fits(target: Target, want: str | None, found: Sequence[tuple[Runtime | None, Obstacle]]) -> NoRuntimeFits:
    """Say of each runtime what keeps its nearest version from the board, and what would cure it, the nearest first."""
    nearest: dict[str, Obstacle] = {}
    for runtime, obstacle in found:
        name = runtime.name if runtime else ""
        if name not in nearest or obstacle.distance < nearest[name].distance:
            nearest[name] = obstacle
    obstacles = sorted(nearest.values(), key=lambda obstacle: obstacle.distance)
    asked = "no TFLite runtime fits" if want in (None, NEWEST) else f"{want} does not fit"
    board = ", ".join(filter(None, (target.cpu, target.os)))
    return NoRuntimeFits(
        f"{asked} this board{f' ({board})' if board else ''}: {'; '.join(each.why for each in obstacles)}",
        reasons=tuple(dict.fromkeys(obstacle.why for _, obstacle in found)),
        hint="; ".join(dict.fromkeys(each.cure for each in obstacles)),
    )
