"""Renders the report as GitHub-flavoured Markdown: the same sections, tables in place of charts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge.report.document import DataTable, Document, Section


def markdown_of(document: Document) -> str:
    """Render the document; texts from outside cannot form markup, links or cells."""
    verdict = document.verdict
    mark = "**" if verdict.standing == "valid" else "❌ **"
    lines = [f"# {escape(document.title)}", "", f"{mark}{escape(verdict.headline)}**", ""]
    lines += [f"- {escape(reason)}" for reason in verdict.reasons] + ([""] if verdict.reasons else [])
    lines += [f"- ❌ **{escape(alarm)}**" for alarm in verdict.alarms] + ([""] if verdict.alarms else [])
    lines += [f"{escape(sentence)}  " for sentence in verdict.sentences]
    for section in document.sections:
        lines += ["", *_section(section)]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line; underscores within words mean nothing and stay."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = re.sub(r"([\\`*\[\]|~#!])", r"\\\1", flat)
    flat = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", flat)
    return re.sub(r"@(?=\w)|://", lambda found: f"{found[0][0]}&#8203;{found[0][1:]}", flat)


def _section(section: Section) -> Iterator[str]:
    yield f"## {escape(section.title)}"
    for text in section.paragraphs:
        yield from ("", escape(text))
    tables = [(chart.title, chart.table) for chart in section.charts]
    tables += [(table.caption, table) for table in section.tables]
    shown: list[DataTable] = []
    for title, table in tables:
        if table not in shown:
            shown.append(table)
            yield from ("", *_table(title, table))
    if section.bullets:
        yield ""
    yield from (f"- {escape(bullet)}" for bullet in section.bullets)


def _table(title: str, table: DataTable) -> Iterator[str]:
    if table.folded:
        yield from (f"<details><summary>{escape(title)}</summary>", "")
    else:
        yield from (f"**{escape(title)}**", "")
    yield _row(tuple(column.head for column in table.columns))
    yield "|" + "|".join("---:" if column.number else "---" for column in table.columns) + "|"
    yield from (_row(row) for row in table.rows)
    if table.folded:
        yield from ("", "</details>")


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escape(cell) or " " for cell in cells) + " |"
