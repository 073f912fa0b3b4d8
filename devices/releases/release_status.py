"""Describes a board's releases, and the result of a deployment or rollback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from devices.messages.model_jobs import GoldenResult
from devices.messages.release_jobs import ContentRef, ReleaseState, StatusResult, UnitState
from devices.releases.package import CURRENT_MODEL, MODEL


@dataclass(frozen=True)
class Release:
    """One release on a board. `faults` is None where its files were not read, and empty where all are right.

    What its manifest holds is None where that cannot be read. `deployed` is a label, by the clock of the deploying
    host.
    """

    id: str
    number: int
    label: str | None
    sha256: str | None
    bytes: int | None
    deployed: str | None
    by: str | None
    previous: str | None
    golden: GoldenResult | None
    files: Mapping[str, ContentRef]
    faults: tuple[str, ...] | None

    @classmethod
    def of(cls, state: ReleaseState) -> Release:
        """Return the release that the agent describes."""
        manifest = state.manifest
        model = manifest.files.get(MODEL) if manifest else None
        return cls(
            id=state.id,
            number=state.number,
            label=manifest.label if manifest else None,
            sha256=model.sha256 if model else None,
            bytes=model.bytes if model else None,
            deployed=manifest.deployed if manifest else None,
            by=manifest.by if manifest else None,
            previous=manifest.previous if manifest else None,
            golden=manifest.golden if manifest else None,
            files=manifest.files if manifest else {},
            faults=state.faults,
        )

    @property
    def state(self) -> str:
        """good, damaged, or unchecked."""
        return "unchecked" if self.faults is None else "damaged" if self.faults else "good"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {**asdict(self), "state": self.state}


@dataclass(frozen=True)
class ReleaseStatus:
    """All releases of one root; `current` is the id of the current one, `holder` the user who deploys now."""

    device: str
    root: str
    current: str | None
    releases: tuple[Release, ...]
    holder: str | None
    free_bytes: int | None

    @classmethod
    def of(cls, device: str, answer: StatusResult) -> ReleaseStatus:
        """Return the status that the agent reports."""
        return cls(
            device=device,
            root=answer.root,
            current=answer.current,
            releases=tuple(map(Release.of, answer.releases)),
            holder=str(answer.holder) if answer.holder else None,
            free_bytes=answer.free_bytes,
        )

    def find(self, name: str | None) -> Release | None:
        """Return the release of that id."""
        return next((each for each in self.releases if each.id == name), None)

    @property
    def serving(self) -> Release | None:
        """The current release; None if there is none, or if `current` is a dangling link."""
        return self.find(self.current)

    @property
    def damaged(self) -> tuple[str, ...]:
        """The faults on the board, one line each."""
        faults = tuple(f"{each.id}: {fault}" for each in self.releases for fault in each.faults or ())
        lost = self.current is not None and self.serving is None
        return (*faults, *((f"current leads to {self.current}, which does not exist",) if lost else ()))

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {**asdict(self), "releases": [each.to_json() for each in self.releases]}


@dataclass(frozen=True)
class Released:
    """The result of a deployment or rollback.

    `unchanged` is True where this very release served already; `sent_bytes` counts contents alone.
    """

    device: str
    root: str
    release: str
    previous: str | None
    unchanged: bool
    sent_bytes: int
    golden: GoldenResult | None
    unit: UnitState | None
    deleted: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The path under which the board's own programs find the model that serves."""
        return f"{self.root}/{CURRENT_MODEL}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {**asdict(self), "model": self.model}
