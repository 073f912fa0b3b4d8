"""Defines the jobs that create releases on a board, switch between them and start the user's systemd unit.

Each request may name the `root`, the folder of the releases; None is the root whose lock the agent took last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from converters.decode import Positive
from devices.messages.model_jobs import GoldenResult
from devices.messages.protocol import Request
from devices.messages.upload_jobs import LockHolder


@dataclass(frozen=True)
class ContentRef:
    """The content of a file, by its sum."""

    sha256: str
    bytes: int | None = None


@dataclass(frozen=True)
class ReleaseManifest:
    """The file manifest.json of a release. `deployed` is a label, by the clock of the deploying host."""

    schema: str
    id: str
    number: int
    files: Mapping[str, ContentRef]
    previous: str | None = None
    label: str | None = None
    deployed: str | None = None
    by: str | None = None
    golden: GoldenResult | None = None


@dataclass(frozen=True)
class SwitchResult:
    """The release that is current now, and the one before."""

    id: str | None
    previous: str | None


@dataclass(frozen=True)
class PublishRequest(Request[SwitchResult]):
    """Make a release of contents that are there, and switch to it; `sha256` is the model's."""

    job = "release_publish"
    answer = SwitchResult

    files: Mapping[str, ContentRef]
    sha256: str
    label: str | None
    deployed: str
    by: str
    golden: GoldenResult | None = None
    root: str | None = None


@dataclass(frozen=True)
class SwitchRequest(Request[SwitchResult]):
    """Make release `to` serve once its sums were compared, or none where it is None; then delete another."""

    job = "release_switch"
    answer = SwitchResult

    to: str | None = None
    delete: str | None = None
    root: str | None = None


@dataclass(frozen=True)
class CleanResult:
    """The releases that were deleted."""

    deleted: tuple[str, ...]


@dataclass(frozen=True)
class CleanRequest(Request[CleanResult]):
    """Delete the releases beyond the newest `keep`, and contents that no release refers to."""

    job = "release_clean"
    answer = CleanResult

    keep: Positive
    root: str | None = None


@dataclass(frozen=True)
class ReleaseState:
    """One release; `manifest` is None where it cannot be read, `faults` where the files were not read."""

    id: str
    number: int
    manifest: ReleaseManifest | None
    faults: tuple[str, ...] | None


@dataclass(frozen=True)
class StatusResult:
    """All releases, the current one, the holder of the lock, and the free space."""

    root: str
    current: str | None
    releases: tuple[ReleaseState, ...]
    holder: LockHolder | None
    free_bytes: int | None


@dataclass(frozen=True)
class StatusRequest(Request[StatusResult]):
    """List the releases; with `verify`, read and compare each file of each release, or of the release `only`."""

    job = "release_status"
    answer = StatusResult

    verify: bool = True
    only: str | None = None
    root: str | None = None


@dataclass(frozen=True)
class UnitState:
    """The systemd unit of the user's own program: whether it runs, and if not, why.

    `lingers` is False where it runs only while the user is logged in.
    """

    name: str
    path: str
    running: bool
    why: str | None
    lingers: bool


@dataclass(frozen=True)
class UnitResult:
    """The unit; None where there is none to restart."""

    unit: UnitState | None


@dataclass(frozen=True)
class UnitRequest(Request[UnitResult]):
    """Write the unit `name` with `text` and start it; without a text, restart the one of this root if there is one."""

    job = "unit"
    answer = UnitResult

    name: str
    text: str | None = None
    root: str | None = None


def digest_of(files: Mapping[str, ContentRef]) -> str:
    """Return a sum over the files of a release; host and board compare releases by it."""
    text = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
