"""The lines that host and agent exchange: one JSON document each.

A request is {"id": n, "job": NAME, ...}. The answers to it are any number of {"id": n, "event": "progress", ...} and
then one {"id": n, "ok": true, "result": {...}} or {"id": n, "ok": false, "error": {"type", "message", "hint"}}.
Arrays travel as {"npy": base64 of the .npy format}. A request with "payload": n is followed by n bytes as they are.
"""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

from edge.runtime import errors

if TYPE_CHECKING:
    import numpy as np

PROTOCOL = 1
# One line holds at most this many bytes: about 50 float32 pictures of 224 x 224. Senders split longer work.
MAX_LINE_BYTES = 64 << 20


def encode_line(message: dict[str, Any]) -> bytes:
    """Return the message as one line, the newline included."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Parse one line.

    Raises:
        RuntimeFault: The line is too long, no JSON, or no JSON object.
    """
    if len(line) > MAX_LINE_BYTES:
        raise errors.RuntimeFault(
            f"a line of the agent's protocol holds at most {MAX_LINE_BYTES} bytes, this one is longer",
            hint="send fewer inputs in one job",
        )
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise errors.RuntimeFault(f"a line of the agent's protocol is no JSON: {_excerpt(line)}") from error
    if not isinstance(message, dict):
        raise errors.RuntimeFault(f"a line of the agent's protocol must be a JSON object, got {_excerpt(line)}")
    return message


def encode_array(array: np.ndarray) -> dict[str, str]:
    """Return an array of numbers as a JSON value."""
    import numpy as np

    memory = io.BytesIO()
    np.save(memory, np.asarray(array), allow_pickle=False)
    return {"npy": base64.b64encode(memory.getvalue()).decode("ascii")}


def decode_array(value: Any) -> np.ndarray:  # noqa: ANN401
    """Return the array that `encode_array` wrote.

    Raises:
        ModelInputError: The value is not an encoded array.
    """
    import numpy as np

    try:
        array: np.ndarray = np.load(io.BytesIO(base64.b64decode(value["npy"], validate=True)), allow_pickle=False)
    except (TypeError, KeyError, ValueError, EOFError) as error:
        raise errors.ModelInputError(f"an array must travel as {{'npy': base64 of .npy}}: {error}") from error
    return array


def encode_error(error: BaseException) -> dict[str, str | None]:
    """Return an error as the protocol names it; a class unknown to the host's tree travels as its base."""
    if isinstance(error, errors.RuntimeFault):
        return {"type": type(error).__name__, "message": str(error), "hint": error.hint}
    if isinstance(error, MemoryError):
        return {"type": "InferenceError", "message": "the device ran out of memory", "hint": None}
    return {"type": "RuntimeFault", "message": f"internal error: {type(error).__name__}: {error}", "hint": None}


def decode_error(value: Any) -> errors.RuntimeFault:  # noqa: ANN401
    """Return the error that `encode_error` wrote, as the same class."""
    fields = value if isinstance(value, dict) else {}
    kind = getattr(errors, str(fields.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.RuntimeFault)):
        kind = errors.RuntimeFault
    hint = fields.get("hint")
    return kind(str(fields.get("message", value)), hint=None if hint is None else str(hint))


def _excerpt(line: bytes) -> str:
    return repr(line[:60]) + ("..." if len(line) > 60 else "")
