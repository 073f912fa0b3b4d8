"""Chooses the runtime that fits a board, or explains why none does and what would change that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from converters.targets.runtimes import NUMPY_FROM_SYSTEM, RUNTIMES, Runtime, find_sparse_rules
from devices.facts import Facts
from devices.solver.errors import NoRuntimeFits
from devices.solver.obstacles import Obstacle, find_board_obstacle, find_runtime_obstacle
from devices.solver.platforms import BoardPlatform

NEWEST = "newest"


@dataclass(frozen=True)
class Capabilities:
    """The features of a runtime on a processor; None is unknown."""

    sparse_kernels: bool | None
    dynamic_range: bool
    int8_xnnpack: bool
    kernel_profile: bool


@dataclass(frozen=True)
class Solution:
    """A runtime for a board: what to download under which tags, what the board's system must provide, and why this one.

    `requirements` are pinned, the runtime first and NumPy second unless the system provides it.
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

    def to_json(self) -> dict[str, object]:
        """Return it as `json.dumps` takes it."""
        return asdict(self)


def solve(facts: Facts | BoardPlatform, want: str | None = None) -> Solution:
    """Choose a runtime for a board. Nothing is downloaded.

    Args:
        facts: The board.
        want: None for the version verified the most among those that fit, "newest", a name ("tflite-runtime") for
            the best version of it, or "name==version".

    Raises:
        NoRuntimeFits: None fits, or not the one that was asked for; says why and what would.
    """
    platform = facts if isinstance(facts, BoardPlatform) else BoardPlatform.from_facts(facts)
    candidates = _select(want)
    obstacle = find_board_obstacle(platform)
    if obstacle is not None:
        raise _none_fits(platform, want, [(None, obstacle)])
    obstacles = [(each, find_runtime_obstacle(platform, each)) for each in candidates]
    fitting = [each for each, found in obstacles if found is None]
    if not fitting:
        raise _none_fits(platform, want, [(each, found) for each, found in obstacles if found is not None])
    chosen = _best(fitting, newest=want == NEWEST)
    refused = dict.fromkeys(found.why for _, found in obstacles if found is not None)
    return _solution(platform, chosen, (_why(chosen, want, len(fitting)), *refused))


def _sparse_kernels(runtime: Runtime, platform: BoardPlatform) -> bool | None:
    """Return whether XNNPACK's sparse kernels can run; None where that is unknown."""
    rules = find_sparse_rules(runtime.requirement)
    return None if rules is None else rules.run_on(platform.architecture, platform.features)


def _select(want: str | None) -> tuple[Runtime, ...]:
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


def _solution(platform: BoardPlatform, chosen: Runtime, reasons: tuple[str, ...]) -> Solution:
    from_system = NUMPY_FROM_SYSTEM.get(platform.architecture)
    packages = (chosen.requirement, *(() if from_system else (chosen.numpy,)), *chosen.declared)
    return Solution(
        name=chosen.name,
        version=chosen.version,
        requirements=packages,
        system_packages=(from_system,) if from_system else (),
        architecture=platform.architecture,
        python=platform.python,
        python_tag=platform.python_tag,
        platform_tags=platform.platform_tags,
        capabilities=Capabilities(
            sparse_kernels=_sparse_kernels(chosen, platform),
            dynamic_range=chosen.dynamic_range,
            int8_xnnpack=chosen.int8_xnnpack and platform.architecture != "armv7l",
            kernel_profile=chosen.kernel_profile,
        ),
        reasons=reasons,
    )


def _none_fits(
    platform: BoardPlatform, want: str | None, found: Sequence[tuple[Runtime | None, Obstacle]]
) -> NoRuntimeFits:
    """Explain for each runtime what keeps its nearest version from the board and what would fix that."""
    nearest: dict[str, Obstacle] = {}
    for runtime, obstacle in found:
        name = runtime.name if runtime else ""
        if name not in nearest or obstacle.distance < nearest[name].distance:
            nearest[name] = obstacle
    obstacles = sorted(nearest.values(), key=lambda obstacle: obstacle.distance)
    what = "no TFLite runtime fits" if want in (None, NEWEST) else f"{want} does not fit"
    board = ", ".join(filter(None, (platform.cpu, platform.os)))
    return NoRuntimeFits(
        f"{what} this board{f' ({board})' if board else ''}: {'; '.join(each.why for each in obstacles)}",
        reasons=tuple(dict.fromkeys(obstacle.why for _, obstacle in found)),
        hint="; ".join(dict.fromkeys(each.fix for each in obstacles)),
    )
