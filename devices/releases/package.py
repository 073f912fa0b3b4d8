"""Defines what a release consists of: its files, each known by its sha256, their names, and where they are on a board.

One root holds one model that serves, `ROOT/current/model.tflite`; another model has a root of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from posixpath import join
from typing import TYPE_CHECKING

from devices import board_paths
from devices.messages.release_jobs import ContentRef, digest_of
from devices.registry import KINDS

if TYPE_CHECKING:
    from devices.contract import Device


ROOT = f"{board_paths.ROOT}/deployed"  # relative to the home folder of the user that logs in
MODEL, DESCRIPTION, GOLDEN = "model.tflite", "model.json", "golden.npz"
CURRENT_MODEL = f"current/{MODEL}"
KEEP = 5  # releases, the one that serves included


def root_on(device: Device) -> str:
    """Return the root where the user names none; devices that share this machine's files have one each."""
    if KINDS[device.kind].own_files:
        return ROOT
    return join(board_paths.ROOT, device.kind, device.name, "deployed")


def other_places(sha256: str) -> list[str]:
    """Return where the model of this content may lie on a board because it was run or measured there."""
    return [f"~/{board_paths.MODELS}/{sha256}.tflite"]


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
