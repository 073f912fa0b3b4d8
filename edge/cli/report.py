"""`edge report`: measurements as one HTML page, Markdown or JSON."""

from __future__ import annotations

from pathlib import Path

import click

from edge.cli.advice_option import loss_option
from edge.cli.output import json_option, print_json
from edge.measure.advice import AdviceCriteria
from edge.report.terminal.text_layout import WIDTH


@click.command()
@click.argument("files", metavar="RESULT.json...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The report."
)
@click.option(
    "--format", "form", type=click.Choice(["html", "md", "json"]), help="By default what the suffix of --out says."
)
@click.option("--title", metavar="TEXT", help="Headline; by default what ran where.")
@loss_option
@json_option
def command(
    files: tuple[Path, ...], out: Path, form: str | None, title: str | None, terms: AdviceCriteria, as_json: bool
) -> None:
    """Draw measurements as one self-contained HTML page, Markdown or JSON.

    RESULT.json is what `edge profile --out` writes: one measurement or a list. Artifact files, the NAME.json beside
    each NAME.tflite, may be given too: they add accuracy, parity and provenance to the measurements of that file.
    """
    from edge.report.write import write_report

    written = write_report(files, out, form=form, title=title, terms=terms)
    if as_json:
        print_json(written.to_json())
    else:
        said = (f"{written.path} ({written.bytes / 1e6:.2f} MB)", written.headline)
        click.echo(": ".join(said) if len(": ".join(said)) <= WIDTH else "\n  ".join(said))
