"""A reliable stream of bytes out of frames that may be lost: selective repeat, its frames as long as the line allows.

Without reading or writing anything itself: frames and the time go in, frames come out. A line keeps the order of what
it carries, so an answer to a later frame proves that an earlier one without an answer was lost. Only the standard
library, in the words of Python 3.7: this file is also sent to boards.
"""

from __future__ import annotations

import math
import struct

from firmware_tools.serial_link.frames import ACK, DATA, FIN, OVERHEAD_BYTES, frame

WINDOW_BYTES = 4096  # sent and not answered
MOST_HELD_BYTES = 1 << 16  # received and not taken
MOST_RANGES = 8
ANSWER_EVERY = 4  # frames: so each is told of in two answers or more
BELIEVED_AFTER = 8  # frames sent later and answered: then one without an answer is lost
LEAST_PAYLOAD, MOST_PAYLOAD = 16, 1024
FIRST_WAIT_S, LEAST_WAIT_S, MOST_WAIT_S = 0.5, 0.15, 2.0
MOST_BACKOFF_S = 1.0  # nobody else uses the line: waiting longer would spare nobody anything
_OFFSET = struct.Struct("<I")
_STATE = struct.Struct("<IB")
_RANGE = struct.Struct("<HH")
_FADING = 0.99


class Weather:
    """How often the line damages a byte, and how long frames should be for that."""

    def __init__(self) -> None:
        self._frames, self._bytes, self._lost = 20.0, 2000.0, 1.0

    def saw(self, length: int, lost: bool) -> None:
        """Count a frame of so many bytes, the last ones most."""
        self._frames = self._frames * _FADING + 1
        self._bytes = self._bytes * _FADING + length
        self._lost = self._lost * _FADING + lost

    @property
    def damage(self) -> float:
        """Probability that one byte is damaged."""
        share = min(self._lost / self._frames, 0.98)
        return max(-math.log1p(-share) * self._frames / self._bytes, 1e-6)

    @property
    def payload(self) -> int:
        """The payload n for which most arrives: it maximizes exp(-damage (n + overhead)) n / (n + overhead)."""
        best = (math.sqrt(OVERHEAD_BYTES**2 + 4 * OVERHEAD_BYTES / self.damage) - OVERHEAD_BYTES) / 2
        return int(min(max(best, LEAST_PAYLOAD), MOST_PAYLOAD))


class Segment:
    """Bytes on their way: where in the stream, when sent, and as which frame of all."""

    def __init__(self, begin: int, end: int, sent_s: float, order: int, again: bool) -> None:
        self.begin, self.end, self.sent_s, self.order, self.again = begin, end, sent_s, order, again


class Link:
    """One end of a session."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.weather = Weather()
        self.resent = 0
        self._outbox, self._base, self._next = bytearray(), 0, 0  # the first not answered, the first not sent
        self._flying: list[Segment] = []
        self._lost: list[tuple[int, int]] = []
        self._order = 0
        self._wait_s, self._smooth_s = FIRST_WAIT_S, 0.0
        self._ended = self._end_heard = False
        self._end_sent_s = -math.inf
        self._inbox, self._expected = bytearray(), 0
        self._early: dict[int, bytes] = {}
        self._newest: list[int] = []  # where the pieces beyond a gap begin, the newest first
        self._end_at: int | None = None
        self._owes, self._answers = 0, bytearray()

    @property
    def room(self) -> int:
        """How many bytes `send` takes now."""
        return max(0, 4 * WINDOW_BYTES - len(self._outbox))

    def send(self, data: bytes) -> None:
        """Queue bytes for the other end."""
        self._outbox += data

    def end(self) -> None:
        """Say that nothing more will be sent."""
        self._ended = True

    def take(self) -> bytes:
        """Return what has arrived, in order."""
        data = bytes(self._inbox)
        self._inbox.clear()
        return data

    @property
    def over(self) -> bool:
        """Whether the other end sends no more, and all it sent was taken."""
        return self._end_at == self._expected and not self._inbox

    @property
    def done(self) -> bool:
        """Whether the other end has everything, and knows that it was all."""
        return self._ended and self._end_heard and not self._outbox

    def receive(self, kind: int, body: bytes, now_s: float) -> None:
        """Take a frame of this session."""
        if kind == DATA and len(body) > _OFFSET.size:
            self._store(_OFFSET.unpack_from(body)[0], body[_OFFSET.size :])
            self._owes += 1
            if self._owes >= ANSWER_EVERY:
                self._answers += self._answer()
        elif kind == FIN and len(body) == _OFFSET.size:
            self._end_at = _OFFSET.unpack(body)[0]
            self._owes += 1
        elif kind == ACK and len(body) >= _STATE.size:
            self._answered(body, now_s)

    def frames(self, now_s: float) -> bytes:
        """Return what is to be sent now."""
        if self._owes:
            self._answers += self._answer()
        out = [bytes(self._answers)]
        self._answers.clear()
        self._give_up_waiting(now_s)
        while (span := self._next_span()) is not None:
            out.append(self._data(*span, now_s))
        if self._ended and not self._outbox and not self._end_heard and now_s - self._end_sent_s >= self._wait_s:
            self._end_sent_s = now_s
            out.append(frame(FIN, self.session, _OFFSET.pack(self._base)))
        return b"".join(out)

    def wait_s(self, now_s: float) -> float | None:
        """Return after which time `frames` has something to say though nothing arrives; None: never."""
        oldest = min((each.sent_s for each in self._flying), default=math.inf)
        if self._ended and not self._outbox and not self._end_heard:
            oldest = min(oldest, self._end_sent_s)
        return None if oldest == math.inf else max(0.0, oldest + self._wait_s - now_s)

    def _store(self, begin: int, data: bytes) -> None:
        ahead = begin - self._expected
        if ahead > 2 * WINDOW_BYTES or len(self._inbox) > MOST_HELD_BYTES:
            return
        if ahead + len(data) > 0 and len(self._early.get(begin, b"")) < len(data):
            self._early[begin] = data
            self._newest = [begin, *self._newest[: MOST_RANGES - 1]]
        for begin in sorted(self._early):
            if begin > self._expected:
                break
            self._inbox += self._early[begin][self._expected - begin :]
            self._expected = max(self._expected, begin + len(self._early.pop(begin)))

    def _answer(self) -> bytes:
        self._owes = 0
        body = _STATE.pack(self._expected, self._end_at == self._expected)
        for begin, end in self._ranges():
            body += _RANGE.pack(begin - self._expected, end - self._expected)
        return frame(ACK, self.session, body)

    def _ranges(self) -> list[tuple[int, int]]:
        """Return what is here beyond a gap: the stretches that the newest pieces belong to."""
        found: list[tuple[int, int]] = []
        for begin in sorted(self._early):
            end = begin + len(self._early[begin])
            if found and begin <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], end)
            else:
                found.append((begin, end))
        return [span for span in found if any(span[0] <= begin < span[1] for begin in self._newest)]

    def _answered(self, body: bytes, now_s: float) -> None:
        expected, ended = _STATE.unpack_from(body)
        if not self._base <= expected <= self._next:
            return
        ranges = [_RANGE.unpack_from(body, at) for at in range(_STATE.size, len(body) - 3, _RANGE.size)]
        spans = [(0, expected), *((expected + begin, expected + end) for begin, end in ranges)]
        newest, flying = -1, []
        for each in self._flying:
            if any(begin <= each.begin and each.end <= end for begin, end in spans):
                newest = max(newest, each.order)
                self._arrived(each, now_s)
            else:
                flying.append(each)
        self._flying = [each for each in flying if each.order > newest - BELIEVED_AFTER]
        for each in flying:
            if each.order <= newest - BELIEVED_AFTER:
                self._missed(each)
        self._lost = [span for span in self._lost if span[1] > expected]
        del self._outbox[: expected - self._base]
        self._base = expected
        self._end_heard = self._end_heard or bool(ended)

    def _arrived(self, segment: Segment, now_s: float) -> None:
        self.weather.saw(segment.end - segment.begin + OVERHEAD_BYTES, lost=False)
        if not segment.again:
            took_s = now_s - segment.sent_s
            # Late answers are mostly lost ones: believed slowly, else waiting would make the next wait longer.
            slow = bool(self._smooth_s) and took_s > self._smooth_s
            self._smooth_s += (took_s - self._smooth_s) / (32 if slow else 1)
        self._wait_s = self._usual_wait_s()

    def _usual_wait_s(self) -> float:
        return min(max(3 * self._smooth_s, LEAST_WAIT_S), MOST_WAIT_S)

    def _missed(self, segment: Segment) -> None:
        self.weather.saw(segment.end - segment.begin + OVERHEAD_BYTES, lost=True)
        self._lost.append((segment.begin, segment.end))
        self._lost.sort()

    def _give_up_waiting(self, now_s: float) -> None:
        late = [each for each in self._flying if now_s - each.sent_s >= self._wait_s]
        if late:
            self._flying = [each for each in self._flying if each not in late]
            for each in late:
                self._missed(each)
            self._wait_s = min(2 * self._wait_s, max(MOST_BACKOFF_S, self._usual_wait_s()))

    def _next_span(self) -> tuple[int, int, bool] | None:
        """Return the next bytes to send: lost ones first, then new ones as far as the window goes."""
        most = self.weather.payload
        if self._lost:
            begin, end = self._lost.pop(0)
            begin = max(begin, self._base)
            if end > begin + most:
                self._lost.insert(0, (begin + most, end))
            return (begin, min(end, begin + most), True) if end > begin else self._next_span()
        queued = self._base + len(self._outbox)
        end = min(self._next + most, queued, self._base + WINDOW_BYTES)
        return (self._next, end, False) if end > self._next else None

    def _data(self, begin: int, end: int, again: bool, now_s: float) -> bytes:
        self._order += 1
        self._flying.append(Segment(begin, end, now_s, self._order, again))
        self._next = max(self._next, end)
        self.resent += again
        payload = bytes(self._outbox[begin - self._base : end - self._base])
        return frame(DATA, self.session, _OFFSET.pack(begin) + payload)
