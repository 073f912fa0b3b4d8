"""Defines the report as a value: its sections, charts and tables, before it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A column's head; numbers are aligned right."""

    head: str
    number: bool = False


@dataclass(frozen=True)
class DataTable:
    """A table of text cells; `cards`: rows shown as cards, on narrow screens or always; `folded`: hidden at first."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    cards: Literal["never", "narrow", "always"] = "never"
    folded: bool = False


@dataclass(frozen=True)
class Key:
    """One line of a chart's legend: a swatch's class name in the style sheet and what it stands for."""

    swatch: str
    text: str


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification, with a description and its numbers for readers who cannot see it."""

    key: str
    title: str
    description: str
    spec: Mapping[str, object]
    height_px: int
    table: DataTable
    legend: tuple[Key, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Section:
    """One heading and what lies under it."""

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[DataTable, ...] = ()
    bullets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The first thing a reader sees; `alarms` must not be overlooked even where every measurement is valid."""

    standing: Literal["valid", "invalid"]
    headline: str
    sentences: tuple[str, ...]
    reasons: tuple[str, ...]
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    verdict: Verdict
    sections: tuple[Section, ...] = field(default=())
