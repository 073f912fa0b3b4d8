"""Holds what is deployed: a model and the files that belong to it, each known by the sha256 of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from devices.messages.release_jobs import ContentRef, digest_of
from devices.releases.release_paths import GOLDEN, MODEL


@dataclass(frozen=True)
class DeployedFile:
    """One file: its name in the release, and its bytes."""

    name: str
    data: bytes = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> DeployedFile:
        """Return the content of these bytes."""
        return cls(name, data, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class ReleasePackage:
    """All files of a release; `label` is the model's name for people."""

    label: str
    contents: tuple[DeployedFile, ...]

    @property
    def model(self) -> DeployedFile:
        """The model."""
        return next(each for each in self.contents if each.name == MODEL)

    @property
    def golden(self) -> DeployedFile | None:
        """Golden vectors: inputs and the outputs they must give; None to check nothing."""
        return next((each for each in self.contents if each.name == GOLDEN), None)

    @property
    def digest(self) -> str:
        """A sum over the files, by which host and board compare releases."""
        return digest_of(self.files())

    def files(self) -> Mapping[str, ContentRef]:
        """Return the files by name, as a manifest has them."""
        return {each.name: ContentRef(each.sha256, len(each.data)) for each in self.contents}
