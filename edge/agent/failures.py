"""Encodes and decodes the failure of a job: its error or refusal, by the classes that both sides have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.decode import DecodeError, decode, encode
from converters.errors import EdgeError, ModelFileError
from devices.messages.protocol import ProtocolError
from devices.messages.upload_jobs import RefusedError, StepRefusal
from edge.runtime import errors


def encode_failure(error: BaseException) -> dict[str, Any]:
    """Return the fields of an answer with "ok": false."""
    if isinstance(error, RefusedError):
        return {"refused": encode(error.refusal)}
    return {"error": _encode_error(error)}


def decode_failure(answer: Mapping[str, Any]) -> EdgeError:
    """Return the error that `encode_failure` encoded, as the same class; an unknown class becomes a RuntimeFault."""
    if "refused" in answer:
        try:
            return RefusedError(decode(StepRefusal, answer["refused"], "the refusal", ignore_unknown=True))
        except DecodeError as error:
            return errors.RuntimeFault(str(error))
    value = answer.get("error")
    fields = value if isinstance(value, dict) else {}
    hint = fields.get("hint")
    return _class_of(str(fields.get("type")))(
        str(fields.get("message", value)), hint=None if hint is None else str(hint)
    )


def _class_of(name: str) -> type[EdgeError]:
    if name == ModelFileError.__name__:
        return ModelFileError
    kind = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, errors.RuntimeFault) else errors.RuntimeFault


def _encode_error(error: BaseException) -> dict[str, str | None]:
    if isinstance(error, errors.RuntimeFault | ModelFileError):
        return {"type": type(error).__name__, "message": str(error), "hint": error.hint}
    if isinstance(error, ProtocolError | DecodeError):
        return {"type": "RuntimeFault", "message": str(error), "hint": error.hint}
    if isinstance(error, MemoryError):
        return {"type": "InferenceError", "message": "the device ran out of memory", "hint": None}
    return {"type": "RuntimeFault", "message": f"internal error: {type(error).__name__}: {error}", "hint": None}
