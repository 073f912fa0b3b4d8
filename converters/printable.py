"""Makes foreign text safe to print: names in files, responses of boards, output of other programs."""

from __future__ import annotations


def printable(text: str, *, instead: str = "?", keep: str = "") -> str:
    """Replace each character that could act on a terminal or would not show there; those in `keep` stay."""
    return "".join(each if each.isprintable() or each in keep else instead for each in text)


def one_line(text: str) -> str:
    """Return printable text on one line, runs of blanks and control characters become one blank; never an empty one."""
    return " ".join(printable(text, instead=" ").split()) or "unnamed"
