"""The steps of a deployment as the board's agent takes them. Every wait has a deadline."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from devices.releases.errors import DamagedError, refusal
from devices.releases.package import Content
from devices.releases.release_paths import MODEL, other_places
from devices.releases.values import Golden, Status, UnitState

OnStep = Callable[[str, int, int], None]  # what is done, bytes or steps done, and in all
FIRST_PIECE_BYTES, MOST_PIECE_BYTES = 1 << 15, 1 << 22
QUICK_S = 0.5  # a piece that took less is followed by a larger one
ATTEMPTS = 2  # what arrived wrong is sent once more


class Agent(Protocol):
    """What this needs of a running agent (edge.agent.client.AgentClient)."""

    def call(
        self,
        job: str,
        *,
        deadline_s: float,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        payload: bytes | None = None,
        **fields: object,
    ) -> Any:  # noqa: ANN401
        """Do a job and return its result."""


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds.

    Attributes:
        answer_s: For a step that reads or writes files on the board.
        piece_s: For a piece of a file to arrive.
        golden_s: For the golden vectors to be run.
        lock_s: For another deployment to end.
        lease_s: After which the board takes a deployment that says nothing for dead.
    """

    answer_s: float = 60.0
    piece_s: float = 60.0
    golden_s: float = 300.0
    lock_s: float = 45.0
    lease_s: float = 30.0


@dataclass(frozen=True)
class Serving:
    """What serves when the lock is taken: its id, the one before it, and whether it is just what was asked for."""

    release: str | None
    previous: str | None
    same: bool


class ReleaseBoard:
    """The releases under one root of one board.

    Args:
        agent: The running agent.
        device: The board's name, for messages.
        root: The folder of the releases, relative to the home folder there or absolute.
        patience: How long is waited.
    """

    def __init__(self, agent: Agent, device: str, root: str, *, patience: Patience | None = None) -> None:
        self._agent = agent
        self.device, self.root = device, root
        self._is_locked = False
        self.patience = patience or Patience()

    def lock(self, who: str, wanted: str = "", *, on_step: OnStep) -> Serving:
        """Keep other deployers out until the agent ends, whatever ends it; say what serves.

        `wanted` is the digest of a package that may serve already.

        Raises:
            BusyError: Somebody else has been deploying for longer than was waited.
        """

        def waiting(event: dict[str, Any]) -> None:
            on_step(f"waiting for {(event.get('holder') or {}).get('who', 'another deployment')}", 0, 1)

        wait_s = self.patience.lock_s
        fields: dict[str, Any] = {"who": who, "wanted": wanted, "wait_s": wait_s, "lease_s": self.patience.lease_s}
        answer = self._call("store_lock", self.patience.answer_s + wait_s, waiting, **fields)
        self.root, self._is_locked = answer["root"], True
        return Serving(answer["current"], answer["previous"], answer["serves"])

    def send(self, contents: Sequence[Content], *, keep: int, on_step: OnStep) -> int:
        """Send what is not there, going on where an interrupted deployment ended; return how many bytes that took.

        Raises:
            FullError: It does not fit.
            DamagedError: It arrived wrong, twice.
        """
        missing = self._missing(contents, keep)
        total = sum(_left(content, begin) for content, begin in missing)
        sent = 0
        for content, begin in missing:

            def on_bytes(done: int, before: int = sent) -> None:
                on_step("sending", before + done, total)

            sent += self._send_one(content, begin, on_bytes)
        return sent

    def golden(self, model: str, golden: str, *, on_step: OnStep) -> Golden:
        """Run golden vectors on the board; paths are relative to the root, whose lock must be held."""

        def ran(event: dict[str, Any]) -> None:
            on_step("checking", int(event.get("done", 0)), int(event.get("of", 1)))

        return Golden.parse(self._call("golden", self.patience.golden_s, ran, model=model, golden=golden))

    def publish(self, files: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, str | None]:
        """Make a release of contents that are there and switch to it; return its id and that of the one before."""
        sha256 = files[MODEL]["sha256"]
        answer = self._call("release_publish", self.patience.answer_s, files=files, about=about, sha256=sha256)
        return answer["id"], answer["previous"]

    def switch(self, to: str | None, *, delete: str | None = None) -> None:
        """Make a release serve whose files are right, or none; then delete another."""
        self._call("release_switch", self.patience.answer_s, to=to, delete=delete)

    def clean(self, keep: int) -> tuple[str, ...]:
        """Delete the releases beyond the newest; return which."""
        return tuple(self._call("release_clean", self.patience.answer_s, keep=keep)["deleted"])

    def status(self, *, verify: bool = True, only: str | None = None) -> Status:
        """Say what is there, having read and compared every file of every release, or of one, or none."""
        answer = self._call("release_status", self.patience.golden_s, verify=verify, only=only)
        self.root = answer["root"]
        return Status.parse(self.device, answer)

    def unit(self, name: str, text: str | None) -> UnitState | None:
        """Write and start a unit, or restart the one that is there."""
        return UnitState.parse(self._call("unit", self.patience.answer_s, name=name, text=text))

    def _missing(self, contents: Sequence[Content], keep: int) -> list[tuple[Content, int]]:
        """Return what is not there, each with how many bytes of its beginning are."""
        by_sum = {each.sha256: each for each in contents}
        files = [
            {"sha256": each.sha256, "bytes": len(each.data)}
            | ({"seeds": other_places(each.sha256)} if each.name == MODEL else {})
            for each in by_sum.values()
        ]
        answer = self._call("store_check", self.patience.answer_s, files=files, keep=keep)
        return [(by_sum[each["sha256"]], _verified(by_sum[each["sha256"]], each)) for each in answer["missing"]]

    def _send_one(self, content: Content, begin: int, on_bytes: Callable[[int], None]) -> int:
        sent = 0
        for attempt in range(ATTEMPTS):
            for offset in self._pieces(content, begin):
                on_bytes(min(offset - begin, len(content.data)))
            sent += len(content.data) - begin
            try:
                self._call("store_seal", self.patience.answer_s, sha256=content.sha256)
            except DamagedError:
                if attempt == ATTEMPTS - 1:
                    raise
                begin = 0
            else:
                return sent
        raise AssertionError("unreachable")

    def _pieces(self, content: Content, begin: int) -> Iterator[int]:
        """Send from `begin` on, in pieces that grow while the connection is quick; yield how far it is."""
        size, offset = FIRST_PIECE_BYTES, begin
        while offset < len(content.data) or offset == begin == 0:
            piece = content.data[offset : offset + size]
            started_s = time.monotonic()
            fields: dict[str, Any] = {"sha256": content.sha256, "offset": offset}
            self._call("store_write", self.patience.piece_s, payload=piece, **fields)
            if time.monotonic() - started_s < QUICK_S:
                size = min(2 * size, MOST_PIECE_BYTES)
            offset += len(piece)
            yield offset
            if not content.data:
                return

    def _call(
        self,
        job: str,
        deadline_s: float,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        *,
        payload: bytes | None = None,
        **fields: object,
    ) -> Any:  # noqa: ANN401
        root = {} if self._is_locked else {"root": self.root}  # the agent knows it then
        answer = self._agent.call(
            job, deadline_s=deadline_s, on_progress=on_progress, payload=payload, **root, **fields
        )
        if "refused" in answer:
            raise refusal(self.device, answer["refused"])
        return answer


def _verified(content: Content, there: Mapping[str, Any]) -> int:
    """Return how much of a content's beginning is there; 0 where what is there is no beginning of it."""
    have = int(there["have"])
    right = have and hashlib.sha256(content.data[:have]).hexdigest() == there["have_sha256"]
    return have if right else 0


def _left(content: Content, begin: int) -> int:
    return len(content.data) - begin
