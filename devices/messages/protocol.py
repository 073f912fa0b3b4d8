"""Encodes and decodes the lines that host and agent exchange: one JSON document each.

A request is {"id": n, "job": NAME, ...}. The answers to it are any number of {"id": n, "event": "progress", ...} and
then one of {"id": n, "ok": true, "result": {...}}, {"id": n, "ok": false, "error": {"type", "message", "hint"}} and
{"id": n, "ok": false, "refused": {"kind", "message", "hint", ...}}. A request with "payload": n is followed by n bytes
as they are. Arrays travel as {"npy": base64 of the .npy format}.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from converters.decode import DecodeError, decode, encode
from converters.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np

PROTOCOL = 2
# One line holds at most this many bytes: about 50 float32 images of 224 x 224. Senders split longer work.
MAX_LINE_BYTES = 64 << 20

R = TypeVar("R")


class ProtocolError(EdgeError):
    """A line or an array does not have the form that the protocol prescribes."""

    exit_code = 9


class Request(Generic[R]):
    """Base of all requests, which are frozen dataclasses: `job` names the job, `answer` is the class of its result.

    At most one field, `payload`, is bytes: they follow the line.
    """

    job: ClassVar[str]
    answer: ClassVar[type[Any]]


@dataclass(frozen=True)
class EncodedArray:
    """An array of numbers in the protocol's form."""

    npy: str


@dataclass(frozen=True)
class ProgressEvent:
    """How far a job is: `done` of `of` in this stage; `holder` is who holds the lock that it waits for."""

    stage: str
    done: float = 0
    of: float = 0
    holder: str | None = None


class Progress(Protocol):
    """Reports how far a job is."""

    def __call__(self, stage: str, *, done: float = 0, of: float = 0, holder: str | None = None) -> None: ...


def encode_request(request: Request[Any], number: int) -> bytes:
    """Return a request as a line, the newline included, and its payload."""
    fields = encode(request)
    payload = fields.get("payload")
    if isinstance(payload, bytes):
        fields["payload"] = len(payload)
    line = encode_line({"id": number, "job": request.job, **fields})
    return line + payload if isinstance(payload, bytes) else line


def decode_result(request: Request[R], answer: Mapping[str, Any]) -> R:
    """Return the result that an answer with "ok": true holds.

    Raises:
        ProtocolError: It is not the result of this request.
    """
    try:
        result = decode(request.answer, answer.get("result"), f"the result of {request.job!r}", ignore_unknown=True)
    except DecodeError as error:
        raise ProtocolError(str(error)) from error
    return cast("R", result)


def encode_line(message: Mapping[str, object]) -> bytes:
    """Return the message as one line, the newline included."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Parse one line.

    Raises:
        ProtocolError: The line is too long, not JSON, or not a JSON object.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(
            f"a line of the agent's protocol holds at most {MAX_LINE_BYTES} bytes, this one is longer",
            hint="send fewer inputs in one job",
        )
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a line of the agent's protocol is no JSON: {_excerpt(line)}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"a line of the agent's protocol must be a JSON object, got {_excerpt(line)}")
    return message


def encode_array(array: np.ndarray) -> EncodedArray:
    """Return an array of numbers in the protocol's form."""
    import numpy as np

    memory = io.BytesIO()
    np.save(memory, np.asarray(array), allow_pickle=False)
    return EncodedArray(base64.b64encode(memory.getvalue()).decode("ascii"))


def decode_array(value: EncodedArray) -> np.ndarray:
    """Return the array that `encode_array` encoded.

    Raises:
        ProtocolError: The value is not an encoded array.
    """
    import numpy as np

    try:
        array: np.ndarray = np.load(io.BytesIO(base64.b64decode(value.npy, validate=True)), allow_pickle=False)
    except (TypeError, ValueError, EOFError) as error:
        raise ProtocolError(f"an array must travel as {{'npy': base64 of .npy}}: {error}") from error
    return array


def _excerpt(line: bytes) -> str:
    return repr(line[:60]) + ("..." if len(line) > 60 else "")
