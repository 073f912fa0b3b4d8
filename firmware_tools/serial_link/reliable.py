"""Makes a reliable stream of bytes out of frames that may be lost, by selective repeat.

No I/O: frames and the time go in, frames come out. A line keeps the order of its bytes, so an acknowledgement of a
later frame proves that an earlier unacknowledged one was lost; if no later frame is on its way, the earlier one is
repeated. The line's speed gives the duration of a frame: waiting begins when the frame has left. Frames are as long as
the line's errors allow. This file is also sent to boards: standard library only, compatible with Python 3.7.
"""

from __future__ import annotations

import math
import struct

from firmware_tools.serial_link.frames import ACK, DATA, FIN, OVERHEAD_BYTES, LinkQuality, frame

BAUD = 115200
WINDOW_BYTES, LEAST_WINDOW_BYTES = 4096, 512  # sent and not acknowledged
WINDOW_S = 0.25  # of data in flight: an acknowledgement waits behind no more than that
MOST_HELD_BYTES = 1 << 16  # received and not taken
MOST_RANGES = 8
ANSWER_EVERY = 4  # frames: so each is reported in two acknowledgements or more
FIRST_WAIT_S, LEAST_WAIT_S = 0.1, 0.04
MOST_WAIT_S = 1.0  # the line is not shared: waiting longer would help nobody
AGAIN_BYTES = 512  # repeated at once; their acknowledgement covers the others
BELIEVED_ROUNDS = 2  # of repeating before a frame counts as lost: the other end may be busy
PATIENT_ROUNDS = 5  # before the wait doubles with each round
_OFFSET = struct.Struct("<I")
_STATE = struct.Struct("<IB")
_RANGE = struct.Struct("<HH")


class SentSegment:
    """Bytes in flight: their place in the stream, when they will have left, and the number of their frame."""

    def __init__(self, begin: int, end: int, sent_s: float, order: int, sure: bool) -> None:
        self.begin, self.end, self.sent_s, self.order = begin, end, sent_s, order
        self.sure = sure  # no other copy is in flight: an acknowledgement is for this frame
        self.repeated = False


class Link:
    """One end of a session.

    Args:
        session: Its number.
        baud: The line's speed, as far as known; a faster line is detected.
    """

    def __init__(self, session: int, baud: int = BAUD) -> None:
        self.session = session
        self._byte_s = 10 / baud
        self._free_s = -math.inf  # when the line, at its speed, will have sent all data
        self._spoken_s = -math.inf  # when the newest data will have left
        self._rounds = 0  # of repeating since the last acknowledgement
        self._unheard_since_s: float | None = None
        self.quality = LinkQuality()
        self.resent = 0
        self.heard = False  # anything from the other end
        self._outbox, self._base, self._next = bytearray(), 0, 0  # the first not acknowledged, the first not sent
        self._flying: list[SentSegment] = []
        self._lost: list[tuple[int, int, bool]] = []
        self._order = 0
        self._smooth_s = FIRST_WAIT_S
        self._ended = self._end_heard = False
        self._end_sent_s = -math.inf
        self._inbox, self._expected = bytearray(), 0
        self._early: dict[int, bytes] = {}
        self._newest: list[int] = []  # start of the pieces beyond a gap, the newest first
        self._end_at: int | None = None
        self._owes, self._answers = 0, bytearray()

    @property
    def _window(self) -> int:
        return int(min(max(WINDOW_S / self._byte_s, LEAST_WINDOW_BYTES), WINDOW_BYTES))

    @property
    def room(self) -> int:
        """How many bytes `send` accepts now."""
        return max(0, 4 * self._window - len(self._outbox))

    def send(self, data: bytes) -> None:
        """Queue bytes for the other end."""
        self._outbox += data

    def end(self) -> None:
        """Declare that nothing more will be sent."""
        self._ended = True

    def take(self) -> bytes:
        """Return the bytes that have arrived, in order."""
        data = bytes(self._inbox)
        self._inbox.clear()
        return data

    @property
    def over(self) -> bool:
        """Whether the other end sends no more, and all it sent was taken."""
        return self._end_at == self._expected and not self._inbox

    @property
    def done(self) -> bool:
        """Whether the other end has everything, and knows that it is complete."""
        return self._ended and self._end_heard and not self._outbox

    def receive(self, kind: int, body: bytes, now_s: float) -> None:
        """Process a frame of this session."""
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
            self._take_answer(body, now_s)

    def frames(self, now_s: float) -> bytes:
        """Return the frames to send now."""
        if self._owes:
            self._answers += self._answer()
        out = [self._hand_to_line(bytes(self._answers), now_s)]
        self._answers.clear()
        if self._flying and now_s >= self._spoken_s + self._wait_s:
            out += self._repeat(now_s)
        span = self._next_span()  # no walrus: Python 3.7
        while span is not None:
            out.append(self._data(*span, now_s))
            span = self._next_span()
        if self._ended and not self._outbox and not self._end_heard and now_s - self._end_sent_s >= self._wait_s:
            out.append(self._hand_to_line(frame(FIN, self.session, _OFFSET.pack(self._base)), now_s))
            self._end_sent_s = self._free_s
            self._rounds += 1
        if self._unheard_since_s is None and self.wait_s(now_s) is not None:
            self._unheard_since_s = now_s
        return b"".join(out)

    def silence_s(self, now_s: float) -> float:
        """Return for how long an acknowledgement has been due without anything arriving from the other end."""
        return 0.0 if self._unheard_since_s is None else now_s - self._unheard_since_s

    def wait_s(self, now_s: float) -> float | None:
        """Return after which time `frames` will have something to send even if nothing arrives; None: never."""
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
        """Return the ranges received beyond a gap that contain the newest pieces."""
        found: list[tuple[int, int]] = []
        for begin in sorted(self._early):
            end = begin + len(self._early[begin])
            if found and begin <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], end)
            else:
                found.append((begin, end))
        return [span for span in found if any(span[0] <= begin < span[1] for begin in self._newest)]

    def _take_answer(self, body: bytes, now_s: float) -> None:
        expected, ended = _STATE.unpack_from(body)
        if not self._base <= expected <= self._next:
            return
        ranges = [_RANGE.unpack_from(body, at) for at in range(_STATE.size, len(body) - 3, _RANGE.size)]
        spans = [(0, expected), *((expected + begin, expected + end) for begin, end in ranges)]
        arrived: list[SentSegment] = []
        flying: list[SentSegment] = []
        for each in self._flying:
            there = any(begin <= each.begin and each.end <= end for begin, end in spans)
            (arrived if there else flying).append(each)
        self._flying = flying
        if arrived:
            self._note_losses_before(arrived)
            self._correct_clock(max(each.sent_s for each in arrived) - now_s)
            for each in arrived:
                self._note_arrival(each, now_s)
        if arrived or expected > self._base:
            self._rounds = 0
        self._lost = [span for span in self._lost if span[1] > expected]
        del self._outbox[: expected - self._base]
        self._base = expected
        self._end_heard = self._end_heard or bool(ended)

    def _note_losses_before(self, arrived: list[SentSegment]) -> None:
        """Count as lost whatever was sent before a frame that has surely arrived.

        The other end reports the newest MOST_RANGES pieces: of these, a frame that is not reported is lost; of older
        ones the acknowledgement may be lost instead.
        """
        newest = max(each.order for each in arrived)
        surely = max((each.order for each in arrived if each.sure), default=-1)
        for each in self._flying:
            if each.order < surely:
                self._note_loss(each, sure=each.sure and each.order > newest - MOST_RANGES)
        self._flying = [each for each in self._flying if each.order > surely]

    def _correct_clock(self, early_s: float) -> None:
        """Correct the clock when an acknowledgement shows that its frame left earlier than computed."""
        if early_s > 0:  # only virtual lines are faster than their speed: USB, a pseudo-terminal
            self._byte_s /= 2
            self._free_s -= early_s
            self._spoken_s -= early_s
            for each in self._flying:
                each.sent_s -= early_s

    def _note_arrival(self, segment: SentSegment, now_s: float) -> None:
        length = segment.end - segment.begin + OVERHEAD_BYTES
        self.quality.count_frame(length, lost=False)
        if segment.sure:
            took_s = max(0.0, now_s - segment.sent_s)
            # Late answers are mostly lost ones: weighted low, or each wait would lengthen the next.
            self._smooth_s += (took_s - self._smooth_s) / (32 if took_s > self._smooth_s else 1)
        elif segment.repeated:
            self.quality.count_frame(length, lost=True)

    def _note_loss(self, segment: SentSegment, *, sure: bool) -> None:
        self.quality.count_frame(segment.end - segment.begin + OVERHEAD_BYTES, lost=True)
        self._lost.append((segment.begin, segment.end, sure))
        self._lost.sort()

    def _repeat(self, now_s: float) -> list[bytes]:
        """Repeat the first unacknowledged bytes: unchanged at first, later as lost, in frames of the best length."""
        self._rounds += 1
        first = min(self._flying, key=lambda each: each.begin)
        most = 0 if self._rounds > PATIENT_ROUNDS else AGAIN_BYTES  # there may be nobody, or a login
        some = [each for each in self._flying if each is first or each.end <= first.begin + most]
        if self._rounds > BELIEVED_ROUNDS:
            self._flying = [each for each in self._flying if each not in some]
            for each in some:
                self._note_loss(each, sure=False)
            return []
        for each in some:
            each.sure, each.repeated = False, True
        self.resent += len(some)
        out = [self._hand_to_line(self._data_frame(max(each.begin, self._base), each.end), now_s) for each in some]
        self._spoken_s = self._free_s
        return out

    def _hand_to_line(self, data: bytes, now_s: float) -> bytes:
        """Account for the time that data takes on the line; return the data."""
        # Acknowledgements are not acknowledged, which would correct the clock: so its lead is limited.
        most_s = now_s + 2 * self._window * self._byte_s
        self._free_s = min(max(now_s, self._free_s) + len(data) * self._byte_s, most_s)
        return data

    def _data_frame(self, begin: int, end: int) -> bytes:
        payload = bytes(self._outbox[begin - self._base : end - self._base])
        return frame(DATA, self.session, _OFFSET.pack(begin) + payload)

    def _next_span(self) -> tuple[int, int, bool, bool] | None:
        """Return the next bytes to send: lost ones first, then new ones as far as the window goes."""
        most = self.quality.payload
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
        data = self._hand_to_line(self._data_frame(begin, end), now_s)
        self._flying.append(SentSegment(begin, end, self._free_s, self._order, sure))
        self._next = max(self._next, end)
        self._spoken_s = self._free_s
        self.resent += again
        return data
