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
_FLAGS = ("has_trigger", "is_estimate")


def info_to_json(info: MeterInfo) -> dict[str, Any]:
    """Return it as `json.dumps` takes it."""
    return {**asdict(info), "settings": dict(info.settings)}


def info_from_json(raw: object) -> MeterInfo:
    """Return what was written.

    Raises:
        RecordingError: A field is missing, unknown or of the wrong type.
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
    return MeterInfo(**{str(name): value for name, value in raw.items()})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
