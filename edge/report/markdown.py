"""The report as GitHub-flavoured Markdown: the same sections, tables in place of charts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge.report.document import Document, Section, Table


def markdown_of(document: Document) -> str:
    """Render the document; texts from outside cannot form markup, links or cells."""
    verdict = document.verdict
    mark = "**" if verdict.standing == "valid" else "❌ **"
    lines = [f"# {escaped(document.title)}", "", f"{mark}{escaped(verdict.headline)}**", ""]
    lines += [f"- {escaped(reason)}" for reason in verdict.reasons] + ([""] if verdict.reasons else [])
    lines += [f"- ❌ **{escaped(alarm)}**" for alarm in verdict.alarms] + ([""] if verdict.alarms else [])
    lines += [f"{escaped(sentence)}  " for sentence in verdict.sentences]
    for section in document.sections:
        lines += ["", *_section(section)]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line; underscores within words mean nothing and stay."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = re.sub(r"([\\`*\[\]|~#!])", r"\\\1", flat)
    flat = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", flat)
    return re.sub(r"@(?=\w)|://", lambda found: f"{found[0][0]}&#8203;{found[0][1:]}", flat)


def _section(section: Section) -> Iterator[str]:
    yield f"## {escaped(section.title)}"
    for text in section.paragraphs:
        yield from ("", escaped(text))
    tables = [(chart.title, chart.table) for chart in section.charts]
    tables += [(table.caption, table) for table in section.tables]
    shown: list[Table] = []
    for title, table in tables:
        if table not in shown:
            shown.append(table)
            yield from ("", *_table(title, table))
    if section.bullets:
        yield ""
    yield from (f"- {escaped(bullet)}" for bullet in section.bullets)


def _table(title: str, table: Table) -> Iterator[str]:
    if table.folded:
        yield from (f"<details><summary>{escaped(title)}</summary>", "")
    else:
        yield from (f"**{escaped(title)}**", "")
    yield _row(tuple(column.head for column in table.columns))
    yield "|" + "|".join("---:" if column.number else "---" for column in table.columns) + "|"
    yield from (_row(row) for row in table.rows)
    if table.folded:
        yield from ("", "</details>")


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escaped(cell) or " " for cell in cells) + " |"
