"""How long work tells what it does."""

from __future__ import annotations

from collections.abc import Callable

OnStep = Callable[[str, int, int], None]  # what is done, bytes or steps done, and in all


def silent(text: str, done: int, of: int) -> None:
    """Report nothing."""
