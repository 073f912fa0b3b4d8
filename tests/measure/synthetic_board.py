"""A board whose joules are known, behind an INA226 of our own meter, down to the bytes on its serial line.

Time is the board's monotonic clock. Its power is idle or busy (with the ripple of each inference, a slow drift, noise,
and a supply that takes a millisecond or two to follow). The chip averages shunt and bus voltage one after the other,
each with its gain and offset drawn within the limits of the data sheet, over a shunt within its tolerance; what the
meter states is what the project states of such a meter. Its clock runs off and away; frames are lost; bytes are late.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from devices.meters.accuracy import MeterAccuracy, chip_accuracy
from devices.meters.meter_contract import MeterInfo
from edge.measure.energy.align_clock import RoundTrip
from edge.measure.energy.analyse import EnergyRun
from edge.measure.energy.schedule import Code, Mark, Runs, Schedule, Stretch
from firmware_tools.codecs import edge_frames
from firmware_tools.codecs.edge_commands import KIND_SAMPLES, VERSION, Configuration, Identity
from firmware_tools.codecs.edge_frames import SAMPLE
from firmware_tools.codecs.framing import Decoder, cobs_encode, crc16_rows
from firmware_tools.power_meter.chips import INA_FACTS, InaChip
from firmware_tools.trace import Trace

BARKER = (1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1)
GRID_S = 0.5e-3
SHUNT_OHM, BUS_V, SHUNT_V = 0.02, 1.25e-3, 2.5e-6
_FRAME = 16


@dataclass(frozen=True)
class Board:
    """How it behaves; `seed` draws all that is left to chance."""

    seed: int
    windows: int = 5
    window_s: float = 10.0
    idle_s: float = 5.0
    chip_s: float = 0.1
    dither: float = 0.1  # of the chips' lengths
    guard_s: float = 0.3
    idle_w: float = 2.4
    busy_w: float = 2.1  # on top of idle
    drift: float = 0.01  # of idle power, over the run
    wander: float = 0.01  # of the power of inference, slowly up and down
    noise: float = 0.02
    inference_s: float = 0.037
    period_s: float = 4.7e-3
    shunt_tolerance: float = 0.002  # of a shunt compared with a good instrument; the default of the meter is 0.01
    meter_errs: bool = True
    lost_share: float = 2e-4
    meter_drift: float = 3e-3  # at most, of a ceramic resonator
    conditions: tuple = ()


@dataclass(frozen=True)
class Known:
    """A run as recorded, and the truth about it."""

    run: EnergyRun
    gross_j: float
    net_j: float
    offset_s: float  # the meter's clock less the board's, at the begin of the run
    drift: float
    stream: bytes = field(repr=False, default=b"")


def various(seed: int, **fixed) -> Board:
    """Draw a board, a model and a meter's rate."""
    draw = np.random.default_rng(7000 + seed)
    chosen = {
        "idle_w": draw.uniform(1.2, 3.5), "busy_w": draw.uniform(0.8, 4.0), "drift": draw.uniform(-0.02, 0.02),
        "noise": draw.uniform(0.005, 0.03), "inference_s": draw.uniform(0.004, 0.08),
        "period_s": draw.uniform(3e-3, 6e-3),
    }  # fmt: skip
    return Board(seed, **{**chosen, **fixed})


def schedule_of(board: Board, draw: np.random.Generator, begin_s: float) -> Schedule:
    """Lay out idle, code, windows, code, idle, with the small delays of a real scheduler."""
    now, idle, codes, windows, marks = begin_s, [], [], [], []

    def busy(seconds: float) -> Stretch:
        nonlocal now
        made = Stretch(now, now + seconds)
        marks.extend([Mark(made.begin_s, 1, 2e-5), Mark(made.end_s, 0, 2e-5)])
        now = made.end_s
        return made

    def pause(seconds: float) -> Stretch:
        nonlocal now
        made = Stretch(now, now + seconds)
        now = made.end_s
        return made

    def code() -> None:
        pause(0.3)
        first, chips = pause(board.chip_s).begin_s, []
        for bits in "".join(map(str, BARKER)).replace("01", "0 1").replace("10", "1 0").split():
            length = len(bits) * board.chip_s * draw.uniform(1 - board.dither, 1 + board.dither) + draw.uniform(0, 2e-4)
            if bits[0] == "1":
                chips.append(busy(length))
            else:
                pause(length)
        codes.append(Code(Stretch(first, pause(board.chip_s).end_s), tuple(chips), 1e-4))

    idle.append(pause(board.idle_s))
    code()
    for _ in range(board.windows):
        pause(0.25)
        lead = now
        begin = now + board.guard_s
        count = int(np.ceil(1.005 * board.window_s / board.inference_s))
        end = begin + float((board.inference_s * (1 + 0.01 * draw.standard_normal(count))).sum())
        busy(end + board.guard_s - lead)
        windows.append(Runs(begin, end, count))
    code()
    pause(0.5)
    idle.append(pause(board.idle_s))
    return Schedule(tuple(idle), tuple(codes), tuple(windows), tuple(marks), board.chip_s, board.conditions)


def run_of(board: Board) -> Known:
    """Run it once."""
    draw = np.random.default_rng(board.seed)
    begin_s = float(draw.uniform(10, 1e5))
    schedule = schedule_of(board, draw, begin_s)
    grid, watts, idle_w = _watts(board, schedule, draw)
    done = np.concatenate([[0.0], np.cumsum(watts) * GRID_S])

    def joules(moments_s):
        return np.interp(moments_s, grid, done)

    gross = [float(joules(w.end_s) - joules(w.begin_s)) / w.count for w in schedule.windows]
    net = [j - float(np.interp((w.begin_s + w.end_s) / 2, grid[:-1], idle_w)) * w.seconds / w.count
           for j, w in zip(gross, schedule.windows, strict=True)]  # fmt: skip
    drift = float(draw.uniform(-1, 1)) * board.meter_drift
    offset_s = float(draw.uniform(0, 4000)) - begin_s  # micros() of 32 bits wraps at 4295 s
    host_s = float(draw.uniform(-1e4, 1e4))
    stream, sent_s = _stream(board, schedule, grid, done, draw, lambda b: b + offset_s + drift * (b - begin_s))
    trace, arrivals = _received(stream, sent_s + host_s, draw)
    span = schedule.whole
    run = EnergyRun(
        info=_info(board),
        trace=trace,
        arrivals=arrivals,
        schedule=schedule,
        before=_round_trips(span.begin_s - 0.2, host_s, draw),
        after=_round_trips(span.end_s + 0.1, host_s + 2e-5 * span.seconds, draw),
    )
    offset_s += 4294.967296 * round((trace.time_s[0] - (grid[0] + offset_s)) / 4294.967296)
    return Known(run, float(np.median(gross)), float(np.median(net)), offset_s, drift, b"".join(stream))


def polled_run_of(board: Board, rate_hz: float) -> Known:
    """Run it with a slow meter that is asked for its mean of the last moments, and stamped when its answer came."""
    draw = np.random.default_rng(board.seed)
    schedule = schedule_of(board, draw, 100.0)
    grid, watts, _ = _watts(board, schedule, draw)
    done = np.concatenate([[0.0], np.cumsum(watts) * GRID_S])
    host_s, ends = 5000.0, np.arange(grid[0] + 1 / rate_hz, grid[-1], 1 / rate_hz)
    ends = ends + draw.uniform(0, 0.1 / rate_hz, len(ends))
    means = np.diff(np.interp(ends, grid, done)) / np.diff(ends)
    none = np.full(len(means), np.nan)
    trace = Trace(ends[1:] + host_s + 0.02, np.round(means, 3), none, none, np.zeros(len(means), np.uint8))
    span, gross = schedule.whole, [float(np.diff(np.interp([w.begin_s, w.end_s], grid, done))[0]) / w.count
                                   for w in schedule.windows]  # fmt: skip
    run = EnergyRun(
        info=replace(_info(board), kind="um25c", clock="host", has_trigger=False, nominal_rate_hz=rate_hz),
        trace=trace, arrivals=np.empty((0, 2)), schedule=schedule,
        before=_round_trips(span.begin_s - 0.2, host_s, draw), after=_round_trips(span.end_s + 0.1, host_s, draw),
    )  # fmt: skip
    return Known(run, float(np.median(gross)), float("nan"), host_s, 0.0)


def _watts(board: Board, schedule: Schedule, draw: np.random.Generator):
    """Return cell borders, power in each cell, and the idle part of it."""
    span = schedule.whole
    grid = np.arange(span.begin_s - 1.0, span.end_s + 1.0, GRID_S)
    time = grid[:-1] + GRID_S / 2
    nodes = np.array([m.time_s for m in schedule.marks])
    edges = np.interp(grid, nodes, np.cumsum(np.diff(nodes, prepend=nodes[0]) * (np.arange(len(nodes)) % 2)))
    busy = np.diff(edges) / GRID_S
    course = (time - time[0]) / (time[-1] - time[0])
    idle_w = board.idle_w * (1 + board.drift * course)
    ripple = 1 + 0.15 * np.sign(np.sin(2 * np.pi * time / board.inference_s))
    busy_w = board.busy_w * ripple * (1 + board.wander * np.sin(2 * np.pi * course * 2.3 + draw.uniform(0, 6)))
    rise_s = draw.uniform(0.5e-3, 2e-3)
    kernel = np.exp(-np.arange(0, 5 * rise_s, GRID_S) / rise_s)
    watts = np.convolve(busy_w * busy, kernel / kernel.sum())[: len(time)]
    noise = board.noise * board.idle_w * draw.standard_normal(len(time))
    return grid, idle_w + watts + noise, idle_w


def _stream(board, schedule, grid, done, draw, on_meter):
    """Return the frames the meter sends, and when the last sample of each was made, on the board's clock."""
    period = board.period_s * (1 + draw.uniform(-0.05, 0.05))
    ends = np.arange(grid[0] + period, grid[-1], period)
    cell_w = np.diff(done) / GRID_S
    supply = 5.1 - 0.05 * cell_w / 5.1
    amperes = np.concatenate([[0.0], np.cumsum(cell_w / supply) * GRID_S])
    volts = np.concatenate([[0.0], np.cumsum(supply) * GRID_S])

    def mean(total, begin, end):
        return (np.interp(end, grid, total) - np.interp(begin, grid, total)) / (end - begin)

    current = mean(amperes, ends - period, ends - period / 2)
    voltage = mean(volts, ends - period / 2, ends)
    chip = INA_FACTS[InaChip.INA226]
    limits = [board.shunt_tolerance, chip.current_gain, chip.shunt_offset_v, chip.bus_gain, chip.bus_offset_v]
    ohm, gain, offset_v, bus_gain, bus_offset_v = board.meter_errs * draw.uniform(-1, 1, len(limits)) * limits
    shunt_v = current * SHUNT_OHM * (1 + ohm)
    records = np.zeros(len(ends), SAMPLE)
    records["shunt"] = np.round((shunt_v * (1 + gain) + offset_v) / SHUNT_V)
    records["bus"] = np.round((voltage * (1 + bus_gain) + bus_offset_v) / BUS_V)
    nodes = np.array([m.time_s for m in schedule.marks])
    records["inputs"] = np.searchsorted(nodes, ends) % 2
    stamps = on_meter(ends) + draw.uniform(0, 60e-6, len(ends))
    records["time_us"] = np.round(stamps * 1e6).astype(np.int64) % (1 << 32)
    return _frames(records, ends, _kept(board, len(ends), draw))


def _kept(board, count, draw):
    kept = np.ones(count, bool)
    for first in draw.integers(0, count, draw.poisson(board.lost_share * count / 2)):
        kept[first : first + draw.integers(1, 4)] = False
    return kept


def _frames(records, ends, kept):
    """Put what was kept into frames: 16 samples at most, and a loss ends one."""
    index = np.flatnonzero(kept)
    runs = np.split(index, np.flatnonzero(np.diff(index) > 1) + 1)
    pieces = [run[at : at + _FRAME] for run in runs for at in range(0, len(run), _FRAME)]
    payloads = [
        bytes([VERSION << 4 | KIND_SAMPLES]) + int(piece[0]).to_bytes(4, "little") + records[piece].tobytes()
        for piece in pieces
    ]
    sums = np.zeros(len(payloads), np.uint16)
    lengths = np.array([len(each) for each in payloads])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        sums[chosen] = crc16_rows(np.frombuffer(b"".join(payloads[i] for i in chosen), np.uint8).reshape(-1, length))
    stream = [cobs_encode(each + int(crc).to_bytes(2, "little")) + b"\x00"
              for each, crc in zip(payloads, sums, strict=True)]  # fmt: skip
    return stream, ends[[piece[-1] for piece in pieces]]


def _received(stream, sent_s, draw):
    """Feed the frames to the decoder about once a second; return the trace and when its parts arrived."""
    configuration = Configuration(1, 3, 3, 4700)
    identity = Identity(InaChip.INA226, (1, 0, 0), configuration, round(SHUNT_OHM * 1e6), calibrated=True)
    meter = Decoder(edge_frames.decode, edge_frames.initial(identity=identity))
    least_s = draw.uniform(1e-3, 6e-3)
    traces, arrivals = [], []
    for part in np.array_split(np.arange(len(stream)), max(1, int(np.ptp(sent_s)))):
        host_s = sent_s[part[-1]] + least_s + draw.exponential(3e-3)
        traces.append(meter.feed(b"".join(stream[i] for i in part), host_s))
        arrivals.append((traces[-1].time_s[-1], host_s))
    return Trace.concatenate(traces), np.array(arrivals)


def _round_trips(board_s, host_s, draw):
    trips = []
    for index in range(20):
        there, back = draw.exponential(2e-3, 2) + 3e-4
        at = board_s + 0.01 * index
        trips.append(RoundTrip(at + host_s - there, at, at + host_s + back))
    return tuple(trips)


def _info(board: Board) -> MeterInfo:
    stated = chip_accuracy("ina226", shunt_ohm=SHUNT_OHM, shunt_tolerance=board.shunt_tolerance)
    if not board.meter_errs:
        stated = MeterAccuracy(0.0, 0.0, "a meter without error")
    return MeterInfo(
        kind="edge", name="bench", identity="synthetic INA226",
        settings={"chip": "ina226", "shunt_uohm": round(SHUNT_OHM * 1e6), "calibrated": True},
        nominal_rate_hz=1 / board.period_s, gain_uncertainty=stated.gain_uncertainty,
        offset_uncertainty_w=stated.offset_uncertainty_w, accuracy_source=stated.accuracy_source,
        clock="meter", has_trigger=True, is_estimate=False,
    )  # fmt: skip
