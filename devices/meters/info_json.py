"""What a meter is, as JSON and back, with every field looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from devices.meters.contract import MeterInfo
from devices.meters.errors import RecordingError

_TEXTS = ("kind", "name", "identity", "accuracy_source", "clock")
_NUMBERS = ("gain_uncertainty", "offset_uncertainty_w")
# Beyond these nothing can be computed, and no meter is.
_MOST_GAIN, _MOST_OFFSET_W, _RATES_HZ = 1.0, 1e9, (1e-6, 1e9)
_FLAGS = ("has_trigger", "is_estimate")


def info_to_json(info: MeterInfo) -> dict[str, Any]:
    """Return it as `json.dumps` takes it."""
    return {**asdict(info), "settings": dict(info.settings)}


def info_from_json(raw: object) -> MeterInfo:
    """Return what was written.

    Raises:
        RecordingError: A field is missing, unknown, of the wrong type, or beyond what a meter can be.
    """
    if not isinstance(raw, Mapping) or set(raw) != set(MeterInfo.__dataclass_fields__):
        raise RecordingError("the meter's description has not the fields it must have")
    rate = raw["nominal_rate_hz"]
    right = (
        all(isinstance(raw[name], str) for name in _TEXTS)
        and raw["clock"] in ("meter", "host")
        and all(_is_number(raw[name]) for name in _NUMBERS)
        and (rate is None or _is_number(rate))
        and all(isinstance(raw[name], bool) for name in _FLAGS)
        and isinstance(raw["settings"], Mapping)
    )
    if not right:
        raise RecordingError("the meter's description has a field of the wrong type")
    if raw["gain_uncertainty"] > _MOST_GAIN or raw["offset_uncertainty_w"] > _MOST_OFFSET_W:
        raise RecordingError("the meter's description has an uncertainty that is impossible")
    if rate is not None and not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
        raise RecordingError(f"the meter's description has an impossible rate, {rate:g} Hz")
    return MeterInfo(**{str(name): value for name, value in raw.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
