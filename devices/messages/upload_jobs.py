"""Defines the jobs that lock a board's release folder and upload contents, and the refusal of a deployment step.

Each request may name the `root`, the folder of the releases; None is the root whose lock the agent took last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from converters.decode import AtLeast, Count, NonNegative, Positive
from converters.errors import EdgeError
from devices.messages.protocol import Request


@dataclass(frozen=True)
class LockHolder:
    """The user who deploys now, and the process id of their agent."""

    who: str
    pid: int

    def __str__(self) -> str:
        return f"{self.who} (process {self.pid})"


@dataclass(frozen=True)
class StepRefusal:
    """The reason for a refusal: `kind` is busy, full, damaged, unknown or disk; `releases` lists the existing ones."""

    kind: str
    message: str
    hint: str | None = None
    releases: tuple[str, ...] = ()


class RefusedError(EdgeError):
    """The board refuses a step of a deployment; raised by the agent's job, and again on the host."""

    exit_code = 10

    def __init__(self, refusal: StepRefusal) -> None:
        super().__init__(refusal.message, hint=refusal.hint)
        self.refusal = refusal


@dataclass(frozen=True)
class LockResult:
    """The current release, the one before it, and whether its files were compared and are the `wanted` ones."""

    root: str
    current: str | None
    previous: str | None
    serves: bool


@dataclass(frozen=True)
class LockRequest(Request[LockResult]):
    """Take the lock of a root for as long as the agent runs, waiting for another holder.

    `wanted` is the digest of files that may serve already. After `lease_s` without a request, the agent that holds the
    lock ends itself.
    """

    job = "store_lock"
    answer = LockResult

    root: str | None
    who: str
    wanted: str = ""
    wait_s: NonNegative = 0.0
    lease_s: Annotated[float, AtLeast(0.1)] = 30.0


@dataclass(frozen=True)
class WantedContent:
    """A content that the host would send; `seeds` are paths on the board where it may lie already."""

    sha256: str
    bytes: Count
    seeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class MissingContent:
    """A content that is not there; `have` bytes of its beginning are, and `have_sha256` is their sum."""

    sha256: str
    bytes: int
    have: int
    have_sha256: str | None


@dataclass(frozen=True)
class CheckResult:
    """The contents that are missing."""

    missing: tuple[MissingContent, ...]


@dataclass(frozen=True)
class CheckRequest(Request[CheckResult]):
    """Find the contents that are missing, and make room for them; the newest `keep` releases stay."""

    job = "store_check"
    answer = CheckResult

    files: tuple[WantedContent, ...]
    keep: Positive
    root: str | None = None


@dataclass(frozen=True)
class WriteResult:
    """The number of bytes of the content on the board."""

    bytes: int


@dataclass(frozen=True)
class WriteRequest(Request[WriteResult]):
    """Write the payload at `offset` of a content; what was there from `offset` on is dropped."""

    job = "store_write"
    answer = WriteResult

    sha256: str
    offset: Count
    payload: bytes
    root: str | None = None


@dataclass(frozen=True)
class SealResult:
    """The content that is complete."""

    sha256: str


@dataclass(frozen=True)
class SealRequest(Request[SealResult]):
    """Check the sum of a content that is complete, and give it its name."""

    job = "store_seal"
    answer = SealResult

    sha256: str
    root: str | None = None
