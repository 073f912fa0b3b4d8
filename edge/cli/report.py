"""`edge report`: renders measurements as one HTML page, Markdown or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.cli.options import loss_option
from edge.cli.output import json_option, print_json
from edge.report.terminal.text_layout import WIDTH

if TYPE_CHECKING:
    from edge.measure.advice import AdviceCriteria


@click.command()
@click.argument("files", metavar="RESULT.json...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True,
              help="The report to write.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["html", "md", "json"]),
              help="Format of the report.  [default: by the suffix of --out]")  # fmt: skip
@click.option("--title", metavar="TEXT", help="Headline.  [default: the variants and the device]")
@loss_option
@json_option
def command(
    files: tuple[Path, ...],
    out: Path,
    form: str | None,
    title: str | None,
    criteria: AdviceCriteria | None,
    as_json: bool,
) -> None:
    """Render measurements as one self-contained HTML page, Markdown or JSON.

    RESULT.json is what `edge profile --out` writes: one measurement or a list. Artifact files (the NAME.json next to
    each NAME.tflite) may be given too: they add accuracy, parity and provenance to the measurements of that file.
    """
    from edge.report.write import write_report

    written = write_report(files, out, form=form, title=title, criteria=criteria)
    if as_json:
        print_json(written.to_json())
        return
    parts = (f"{written.path} ({written.bytes / 1e6:.2f} MB)", written.headline)
    line = ": ".join(parts)
    click.echo(line if len(line) <= WIDTH else "\n  ".join(parts))
