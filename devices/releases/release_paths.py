"""Names the folders and files of releases on a board; the agent knows the rest (edge.agent.store).

One root holds one model that serves, `ROOT/current/model.tflite`; another model has a root of its own.
"""

from __future__ import annotations

from posixpath import join
from typing import TYPE_CHECKING

from devices import board_paths as layout

if TYPE_CHECKING:
    from devices.contract import Device

ROOT = f"{layout.ROOT}/deployed"  # relative to the home folder of the user that logs in
MODEL, DESCRIPTION, GOLDEN = "model.tflite", "model.json", "golden.npz"
CURRENT_MODEL = f"current/{MODEL}"
KEEP = 5  # releases, the one that serves included


def root_on(device: Device) -> str:
    """Return the root where the user names none; emulated boards share this machine's files, and have one each."""
    if device.kind == "emulated":
        return join(layout.ROOT, "emulated", device.name, "deployed")
    return ROOT


def other_places(sha256: str) -> list[str]:
    """Return where the model of this content may lie on a board because it was run or measured there."""
    return [f"~/{layout.MODELS}/{sha256}.tflite"]
