"""What is deployed: a model and the files that belong to it, each known by the sha256 of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devices.releases.release_paths import GOLDEN, MODEL


@dataclass(frozen=True)
class Content:
    """One file: its name in the release, and its bytes."""

    name: str
    data: bytes = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Content:
        """Return the content of these bytes."""
        return cls(name, data, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Package:
    """All files of a release; `label` is the model's name for people."""

    label: str
    contents: tuple[Content, ...]

    @property
    def model(self) -> Content:
        """The model."""
        return next(each for each in self.contents if each.name == MODEL)

    @property
    def golden(self) -> Content | None:
        """Golden vectors: inputs and the outputs they must give; None to check nothing."""
        return next((each for each in self.contents if each.name == GOLDEN), None)

    @property
    def digest(self) -> str:
        """A sum over the files, as `edge.agent.store.digest_of` computes it on the board."""
        text = "".join(f"{each.name} {each.sha256}\n" for each in sorted(self.contents, key=lambda each: each.name))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def files(self) -> Mapping[str, Any]:
        """Return {name: {sha256, bytes}}, as a manifest has it."""
        return {each.name: {"sha256": each.sha256, "bytes": len(each.data)} for each in self.contents}
