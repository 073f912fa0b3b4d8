"""The part of `edge inspect` that is about the Edge TPU: what its compiler will map, and what a compiled file holds."""

from __future__ import annotations

from collections.abc import Sequence

import click

from converters.edgetpu import CompiledReport, Forecast
from converters.edgetpu.mapping import Placement
from edge.cli.inspect_target import fact, wrapped

_SHOWN = 12


def show(found: Forecast) -> None:
    """Print what will run on the Edge TPU, what not and why, and what to change, in 80 columns."""
    click.echo("\nTarget coral")
    fact("board", "Coral Edge TPU" + ("" if found.compiled else " (a forecast of what edgetpu_compiler 16.0 will do)"))
    fact("mapped", _verdict(found))
    if found.mapped and not found.compiled:
        fact("parameters", _parameters(found))
    _show_cpu(found)
    _show_doubts(found)
    for number, advice in enumerate(found.advice):
        if not number:
            click.echo("\nTo map more, the ones that keep most behind them first")
        head = f"  {number + 1}. "
        behind = f"; {advice.strands} more behind it" if advice.strands else ""
        click.echo(wrapped(advice.text + behind, head, " " * len(head)))
        click.echo(wrapped(advice.change, " " * len(head) + "-> ", " " * (len(head) + 3)))


def describe(report: CompiledReport) -> list[str]:
    """Return what a compiled file tells of itself, a line each."""
    lines = [f"compiled for the Edge TPU (edgetpu-custom-op x {max(len(report.packages), 1)})"]
    if report.min_runtime_version is not None:
        by = f", made by compiler {report.compiler}" if report.compiler else ""
        lines.append(f"needs Edge TPU runtime {report.min_runtime_version} or newer{by}")
        kept, sent = f"{report.cached_bytes:,} bytes kept on the Edge TPU", f"{report.streamed_bytes:,}"
        lines.append(f"parameters {kept}, {sent} sent for each inference")
    if report.on_cpu:
        names = ", ".join(f"{each.index} {each.op}" for each in report.on_cpu[:_SHOWN])
        more = f" and {len(report.on_cpu) - _SHOWN} more" if len(report.on_cpu) > _SHOWN else ""
        lines.append(f"left on the CPU: {names}{more}")
    else:
        lines.append("nothing is left on the CPU")
    return [*lines, report.problem] if report.problem else lines


def _verdict(found: Forecast) -> str:
    total = len(found.operators)
    if found.compiled:
        return f"already compiled: {found.mapped} of {total} operators are edgetpu-custom-op"
    if found.failures:
        return f"nothing: the compiler will refuse the file. {found.failures[0].text}"
    if found.fully_mapped:
        return f"all {total} operators run on the Edge TPU"
    return f"{found.mapped} of {total} operators run on the Edge TPU"


def _parameters(found: Forecast) -> str:
    sizes = found.parameters
    told = f"about {sizes.estimated_bytes:,} bytes of {sizes.on_chip_bytes:,} on the chip"
    if sizes.fits is None:
        return f"{told}; near its limit, some may be streamed for each inference"
    return (
        told if sizes.fits else f"{told}; about {sizes.streamed_bytes:,} are streamed for each inference, which is slow"
    )


def _show_cpu(found: Forecast) -> None:
    if not found.on_cpu or found.failures:
        return
    click.echo("\nOn the CPU")
    for reason, group in _by_reason(found.on_cpu):
        names = ", ".join(f"{each.index} {each.op}" for each in group[:_SHOWN])
        more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
        click.echo(wrapped(f"{names}{more}: {reason}", "  ", "    "))


def _show_doubts(found: Forecast) -> None:
    doubtful = [each for each in found.operators if each.runs_on == "edgetpu" and not each.certain]
    for number, (reason, group) in enumerate(_by_reason(doubtful)):
        if not number:
            click.echo("\nMapped, but not for certain")
        click.echo(
            wrapped(f"{', '.join(f'{each.index} {each.op}' for each in group[:_SHOWN])}: {reason}", "  ", "    ")
        )


def _by_reason(placements: Sequence[Placement]) -> list[tuple[str, list[Placement]]]:
    grouped: dict[str, list[Placement]] = {}
    for each in placements:
        grouped.setdefault(each.reason or "", []).append(each)
    return list(grouped.items())
