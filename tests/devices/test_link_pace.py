"""What a reliable link makes of a line's speed, in virtual time: nothing twice without need, no needless waiting."""

from __future__ import annotations

import math
import random

import pytest
from virtual_line import VirtualLine


@pytest.mark.parametrize("baud", [9600, 115200, 1_500_000])
def test_a_quiet_line_carries_everything_once_at_nearly_its_speed(baud):
    size = min(baud, 200_000)
    line = VirtualLine(baud)
    line.here.unsent += random.Random(0).randbytes(size)
    took_s = line.run_until(lambda: len(line.there.got) == size, limit_s=60)
    assert line.here.link.resent == 0
    assert took_s < 1.15 * 10 * size / baud


@pytest.mark.parametrize("baud", [9600, 115200])
def test_both_ways_at_once(baud):
    size = baud
    line = VirtualLine(baud)
    for end in (line.here, line.there):
        end.unsent += random.Random(0).randbytes(size)
    took_s = line.run_until(lambda: len(line.there.got) == len(line.here.got) == size, limit_s=60)
    assert took_s < 1.3 * 10 * size / baud


def test_a_flipped_bit_now_and_then_costs_its_frame_and_little_more():
    size = 100_000
    line = VirtualLine(115200, flips=0.001)
    line.here.unsent += random.Random(0).randbytes(size)
    line.run_until(lambda: len(line.there.got) == size, limit_s=60)
    assert line.here.carried < 1.6 * size


@pytest.mark.parametrize(("flips", "limit_s"), [(0.01, 12), (0.02, 25)])
def test_questions_and_answers_over_a_noisy_line(flips, limit_s):
    line = VirtualLine(115200, flips=flips)
    for number in range(1, 51):
        line.here.unsent += bytes(80)
        line.run_until(lambda number=number: len(line.there.got) == 80 * number, limit_s=5)
        line.there.unsent += bytes(80)
        line.run_until(lambda number=number: len(line.here.got) == 80 * number, limit_s=5)
    assert line.now_s < limit_s


def test_a_busy_machine_at_the_other_end_makes_frames_no_shorter_for_long():
    line = VirtualLine(115200)
    for _ in range(10):
        line.here.unsent += bytes(10_000)
        line.run_until(lambda: len(line.here.unsent) < 5_000, limit_s=10)
        line.there.busy_until_s = line.now_s + 0.5
        line.run_until(lambda: not line.here.unsent, limit_s=10)
    line.run_until(lambda: len(line.there.got) == 100_000, limit_s=10)
    assert line.here.link.quality.payload > 200
    assert line.here.carried < 130_000


def test_little_is_sent_when_the_other_end_is_gone():
    line = VirtualLine(115200)
    line.here.unsent += bytes(20_000)
    line.there.busy_until_s = math.inf
    line.run_until(lambda: line.now_s > 30, limit_s=31)
    assert line.here.carried < 8_000


def test_a_line_faster_than_its_speed_is_not_waited_for():
    line = VirtualLine(10_000_000, said=9600)
    line.here.unsent += bytes(300_000)
    line.run_until(lambda: len(line.there.got) == 300_000, limit_s=5)
    line.flips, lost_until_s = 1.0, line.now_s + 0.05  # the first answer that is more than an acknowledgement is lost
    line.there.unsent += b"done"
    line.run_until(lambda: line.now_s > lost_until_s, limit_s=1)
    line.flips = 0.0
    line.run_until(lambda: bytes(line.here.got) == b"done", limit_s=2)
