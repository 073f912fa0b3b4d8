"""What a board says of its releases and of a check, parsed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from devices.releases.release_paths import CURRENT_MODEL, MODEL


@dataclass(frozen=True)
class RuntimeUsed:
    """The TFLite runtime that ran a check on the board."""

    name: str
    version: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.version or '(version unknown)'}"


@dataclass(frozen=True)
class GoldenOutput:
    """The largest difference of one output; None where it is no number (another shape or type, or no finite value).

    `unit` is "steps" of the stored integers, "relative" to the output's largest magnitude, or "share" of the values.
    """

    name: str
    unit: str
    limit: float
    largest: float | None
    run: int
    passed: bool

    def __str__(self) -> str:
        found = "not comparable" if self.largest is None else f"{self.largest:.3g}"
        unit = {"steps": " steps", "share": " of all values", "relative": " of the largest value"}[self.unit]
        return f"{self.name!r} {found} (allowed {self.limit:.3g}{unit})"


@dataclass(frozen=True)
class Golden:
    """How golden vectors came out on a board; `alike` says that all have the same outputs, which proves little."""

    passed: bool
    runs: int
    alike: bool
    outputs: tuple[GoldenOutput, ...]
    runtime: RuntimeUsed

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Golden:
        """Read the agent's answer, or what a manifest holds of it."""
        names = ("name", "unit", "limit", "largest", "run", "passed")
        outputs = tuple(GoldenOutput(**{name: each[name] for name in names}) for each in values["outputs"])
        return cls(
            bool(values["passed"]),
            int(values["runs"]),
            bool(values["alike"]),
            outputs,
            RuntimeUsed(**values["runtime"]),
        )

    @property
    def worst(self) -> GoldenOutput:
        """The output that came closest to its limit, or exceeded it most."""
        return max(self.outputs, key=lambda each: _share(each.largest, each.limit))

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value; `parse` reads it."""
        return asdict(self)


@dataclass(frozen=True)
class Release:
    """One release on a board. `faults` is None where its files were not read, and empty where all are right.

    What a manifest would say is None where it cannot be read. `deployed` is a label, by the clock of who deployed.
    """

    id: str
    number: int
    label: str | None
    sha256: str | None
    bytes: int | None
    deployed: str | None
    by: str | None
    previous: str | None
    golden: Golden | None
    files: Mapping[str, Any]
    faults: tuple[str, ...] | None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Release:
        """Read one entry of the agent's answer."""
        manifest = values["manifest"] or {}
        files = manifest.get("files", {})
        model, golden = files.get(MODEL, {}), manifest.get("golden")
        return cls(
            id=values["id"],
            number=values["number"],
            label=manifest.get("label"),
            sha256=model.get("sha256"),
            bytes=model.get("bytes"),
            deployed=manifest.get("deployed"),
            by=manifest.get("by"),
            previous=manifest.get("previous"),
            golden=None if golden is None else Golden.parse(golden),
            files=files,
            faults=None if values["faults"] is None else tuple(values["faults"]),
        )

    @property
    def state(self) -> str:
        """good, damaged, or unchecked."""
        return "unchecked" if self.faults is None else "damaged" if self.faults else "good"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {**asdict(self), "state": self.state}


@dataclass(frozen=True)
class Status:
    """What is on a board; `current` is the id of what serves, `holder` who deploys at this moment."""

    device: str
    root: str
    current: str | None
    releases: tuple[Release, ...]
    holder: str | None
    free_bytes: int | None

    @classmethod
    def parse(cls, device: str, values: Mapping[str, Any]) -> Status:
        """Read the agent's answer."""
        holder = values["holder"]
        return cls(
            device=device,
            root=values["root"],
            current=values["current"],
            releases=tuple(Release.parse(each) for each in values["releases"]),
            holder=f"{holder['who']} (process {holder['pid']})" if holder else None,
            free_bytes=values["free_bytes"],
        )

    def find(self, name: str | None) -> Release | None:
        """Return the release of that id."""
        return next((each for each in self.releases if each.id == name), None)

    @property
    def serving(self) -> Release | None:
        """What serves; None where nothing does, or where `current` leads nowhere."""
        return self.find(self.current)

    @property
    def damaged(self) -> tuple[str, ...]:
        """What is wrong on the board, one line each."""
        faults = tuple(f"{each.id}: {fault}" for each in self.releases for fault in each.faults or ())
        lost = self.current is not None and self.serving is None
        return (*faults, *((f"current leads to {self.current}, which is not there",) if lost else ()))

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {**asdict(self), "releases": [each.to_json() for each in self.releases]}


@dataclass(frozen=True)
class UnitState:
    """The systemd unit of the user's own program: whether systemd took it, and if not, why."""

    name: str
    path: str
    running: bool
    why: str | None
    lingers: bool

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> UnitState | None:
        """Read the agent's answer; None where there is no unit."""
        if values.get("unit") is None:
            return None
        return cls(values["unit"], values["path"], values["running"], values["why"], values["lingers"])

    @property
    def advice(self) -> tuple[str, ...]:
        """What is left for the user to do on the board."""
        by_hand = (
            () if self.running else (f"systemctl --user daemon-reload && systemctl --user enable --now {self.name}",)
        )
        return (
            *by_hand,
            *(() if self.lingers else ("sudo loginctl enable-linger $USER   # so that it starts at boot",)),
        )


@dataclass(frozen=True)
class Released:
    """A deployment or a rollback that is done.

    `unchanged` says that this very release served already; `sent_bytes` counts contents, not the talk around them.
    """

    device: str
    root: str
    release: str
    previous: str | None
    unchanged: bool
    sent_bytes: int
    golden: Golden | None
    unit: UnitState | None
    deleted: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The path under which the board's own programs find the model that serves."""
        return f"{self.root}/{CURRENT_MODEL}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {**asdict(self), "model": self.model}


def _share(largest: float | None, limit: float) -> float:
    if largest is None:
        return float("inf")
    return largest / limit if limit else (0.0 if not largest else float("inf"))
