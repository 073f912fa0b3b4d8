"""Holds the options of pruning: sparsity, blocks, budget and schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from edge.errors import InputError
from edge.training.pruning import BLOCKS

BUDGETS = ("uniform", "global", "instructions")
_POWER = 3
_BLOCK_RANGE = re.compile(r"(\d+)(?:-(\d+))?b([124])")
_OVERRIDE = re.compile(r"(?P<names>[^=]+)=(?P<sparsity>\d*\.?\d+)?(?:b(?P<block>[124]))?")


@dataclass(frozen=True)
class CubicSchedule:
    """The gradual schedule of Zhu and Gupta (arXiv 1710.01878): steep at first, flat at the end.

    Sparsity at step t is final - final * (1 - (t - begin) / (end - begin))^3 from `begin_step` to `end_step`; masks are
    renewed every `every` steps and at `end_step`. Steps are optimizer steps, counted from 1.
    """

    final: float
    begin_step: int
    end_step: int
    every: int = 100

    def __post_init__(self) -> None:
        """Refuse steps out of order."""
        if not (0 <= self.begin_step <= self.end_step and self.end_step >= 1 and self.every >= 1):
            raise InputError(
                f"pruning begins at step {self.begin_step}, ends at {self.end_step}, every {self.every} steps: steps "
                "rise from 0, the last is at least 1, and so is the distance"
            )
        if not 0 < self.final <= 1:
            raise InputError(f"the final sparsity is {self.final}; it must be above 0 and at most 1")

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity after this many steps: 0 before the begin, `final` after the end."""
        return self.final * self.part_at(step)

    def part_at(self, step: int) -> float:
        """Return the sparsity as a part of the final one, 0 to 1."""
        if step >= self.end_step:
            return 1.0
        if step <= self.begin_step:
            return 0.0
        progress = (step - self.begin_step) / (self.end_step - self.begin_step)
        return 1.0 - (1.0 - progress) ** _POWER

    def updates_until(self, step: int) -> int:
        """Return the number of mask updates after this many steps."""
        if step < self.begin_step:
            return 0
        regular, odd = divmod(min(step, self.end_step) - self.begin_step, self.every)
        return 1 + regular + (1 if odd and step >= self.end_step else 0)


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How a training prunes the 1x1 convolutions; first convolution, depthwise ones and classifier stay dense.

    Attributes:
        sparsity: share of zeros at the end; with the budget "instructions", share of the multiply-adds saved.
        block: "1", "2" or "4" neighbouring output channels; or a range of blocks of the network, "11-16b2" (blocks 11
            to 16 in blocks of 2) or "12b4", the rest unstructured; None lets the budget choose (1 if it does not).
        budget: "uniform": the same share in each layer; "global": the smallest blocks of the whole network;
            "instructions": block and share per layer by predicted instructions (`edge.training.instruction_budget`).
        overrides: "LAYERS=SPARSITY", "LAYERS=bBLOCK" or both, as "block_16_*=0.9b4"; LAYERS may hold * and ?; a
            sparsity of 0 leaves the layers dense. The last match applies.
        begin: part of all steps after which pruning begins; None: a quarter for new weights, at once for trained ones.
        end: part of all steps after which the sparsity is final.
        every: steps from one mask to the next; None: a fiftieth of the steps between begin and end.
    """

    sparsity: float
    block: str | None = None
    budget: str = "uniform"
    overrides: tuple[str, ...] = ()
    begin: float | None = None
    end: float = 0.7
    every: int | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not 0 < self.sparsity < 1:
            raise InputError(
                f"the sparsity is {self.sparsity}; it must lie between 0 and 1", hint="0.85 leaves 15 % of the weights"
            )
        if self.budget not in BUDGETS:
            raise InputError(f"budgets are {', '.join(BUDGETS)}, got {self.budget!r}")
        if self.every is not None and self.every < 1:
            raise InputError(f"the steps between masks must be at least 1, got {self.every}")
        if not 0 <= (self.begin or 0) <= self.end <= 1 or self.end == 0:
            raise InputError(
                f"pruning begins at {self.begin or 0:g} and ends at {self.end:g} of the training: parts from 0 to 1, "
                "the end not before the begin"
            )
        parse_block(self.block)
        parse_overrides(self.overrides)

    def schedule(self, steps: int, *, trained: bool) -> CubicSchedule:
        """Return the schedule of a training of this many steps, from new weights or from trained ones."""
        begin = self.begin if self.begin is not None else (0.0 if trained else min(0.25, self.end))
        first, last = int(begin * steps), max(1, int(self.end * steps))
        every = self.every or max(1, (last - first) // 50)
        return CubicSchedule(self.sparsity, first, last, every)


@dataclass(frozen=True)
class BlockRule:
    """A block size for all layers, or (`first` and `last` given) for a range of the network's blocks."""

    size: int
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Override:
    """The options of the layers whose names match; None: not given."""

    names: str
    sparsity: float | None
    block: int | None

    def fits(self, name: str) -> bool:
        """Whether it applies to this layer."""
        return fnmatchcase(name, self.names)


@dataclass(frozen=True)
class LayerTarget:
    """The final sparsity and the block of one layer."""

    name: str
    sparsity: float
    block: int

    def to_json(self) -> dict[str, object]:
        """Return the JSON object of a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LayerTarget:
        """Read what `to_json` returned."""
        return cls(str(value["name"]), float(value["sparsity"]), int(value["block"]))


def parse_block(text: str | None) -> BlockRule | None:
    """Read a block: "2", "11-16b2", "12b4".

    Raises:
        InputError: it is none of these.
    """
    if text is None:
        return None
    if text in map(str, BLOCKS):
        return BlockRule(int(text))
    match = _BLOCK_RANGE.fullmatch(text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise InputError(
            f"the block is {text!r}; it is 1, 2 or 4 output channels",
            hint="or a range of the network's blocks, counted from 0: 11-16b2 (blocks 11 to 16 by 2), 12b4",
        )
    return BlockRule(int(match[3]), int(match[1]), int(match[2] or match[1]))


def parse_overrides(texts: tuple[str, ...]) -> tuple[Override, ...]:
    """Read overrides: "LAYERS=0.9", "LAYERS=b4", "LAYERS=0.9b4", "LAYERS=0".

    Raises:
        InputError: one is none of these.
    """
    return tuple(_override(text) for text in texts)


def _override(text: str) -> Override:
    match = _OVERRIDE.fullmatch(text)
    sparsity = float(match["sparsity"]) if match and match["sparsity"] else None
    if match is None or (sparsity is None and match["block"] is None) or (sparsity or 0) >= 1:
        raise InputError(
            f"{text!r} is not a valid option for layers",
            hint="LAYERS=SPARSITYbBLOCK, such as 'block_16_*=0.9b4', 'Conv_1=0.8' or 'block_1_*=0' (left dense)",
        )
    return Override(match["names"], sparsity, int(match["block"]) if match["block"] else None)
