"""How often a line damages a byte. Only the standard library, in the words of Python 3.7: also sent to boards."""

from __future__ import annotations

import math

from firmware_tools.serial_link.frames import OVERHEAD_BYTES

LEAST_PAYLOAD, MOST_PAYLOAD = 16, 1024
_FADING = 0.99


class Weather:
    """How often the line damages a byte, and how long frames should be for that."""

    def __init__(self) -> None:
        self._frames, self._bytes, self._lost = 20.0, 2000.0, 1.0

    def saw(self, length: int, lost: bool) -> None:
        """Count a frame of so many bytes, the last ones most."""
        self._frames = self._frames * _FADING + 1
        self._bytes = self._bytes * _FADING + length
        self._lost = self._lost * _FADING + lost

    @property
    def damage(self) -> float:
        """Probability that one byte is damaged."""
        share = min(self._lost / self._frames, 0.98)
        return max(-math.log1p(-share) * self._frames / self._bytes, 1e-6)

    @property
    def payload(self) -> int:
        """The payload n for which most arrives: it maximizes exp(-damage (n + overhead)) n / (n + overhead)."""
        best = (math.sqrt(OVERHEAD_BYTES**2 + 4 * OVERHEAD_BYTES / self.damage) - OVERHEAD_BYTES) / 2
        return int(min(max(best, LEAST_PAYLOAD), MOST_PAYLOAD))
