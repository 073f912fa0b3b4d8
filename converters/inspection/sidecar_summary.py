"""The artifact file that a conversion leaves beside its .tflite file, as far as an inspection shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = "edge-artifact/1"


@dataclass(frozen=True)
class ArtifactNote:
    """What NAME.json says about NAME.tflite; `problem` says why it must not be trusted, None if it may."""

    path: str
    recipe: str | None
    source: str | None
    created: str | None
    parity: Mapping[str, Any] | None
    problem: str | None


def artifact_beside(path: Path, sha256: str) -> ArtifactNote | None:
    """Read the artifact file beside a .tflite file.

    Args:
        path: the .tflite file.
        sha256: its digest, which the artifact file must name.

    Returns:
        None where there is no such file, or it is no artifact file.
    """
    beside = path.with_suffix(".json")
    try:
        value = json.loads(beside.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return ArtifactNote(str(beside), None, None, None, None, f"{beside} cannot be read: {error}")
    if not isinstance(value, dict) or value.get("schema") != _SCHEMA:
        return None
    recorded = value.get("sha256")
    matches = recorded == sha256
    return ArtifactNote(
        path=str(beside),
        recipe=_name_in(value.get("recipe")),
        source=_name_in(value.get("source")),
        created=value.get("created"),
        parity=value.get("parity") if isinstance(value.get("parity"), dict) else None,
        problem=None if matches else f"{beside} describes another file: it names sha256 {recorded}, this is {sha256}",
    )


def _name_in(value: object) -> str | None:
    return value.get("name") if isinstance(value, dict) else None
