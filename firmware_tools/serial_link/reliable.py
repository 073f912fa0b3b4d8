"""A reliable stream of bytes out of frames that may be lost: selective repeat, its frames as long as the line allows.

Without reading or writing anything itself: frames and the time go in, frames come out. A line keeps the order of what
it carries, so an answer to a later frame proves that an earlier one without an answer was lost; where nothing later is
on its way, the same is said again. How long a frame takes follows from the line's speed: waiting begins when it has
left. Only the standard library, in the words of Python 3.7: this file is also sent to boards.
"""

from __future__ import annotations

import math
import struct

from firmware_tools.serial_link.frames import ACK, DATA, FIN, OVERHEAD_BYTES, frame
from firmware_tools.serial_link.link_quality import Weather

BAUD = 115200
WINDOW_BYTES, LEAST_WINDOW_BYTES = 4096, 512  # sent and not answered
WINDOW_S = 0.25  # what the line carries in this time: an answer waits behind no more than that
MOST_HELD_BYTES = 1 << 16  # received and not taken
MOST_RANGES = 8
ANSWER_EVERY = 4  # frames: so each is told of in two answers or more
FIRST_WAIT_S, LEAST_WAIT_S = 0.1, 0.04
MOST_WAIT_S = 1.0  # nobody else uses the line: waiting longer would spare nobody anything
AGAIN_BYTES = 512  # said again at once; an answer to these tells of the others
BELIEVED_ROUNDS = 2  # of saying again before it counts as lost: the other end may be busy
PATIENT_ROUNDS = 5  # before each is twice as long as the one before
_OFFSET = struct.Struct("<I")
_STATE = struct.Struct("<IB")
_RANGE = struct.Struct("<HH")


class Segment:
    """Bytes on their way: where in the stream, when they will have left, and as which frame of all."""

    def __init__(self, begin: int, end: int, sent_s: float, order: int, sure: bool) -> None:
        self.begin, self.end, self.sent_s, self.order = begin, end, sent_s, order
        self.sure = sure  # no other copy of these bytes is on its way: an answer is one to this frame
        self.repeated = False


class Link:
    """One end of a session.

    Args:
        session: Its number.
        baud: What the line carries, as far as is known; a line that is faster shows it.
    """

    def __init__(self, session: int, baud: int = BAUD) -> None:
        self.session = session
        self._byte_s = 10 / baud
        self._free_s = -math.inf  # when the line will have carried all it was given, by its speed
        self._spoken_s = -math.inf  # when the newest data will have left
        self._rounds = 0  # of saying again since the last news
        self._unheard_since_s: float | None = None
        self.weather = Weather()
        self.resent = 0
        self.heard = False  # anything of the other end's
        self._outbox, self._base, self._next = bytearray(), 0, 0  # the first not answered, the first not sent
        self._flying: list[Segment] = []
        self._lost: list[tuple[int, int, bool]] = []
        self._order = 0
        self._smooth_s = FIRST_WAIT_S
        self._ended = self._end_heard = False
        self._end_sent_s = -math.inf
        self._inbox, self._expected = bytearray(), 0
        self._early: dict[int, bytes] = {}
        self._newest: list[int] = []  # where the pieces beyond a gap begin, the newest first
        self._end_at: int | None = None
        self._owes, self._answers = 0, bytearray()

    @property
    def _window(self) -> int:
        return int(min(max(WINDOW_S / self._byte_s, LEAST_WINDOW_BYTES), WINDOW_BYTES))

    @property
    def room(self) -> int:
        """How many bytes `send` takes now."""
        return max(0, 4 * self._window - len(self._outbox))

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
        self.heard, self._unheard_since_s = True, None
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
        out = [self._given(bytes(self._answers), now_s)]
        self._answers.clear()
        if self._flying and now_s >= self._spoken_s + self._wait_s:
            out += self._again(now_s)
        while (span := self._next_span()) is not None:
            out.append(self._data(*span, now_s))
        if self._ended and not self._outbox and not self._end_heard and now_s - self._end_sent_s >= self._wait_s:
            out.append(self._given(frame(FIN, self.session, _OFFSET.pack(self._base)), now_s))
            self._end_sent_s = self._free_s
            self._rounds += 1
        if self._unheard_since_s is None and self.wait_s(now_s) is not None:
            self._unheard_since_s = now_s
        return b"".join(out)

    def silence_s(self, now_s: float) -> float:
        """Return for how long an answer has been owed while nothing at all came from the other end."""
        return 0.0 if self._unheard_since_s is None else now_s - self._unheard_since_s

    def wait_s(self, now_s: float) -> float | None:
        """Return after which time `frames` has something to say though nothing arrives; None: never."""
        since_s = self._spoken_s if self._flying else math.inf
        if self._ended and not self._outbox and not self._end_heard:
            since_s = min(since_s, self._end_sent_s)
        return None if since_s == math.inf else max(0.0, since_s + self._wait_s - now_s)

    @property
    def _wait_s(self) -> float:
        usual_s = max(2 * self._smooth_s, LEAST_WAIT_S)
        return min(usual_s * 2.0 ** min(max(0, self._rounds - PATIENT_ROUNDS), 8), MOST_WAIT_S)

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
        arrived: list[Segment] = []
        flying: list[Segment] = []
        for each in self._flying:
            there = any(begin <= each.begin and each.end <= end for begin, end in spans)
            (arrived if there else flying).append(each)
        self._flying = flying
        if arrived:
            self._judge(arrived)
            self._correct_clock(max(each.sent_s for each in arrived) - now_s)
            for each in arrived:
                self._arrived(each, now_s)
        if arrived or expected > self._base:
            self._rounds = 0
        self._lost = [span for span in self._lost if span[1] > expected]
        del self._outbox[: expected - self._base]
        self._base = expected
        self._end_heard = self._end_heard or bool(ended)

    def _judge(self, arrived: list[Segment]) -> None:
        """Take for lost what was sent before a frame that has surely arrived.

        What has come is told of until so many other frames came: of those, one not told of is lost; of older ones the
        answers may be.
        """
        newest = max(each.order for each in arrived)
        surely = max((each.order for each in arrived if each.sure), default=-1)
        for each in self._flying:
            if each.order < surely:
                self._missed(each, sure=each.sure and each.order > newest - MOST_RANGES)
        self._flying = [each for each in self._flying if each.order > surely]

    def _correct_clock(self, early_s: float) -> None:
        """Take back what an answer shows to be wrong: its frame had left that much earlier than was thought."""
        if early_s > 0:  # only what is no real line is faster than it says: USB, a pseudo-terminal
            self._byte_s /= 2
            self._free_s -= early_s
            self._spoken_s -= early_s
            for each in self._flying:
                each.sent_s -= early_s

    def _arrived(self, segment: Segment, now_s: float) -> None:
        length = segment.end - segment.begin + OVERHEAD_BYTES
        self.weather.saw(length, lost=False)
        if segment.sure:
            took_s = max(0.0, now_s - segment.sent_s)
            # Late answers are mostly lost ones: believed slowly, else waiting would make the next wait longer.
            self._smooth_s += (took_s - self._smooth_s) / (32 if took_s > self._smooth_s else 1)
        elif segment.repeated:
            self.weather.saw(length, lost=True)

    def _missed(self, segment: Segment, *, sure: bool) -> None:
        self.weather.saw(segment.end - segment.begin + OVERHEAD_BYTES, lost=True)
        self._lost.append((segment.begin, segment.end, sure))
        self._lost.sort()

    def _again(self, now_s: float) -> list[bytes]:
        """Say again the first of what has no answer: as it was, then as lost, in frames as long as the line allows."""
        self._rounds += 1
        first = min(self._flying, key=lambda each: each.begin)
        most = 0 if self._rounds > PATIENT_ROUNDS else AGAIN_BYTES  # nobody may be there, or a login
        some = [each for each in self._flying if each is first or each.end <= first.begin + most]
        if self._rounds > BELIEVED_ROUNDS:
            self._flying = [each for each in self._flying if each not in some]
            for each in some:
                self._missed(each, sure=False)
            return []
        for each in some:
            each.sure, each.repeated = False, True
        self.resent += len(some)
        out = [self._given(self._framed(max(each.begin, self._base), each.end), now_s) for each in some]
        self._spoken_s = self._free_s
        return out

    def _given(self, data: bytes, now_s: float) -> bytes:
        """Give something to the line; return it."""
        # Answers are answered by nothing that would correct the clock, so that it must not run far ahead by itself.
        most_s = now_s + 2 * self._window * self._byte_s
        self._free_s = min(max(now_s, self._free_s) + len(data) * self._byte_s, most_s)
        return data

    def _framed(self, begin: int, end: int) -> bytes:
        payload = bytes(self._outbox[begin - self._base : end - self._base])
        return frame(DATA, self.session, _OFFSET.pack(begin) + payload)

    def _next_span(self) -> tuple[int, int, bool, bool] | None:
        """Return the next bytes to send: lost ones first, then new ones as far as the window goes."""
        most = self.weather.payload
        if self._lost:
            begin, end, sure = self._lost.pop(0)
            begin = max(begin, self._base)
            if end > begin + most:
                self._lost.insert(0, (begin + most, end, sure))
            return (begin, min(end, begin + most), True, sure) if end > begin else self._next_span()
        queued = self._base + len(self._outbox)
        end = min(self._next + most, queued, self._base + self._window)
        return (self._next, end, False, True) if end > self._next else None

    def _data(self, begin: int, end: int, again: bool, sure: bool, now_s: float) -> bytes:
        self._order += 1
        data = self._given(self._framed(begin, end), now_s)
        self._flying.append(Segment(begin, end, self._free_s, self._order, sure))
        self._next = max(self._next, end)
        self._spoken_s = self._free_s
        self.resent += again
        return data
