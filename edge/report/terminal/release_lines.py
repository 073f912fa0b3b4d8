"""Renders releases: what a deployment or rollback did on a device, and what is deployed there."""

from __future__ import annotations

from collections.abc import Iterator

from devices.releases.release_status import Release, Released, ReleaseStatus
from devices.releases.service_unit import describe_remaining_steps
from edge.report.terminal.text_layout import paragraph, table


def deployment_lines(released: Released) -> Iterator[str]:
    """Yield which release is current now and how it was checked."""
    state = "is current already" if released.unchanged else "is current"
    yield f"{released.device}: {released.release} {state}: {released.model}"
    golden = released.golden
    if golden is None:
        yield "  not checked with golden vectors"
    else:
        worst = f"largest difference {golden.worst}"
        yield paragraph(f"  {golden.runs} golden vectors passed on {golden.runtime}: {worst}")
    if not released.unchanged:
        yield f"  before: {released.previous or 'nothing'}; sent {released.sent_bytes / 1e6:.2f} MB"
    if released.unit is not None:
        state = "runs" if released.unit.running else f"was written, but does not run: {released.unit.why}"
        yield paragraph(f"  {released.unit.path} {state}")


def deployment_notes(released: Released) -> Iterator[str]:
    """Yield what a user should know or do besides."""
    if released.golden is not None and released.golden.alike:
        yield paragraph(f"note: {released.device}: all golden vectors have the same outputs, which proves little; "
                        "try --golden SRC")  # fmt: skip
    for line in describe_remaining_steps(released.unit) if released.unit is not None else ():
        yield f"on {released.device}: {line}"


def status_lines(status: ReleaseStatus) -> Iterator[str]:
    """Yield the releases on a device, the current one marked."""
    yield f"{status.device}: {status.root}"
    if status.holder:
        yield f"  {status.holder} is deploying"
    if not status.releases:
        yield "  nothing has been deployed"
        return
    heads = ("", "RELEASE", "MODEL", "MB", "FILES", "GOLDEN", "DEPLOYED", "BY")
    rows = [_row(each, current=each.id == status.current) for each in status.releases]
    yield from table([heads, *rows], right=(3,))


def _row(release: Release, *, current: bool) -> list[str]:
    size = None if release.bytes is None else f"{release.bytes / 1e6:.2f}"
    golden = "none" if release.golden is None else f"passed ({release.golden.runtime})"
    known = [release.label, size, release.state, golden, release.deployed, release.by]
    return ["*" if current else "", release.id, *("?" if each is None else each for each in known)]
