"""The source `digits`: 1,797 scans of handwritten digits, 8x8 pixels of 16 grays, that come with scikit-learn.

They are the test part of the UCI data set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.data.images import fit_pixels
from edge.data.packages import require_package
from edge.data.source import Source
from edge.runtime.preprocessing import Floats, Pixels, Preprocessing

NAME = "digits"
_GRAYS = 16


@dataclass(frozen=True)
class Scans:
    """An origin: small gray scans held in memory, enlarged when they are read."""

    scans: Pixels
    preprocessing: Preprocessing

    def read(self, position: int) -> Floats:
        """Enlarge one scan to the model's input and scale it."""
        from PIL import Image

        return self.preprocessing.apply(fit_pixels(Image.fromarray(self.scans[position]), self.preprocessing))

    def name(self, position: int) -> str:
        """Return the scan's number as text."""
        return f"digit {position}"

    def size_bytes(self, position: int) -> int:
        """Return the size of a scan."""
        return int(self.scans[position].nbytes)

    def content(self, position: int) -> bytes:
        """Return the scan's pixels."""
        return bytes(self.scans[position].tobytes())


def open_digits(preprocessing: Preprocessing) -> Source:
    """Return a source of all scans with their labels.

    Raises:
        MissingPartError: scikit-learn or Pillow is not installed.
    """
    require_package("PIL.Image", "pillow", "the data 'digits'")
    datasets = require_package("sklearn.datasets", "scikit-learn", "the data 'digits'")
    bunch = datasets.load_digits()
    scans = np.round(bunch.images * (255.0 / _GRAYS)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    names = tuple(str(name) for name in bunch.target_names)
    return Source(NAME, NAME, preprocessing, Scans(scans, preprocessing), np.arange(len(scans)), labels, names)
