"""A root on a board, reached over SSH through a proxy that can be armed, and from here for what must not fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faulty_proxy import FaultyProxy

from converters.tflite.reader import parse_model
from devices.local import LocalDevice
from devices.releases.board import Timeouts
from devices.ssh.address import Address
from devices.ssh.device import SSHDevice
from edge.runtime import load, verify_file
from edge.workflows.deployment import Deployment, DeployRequest

QUICK = Timeouts(answer_s=20, piece_s=20, golden_s=60, lock_s=20, lease_s=5)
IMPATIENT = Timeouts(answer_s=1.0, piece_s=1.0, golden_s=1.5, lock_s=20, lease_s=0.8)


@dataclass
class Bench:
    """One root, reached over SSH through a proxy that can be armed, and from here for what must not fail."""

    proxy: FaultyProxy
    address: Address
    pins: dict
    root: Path
    folder: Path
    original: Path
    made: int = 0

    def device(self) -> SSHDevice:
        return SSHDevice("board", self.address, pins=self.pins)

    def model(self) -> Path:
        """A model nobody has seen: the same network, one weight changed."""
        self.made += 1
        data = bytearray(self.original.read_bytes())
        place = _largest_constant(self.original)
        data[place : place + 4] = self.made.to_bytes(4, "little")
        path = self.folder / f"model-{self.made}.tflite"
        path.write_bytes(data)
        return path

    def request(self, model: Path, **changes) -> DeployRequest:
        return DeployRequest(model=model, **{"root": str(self.root), "keep": 2, "timeouts": QUICK, **changes})

    def deploy(self, model: Path, **changes):
        """Deploy over SSH."""
        return Deployment(self.request(model, **changes)).to(self.device())

    def deploy_from_here(self, model: Path, **changes):
        """Deploy to the same root without SSH."""
        return Deployment(self.request(model, **changes)).to(LocalDevice())

    @property
    def current(self) -> Path:
        return self.root / "current" / "model.tflite"

    def serves(self, model: Path) -> None:
        """Check that what serves is this very model, whole, and that it runs."""
        assert self.current.read_bytes() == model.read_bytes()
        with load(self.current) as runs:
            assert runs.run(np.full((1, 128, 128, 3), 128, np.uint8))[0].shape == (1, 1001)

    def nothing_half_made(self) -> None:
        """Check that each release under its own name is whole."""
        for folder in (self.root / "releases").iterdir():
            if not folder.name.startswith("."):
                assert {"model.tflite", "manifest.json"} <= {each.name for each in folder.iterdir()}
                assert verify_file(folder / "model.tflite").operators


def _largest_constant(path: Path) -> int:
    data = path.read_bytes()
    constants = parse_model(data).buffers
    largest = max(constants, key=len)
    return data.index(bytes(largest))
