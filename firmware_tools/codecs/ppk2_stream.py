"""Decodes the stream of a Nordic Power Profiler Kit II: 100,000 words of 4 bytes a second.

A word, little endian: bits 0-13 the converter, 14-16 the range (0 to 4), 18-23 a counter, 24-31 the digital inputs D0
to D7 (IRNAS/ppk2-api-python, src/ppk2_api/ppk2_api.py; NordicSemiconductor/pc-nrfconnect-ppk,
src/device/serialDevice.ts). D0 is the trigger. The time is the sample's number, gaps included, at 100 kHz.

There is no check sum, so these rules apply:

- A sample is output only in the middle of nine words whose counters are consecutive and whose ranges exist. So the
  first and the last four words of a stream, and before and after each break, are omitted: a loss may have torn them.
- After a break the next nine such words are searched byte by byte: a loss of single bytes is detected and repaired.
- A mistake requires four misaligned words to continue a count by chance, in noise once in 17 million breaks. A torn
  word can then be output, with the right number and a wrong current.
- A jump of the counter counts as lost samples, and the time advances accordingly. The counter has 6 bits: a loss of n
  words is counted as n modulo 64, so a loss of exactly 64, 128, ... words is not detected. `damaged` counts the breaks.
- A wrong bit in the converter, in the inputs, or one that turns a range into another existing one, is not detected.

The kit measures no voltage: power is the current times the setting `supply_v`, and Trace.supply_v is NaN. For samples
after a switch of the range see ppk2_settling.py; the setting `settle` turns that off. Currents are never clipped at
zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firmware_tools.codecs.ppk2_calibration import Ppk2Calibration, check_supply, current_table
from firmware_tools.codecs.ppk2_settling import Settling, settle_currents
from firmware_tools.trace import Trace

RATE_HZ = 100_000
_WORD = 4
# A sample is in the middle of this many words that follow each other.
_CHAIN = 9
_MIDDLE = _CHAIN // 2 * _WORD
_WINDOW = _CHAIN * _WORD
_COUNTS = 0x3F


@dataclass(frozen=True)
class Ppk2State:
    """State of the stream.

    Attributes:
        calibration, supply_v, settle: Settings.
        pending: Bytes that may still be part of a chain of nine words.
        unbroken: The words so far are consecutive.
        counter: Counter of the last sample output; None before the first.
        index: Its number in the stream, lost ones included; the first that can be output is number 4.
        settling: The running means of the last samples.
    """

    calibration: Ppk2Calibration
    supply_v: float
    settle: bool
    pending: bytes = b""
    unbroken: bool = True
    counter: int | None = None
    index: int = _CHAIN // 2 - 1
    settling: Settling | None = None


def initial(*, calibration: Ppk2Calibration, supply_v: float, settle: bool = True) -> Ppk2State:
    """Return the state before the first byte after START.

    Raises:
        SettingError: The supply is not between 0.8 and 5.0 V.
    """
    return Ppk2State(calibration, check_supply(supply_v), settle)


def decode(state: Ppk2State, data: bytes, host_s: float) -> tuple[Trace, Ppk2State]:
    """Decode the complete words; `host_s` is not used, as the meter has a clock."""
    stream = np.frombuffer(state.pending + data, np.uint8)
    runs, rest, damaged, unbroken = _runs(stream, state.unbroken)
    state = replace(state, pending=stream[rest:].tobytes(), unbroken=unbroken)
    if not runs:
        return Trace.empty(damaged=damaged), state
    words = [stream[first : first + _WORD * count].view("<u4") for first, count in runs]
    numbers, lost, state = _number_samples(state, words)
    word = words[0] if len(words) == 1 else np.concatenate(words)
    current_a, state = _currents(state, word)
    # Not 1e-5 times the number: this is the nearest value, whatever the number.
    time_s = numbers / float(RATE_HZ)
    inputs = (word >> np.uint32(24)).astype(np.uint8)
    power_w = current_a * state.supply_v
    return Trace(time_s, power_w, np.full(len(word), np.nan), current_a, inputs, lost, damaged), state


def _runs(stream: NDArray[np.uint8], unbroken: bool) -> tuple[list[tuple[int, int]], int, int, bool]:
    """Find the samples that can be output.

    Returns:
        Runs of samples (place of the first, how many), the place from which bytes are kept, the number of new breaks,
        and whether the stream ends unbroken.
    """
    testable = len(stream) - _WINDOW + 1
    if testable <= 0:
        return [], 0, 0, unbroken
    whole = stream[: len(stream) // _WORD * _WORD]
    if _follow(whole, _WORD).all():
        count = len(whole) // _WORD - _CHAIN + 1
        return [(_MIDDLE, count)], _WORD * count, 0, True
    return _broken_runs(_chains(stream), unbroken)


def _follow(stream: NDArray[np.uint8], stride: int) -> NDArray[np.bool_]:
    """Tell for words at a stride of 4, or at every byte, whether the next word is consecutive and both ranges exist."""
    low, high = stream[1::stride], stream[2::stride]
    if stride == 1:
        low, high = low[:-2], high[:-1]
    exists = ((high & 1) == 0) | (low < 0x40)
    counters = high >> 2
    step = _WORD // stride
    follows = (counters[step:] - counters[:-step]) & np.uint8(_COUNTS) == 1
    both: NDArray[np.bool_] = follows & exists[step:] & exists[:-step]
    return both


def _chains(stream: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell for each byte whether the nine words from there on are consecutive."""
    chains = _follow(stream, 1)
    for stride in (_WORD, 2 * _WORD, 4 * _WORD):
        chains = chains[:-stride] & chains[stride:]
    return chains


def _broken_runs(chains: NDArray[np.bool_], unbroken: bool) -> tuple[list[tuple[int, int]], int, int, bool]:
    """Walk from chain to chain; see _runs."""
    starts = np.flatnonzero(chains)
    ends = [np.flatnonzero(~chains[phase::_WORD]) * _WORD + phase for phase in range(_WORD)]
    runs: list[tuple[int, int]] = []
    place, damaged = 0, 0
    while place < len(chains):
        following = int(np.searchsorted(starts, place))
        found = int(starts[following]) if following < len(starts) else len(chains)
        if found > place and unbroken:
            damaged, unbroken = damaged + 1, False
        if found == len(chains):
            return runs, len(chains), damaged, unbroken
        phase_ends = ends[found % _WORD]
        following = int(np.searchsorted(phase_ends, found))
        beyond = found + -(-(len(chains) - found) // _WORD) * _WORD
        place = int(phase_ends[following]) if following < len(phase_ends) else beyond
        runs.append((found + _MIDDLE, (place - found) // _WORD))
        unbroken = True
    return runs, place, damaged, unbroken


def _number_samples(state: Ppk2State, words: list[NDArray[np.uint32]]) -> tuple[NDArray[np.int64], int, Ppk2State]:
    """Return the samples' numbers and the number of lost ones."""
    numbers, total, index, counter = [], 0, state.index, state.counter
    for run in words:
        first = int(run[0]) >> 18 & _COUNTS
        lost = (first - counter - 1) & _COUNTS if counter is not None else 0
        total += lost
        numbers.append(index + lost + np.arange(1, len(run) + 1, dtype=np.int64))
        index, counter = index + lost + len(run), int(run[-1]) >> 18 & _COUNTS
    joined = numbers[0] if len(numbers) == 1 else np.concatenate(numbers)
    return joined, total, replace(state, index=index, counter=counter)


def _currents(state: Ppk2State, word: NDArray[np.uint32]) -> tuple[NDArray[np.float64], Ppk2State]:
    table = current_table(state.calibration, state.supply_v)
    current_a = table.take((word & np.uint32(0x1FFFF)).astype(np.intp))
    if not state.settle:
        return current_a, state
    ranges = (word >> np.uint32(14)).astype(np.uint8) & np.uint8(7)
    current_a, settling = settle_currents(state.settling, current_a, ranges)
    return current_a, replace(state, settling=settling)
