"""Random changes of a training input that leave its class as it is."""

from __future__ import annotations

import numpy as np

from edge.runtime.preprocessing import Floats

_SHIFT_PART = 8


def augmented(x: Floats, names: tuple[str, ...], random: np.random.Generator) -> Floats:
    """Return one input mirrored and moved at random: `names` of "flip" and "shift"; x is height x width x channels."""
    if "flip" in names and random.integers(2):
        x = x[:, ::-1]
    return _shifted(x, random) if "shift" in names else x


def _shifted(x: Floats, random: np.random.Generator) -> Floats:
    """Move by up to an eighth of each side; the border is continued with its own pixels."""
    height, width = x.shape[:2]
    reach = height // _SHIFT_PART, width // _SHIFT_PART
    top, left = random.integers(0, 2 * reach[0] + 1), random.integers(0, 2 * reach[1] + 1)
    padded = np.pad(x, ((reach[0],) * 2, (reach[1],) * 2, (0, 0)), mode="edge")
    return padded[top : top + height, left : left + width]
