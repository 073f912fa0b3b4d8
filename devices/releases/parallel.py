"""Does the same work on several boards at once; one failure does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from converters.errors import EdgeError
from devices.releases.errors import ReleaseError

T = TypeVar("T")
MOST_AT_ONCE = 16


@dataclass(frozen=True)
class BoardOutcome(Generic[T]):
    """The result of the work on one board: a value or an error."""

    device: str
    value: T | None
    error: EdgeError | None

    @property
    def exit_code(self) -> int:
        """0 where it succeeded."""
        return 0 if self.error is None else self.error.exit_code


class SomeFailedError(ReleaseError):
    """The work failed on some of several boards; the exit code is that of the first failure."""

    def __init__(self, failed: Sequence[BoardOutcome[T]], of: int) -> None:
        super().__init__(f"{len(failed)} of {of} devices failed: {', '.join(each.device for each in failed)}")
        self.exit_code = failed[0].exit_code


def check(outcomes: Sequence[BoardOutcome[T]]) -> None:
    """Raise if one failed: its own error where it was the only device, else one with the first one's exit code."""
    failed = [each for each in outcomes if each.error is not None]
    if len(outcomes) == 1 and failed and failed[0].error is not None:
        raise failed[0].error
    if failed:
        raise SomeFailedError(failed, len(outcomes))


def on_each(
    names: Sequence[str], work: Callable[[str], T], *, on_done: Callable[[BoardOutcome[T]], None] | None = None
) -> tuple[BoardOutcome[T], ...]:
    """Do the work for each name, several at once; return the outcomes in the order of the names.

    Any other exception than an EdgeError is a fault of ours and is raised, after the others are done.
    """

    def outcome(name: str) -> BoardOutcome[T]:
        try:
            found: BoardOutcome[T] = BoardOutcome(name, work(name), None)
        except EdgeError as error:
            found = BoardOutcome(name, None, error)
        if on_done is not None:
            on_done(found)
        return found

    with ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, max(1, len(names)))) as pool:
        return tuple(pool.map(outcome, names))
