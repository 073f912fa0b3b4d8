"""Names the folders and files of releases on a board; the agent knows the rest (edge.agent.store).

One root holds one model that serves, `ROOT/current/model.tflite`; another model has a root of its own.
"""

from __future__ import annotations

from posixpath import join
from typing import TYPE_CHECKING

from devices import board_paths as layout
from devices.registry import KINDS

if TYPE_CHECKING:
    from devices.contract import Device

ROOT = f"{layout.ROOT}/deployed"  # relative to the home folder of the user that logs in
MODEL, DESCRIPTION, GOLDEN = "model.tflite", "model.json", "golden.npz"
CURRENT_MODEL = f"current/{MODEL}"
KEEP = 5  # releases, the one that serves included


def root_on(device: Device) -> str:
    """Return the root where the user names none; devices that share this machine's files have one each."""
    if KINDS[device.kind].own_files:
        return ROOT
    return join(layout.ROOT, device.kind, device.name, "deployed")


def other_places(sha256: str) -> list[str]:
    """Return where the model of this content may lie on a board because it was run or measured there."""
    return [f"~/{layout.MODELS}/{sha256}.tflite"]
