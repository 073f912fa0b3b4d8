"""Carries out the steps of a deployment through a board's agent. Every wait has a deadline."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from devices.messages.model_jobs import GoldenRequest, GoldenResult
from devices.messages.protocol import ProgressEvent, Request
from devices.messages.release_jobs import (
    CleanRequest,
    PublishRequest,
    StatusRequest,
    SwitchRequest,
    SwitchResult,
    UnitRequest,
    UnitState,
)
from devices.messages.upload_jobs import (
    CheckRequest,
    LockRequest,
    MissingContent,
    RefusedError,
    SealRequest,
    WantedContent,
    WriteRequest,
)
from devices.releases.errors import DamagedError, refusal_error
from devices.releases.package import MODEL, DeployedFile, ReleasePackage, other_places
from devices.releases.release_status import ReleaseStatus

R = TypeVar("R")
OnStep = Callable[[str, int, int], None]  # what is done, bytes or steps done, and in all
FIRST_PIECE_BYTES, MOST_PIECE_BYTES = 1 << 15, 1 << 22
QUICK_S = 0.5  # a piece that took less is followed by a larger one
ATTEMPTS = 2  # what arrived wrong is sent once more


class Agent(Protocol):
    """The part of a running agent that a deployment uses (edge.agent.client.AgentClient)."""

    def call(
        self, request: Request[R], *, deadline_s: float, on_progress: Callable[[ProgressEvent], None] | None = None
    ) -> R:
        """Do a job and return its result."""


@dataclass(frozen=True)
class Timeouts:
    """Deadlines, in seconds.

    Attributes:
        answer_s: For a step that reads or writes files on the board.
        piece_s: For a piece of a file to arrive.
        golden_s: For the golden vectors to be run.
        lock_s: For another deployment to end.
        lease_s: After how long without a request the board gives up a deployment.
    """

    answer_s: float = 60.0
    piece_s: float = 60.0
    golden_s: float = 300.0
    lock_s: float = 45.0
    lease_s: float = 30.0


@dataclass(frozen=True)
class Serving:
    """The current release when the lock is taken, the one before it, and whether its files are the wanted ones."""

    release: str | None
    previous: str | None
    same: bool


class ReleaseBoard:
    """The releases under one root of one board.

    Args:
        agent: The running agent.
        device: The board's name, for messages.
        root: The folder of the releases, relative to the home folder there or absolute.
        timeouts: The deadlines.
    """

    def __init__(self, agent: Agent, device: str, root: str, *, timeouts: Timeouts | None = None) -> None:
        self._agent = agent
        self.device, self.root = device, root
        self._is_locked = False
        self.timeouts = timeouts or Timeouts()

    def lock(self, who: str, wanted: str = "", *, on_step: OnStep) -> Serving:
        """Lock out other deployments until the agent ends; return the current release.

        `wanted` is the digest of a package that may serve already.

        Raises:
            BusyError: Another deployment did not end in time.
        """

        def waiting(event: ProgressEvent) -> None:
            on_step(f"waiting for {event.holder or 'another deployment'}", 0, 1)

        timeouts = self.timeouts
        request = LockRequest(self.root, who, wanted, wait_s=timeouts.lock_s, lease_s=timeouts.lease_s)
        answer = self._call(request, timeouts.answer_s + timeouts.lock_s, waiting)
        self.root, self._is_locked = answer.root, True
        return Serving(answer.current, answer.previous, answer.serves)

    def send(self, contents: Sequence[DeployedFile], *, keep: int, on_step: OnStep) -> int:
        """Send the missing contents, resuming an interrupted deployment; return the number of bytes sent.

        Raises:
            FullError: It does not fit.
            DamagedError: It arrived damaged, twice.
        """
        missing = self._missing(contents, keep)
        total = sum(len(content.data) - begin for content, begin in missing)
        sent = 0
        for content, begin in missing:

            def on_bytes(done: int, before: int = sent) -> None:
                on_step("sending", before + done, total)

            sent += self._send_one(content, begin, on_bytes)
        return sent

    def golden(self, model: str, golden: str, *, on_step: OnStep) -> GoldenResult:
        """Run golden vectors on the board; paths are relative to the root, whose lock must be held."""

        def ran(event: ProgressEvent) -> None:
            on_step("checking", int(event.done), int(event.of))

        return self._call(GoldenRequest(model, golden), self.timeouts.golden_s, ran)

    def publish(self, package: ReleasePackage, *, deployed: str, by: str, golden: GoldenResult | None) -> SwitchResult:
        """Make a release of contents that are there and switch to it; return it and the one before."""
        request = PublishRequest(
            package.files(), package.model.sha256, label=package.label, deployed=deployed, by=by, golden=golden
        )
        return self._call(request, self.timeouts.answer_s)

    def switch(self, to: str | None, *, delete: str | None = None) -> None:
        """Make a release serve whose files are right, or none; then delete another."""
        self._call(SwitchRequest(to, delete, root=self._root()), self.timeouts.answer_s)

    def clean(self, keep: int) -> tuple[str, ...]:
        """Delete the releases beyond the newest; return which."""
        return self._call(CleanRequest(keep, root=self._root()), self.timeouts.answer_s).deleted

    def status(self, *, verify: bool = True, only: str | None = None) -> ReleaseStatus:
        """List the releases, having read and compared every file of each, of one, or of none."""
        answer = self._call(StatusRequest(verify, only, root=self._root()), self.timeouts.golden_s)
        self.root = answer.root
        return ReleaseStatus.of(self.device, answer)

    def unit(self, name: str, text: str | None) -> UnitState | None:
        """Write and start a unit, or restart the one that is there."""
        return self._call(UnitRequest(name, text, root=self._root()), self.timeouts.answer_s).unit

    def _missing(self, contents: Sequence[DeployedFile], keep: int) -> list[tuple[DeployedFile, int]]:
        """Return what is not there, each with how many bytes of its beginning are."""
        by_sum = {each.sha256: each for each in contents}
        wanted = tuple(
            WantedContent(each.sha256, len(each.data), tuple(other_places(each.sha256) if each.name == MODEL else ()))
            for each in by_sum.values()
        )
        answer = self._call(CheckRequest(wanted, keep, root=self._root()), self.timeouts.answer_s)
        return [(by_sum[each.sha256], _sound_begin(by_sum[each.sha256], each)) for each in answer.missing]

    def _send_one(self, content: DeployedFile, begin: int, on_bytes: Callable[[int], None]) -> int:
        sent = 0
        for attempt in range(ATTEMPTS):
            for offset in self._pieces(content, begin):
                on_bytes(min(offset - begin, len(content.data)))
            sent += len(content.data) - begin
            try:
                self._call(SealRequest(content.sha256, root=self._root()), self.timeouts.answer_s)
            except DamagedError:
                if attempt == ATTEMPTS - 1:
                    raise
                begin = 0
            else:
                return sent
        raise AssertionError("unreachable")

    def _pieces(self, content: DeployedFile, begin: int) -> Iterator[int]:
        """Send from `begin` on, in pieces that grow while the connection is quick; yield how far it is."""
        size, offset = FIRST_PIECE_BYTES, begin
        while offset < len(content.data) or offset == begin == 0:
            piece = content.data[offset : offset + size]
            started_s = time.monotonic()
            self._call(WriteRequest(content.sha256, offset, piece, root=self._root()), self.timeouts.piece_s)
            if time.monotonic() - started_s < QUICK_S:
                size = min(2 * size, MOST_PIECE_BYTES)
            offset += len(piece)
            yield offset
            if not content.data:
                return

    def _root(self) -> str | None:
        return None if self._is_locked else self.root  # the agent knows it then

    def _call(
        self, request: Request[R], deadline_s: float, on_progress: Callable[[ProgressEvent], None] | None = None
    ) -> R:
        try:
            return self._agent.call(request, deadline_s=deadline_s, on_progress=on_progress)
        except RefusedError as error:
            raise refusal_error(self.device, error.refusal) from error


def _sound_begin(content: DeployedFile, there: MissingContent) -> int:
    """Return how much of a content's beginning is there; 0 where what is there is no beginning of it."""
    right = there.have and hashlib.sha256(content.data[: there.have]).hexdigest() == there.have_sha256
    return there.have if right else 0
