"""Defines the evidence that the validity rules of energy judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.measure.conditions import ConditionsSample
from edge.measure.energy.value import Alignment, EnergyWindow, Idle, MeterRef, RefusedAlignment
from firmware_tools.trace import Trace


@dataclass(frozen=True, eq=False)
class EnergyEvidence:
    """A run as measured, before it is judged.

    Attributes:
        changes: Number of changes of the reading, in each window.
        still: Share of each window's readings in the longest row of equal ones.
        net_uncertainty_w: Expanded uncertainty of the power net of idle; None where it is unknown.
        alignment_share: Standard uncertainty of the energy by alignment, relative.
    """

    meter: MeterRef
    trace: Trace
    windows: tuple[EnergyWindow, ...]
    in_windows: NDArray[np.bool_]
    changes: tuple[int, ...]
    still: tuple[float, ...]
    idle: Idle | None
    net_uncertainty_w: float | None
    alignment: Alignment
    alignment_share: float
    refused: tuple[RefusedAlignment, ...]
    contradictions: tuple[str, ...]
    trigger_asked: bool
    conditions: tuple[ConditionsSample, ...]
    machine: str | None = None
    incomplete: str | None = None

    @property
    def kind(self) -> str:
        """The kind of meter that made the samples: of a replay, the recorded one."""
        return str(self.meter.settings.get("recorded_kind", self.meter.kind))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the meter that made the samples: of a replay, the recorded ones."""
        settings = self.meter.settings
        while isinstance(recorded := settings.get("recorded_settings"), Mapping):
            settings = recorded
        return settings

    @property
    def lengths_s(self) -> list[float]:
        """The lengths of the windows."""
        return [window.end_s - window.begin_s for window in self.windows]
