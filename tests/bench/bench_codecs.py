"""Meter codecs: samples a second of CPU time, and the PPK2's against the parser of the package ppk2-api.

Both PPK2 parsers get the same 10 million samples (100 s of the kit) in pieces of 0.1 s, the range switching once in a
thousand samples, and must agree on every current. Our own meter's stream is cut into pieces of 64 KiB and of 4 KiB. CPU
time, not the clock: what other processes take is not the codec's.
"""

from __future__ import annotations

import struct
import sys
import time
from types import SimpleNamespace

import numpy as np

from firmware_tools.codecs import edge_frames
from firmware_tools.codecs import ppk2_stream as ppk2_codec
from firmware_tools.codecs.edge_commands import KIND_SAMPLES, Configuration, Identity, frame
from firmware_tools.codecs.framing import Decoder
from firmware_tools.codecs.ppk2_calibration import parse_metadata
from firmware_tools.power_meter.chips import InaChip

PPK2_SAMPLES = 10_000_000
PIECE = 40_000
SUPPLY_V = 3.3
# The kinds of constants that a kit has; the values are made up.
CONSTANTS = {
    "R": (1003.35, 101.58, 10.302, 0.9636, 0.0564),
    "GS": (1.2, 0.9, 0.5, 0.1, 0.02),
    "GI": (1.0, 0.99, 1.01, 1.0, 0.98),
    "O": (112.7, 105.1, 98.3, 80.2, 60.1),
    "S": (1e-8, 1e-7, 1e-6, 1e-6, 2e-5),
    "I": (-1e-8, 1e-7, 2e-6, 1e-5, 1e-5),
    "UG": (1.0, 1.0, 1.0, 1.01, 1.0),
}
METADATA = "".join(f"{key}{index}: {value}\n" for key, row in CONSTANTS.items() for index, value in enumerate(row))


def main() -> None:
    """Print the figures."""
    ppk2()
    edge_meter(64 << 10, "64k")
    edge_meter(4 << 10, "4k")


def ppk2() -> None:
    """Decode the same stream with both."""
    stream = ppk2_stream()
    pieces = [stream[first : first + PIECE] for first in range(0, len(stream), PIECE)]
    calibration = parse_metadata(f"{METADATA}END\n".encode())
    ours = Decoder(ppk2_codec.decode, ppk2_codec.initial(calibration=calibration, supply_v=SUPPLY_V))
    ours_s, traces = timed(lambda piece: ours.feed(piece, 0.0), pieces)
    peer = ppk2_api()
    peer_s, arrays = timed(lambda piece: peer.get_samples(piece)[0], pieces, keep=np.array)
    theirs_a = np.concatenate(arrays)[4:-4] * 1e-6
    ours_a = np.concatenate([trace.current_a for trace in traces])
    # Ours gives all but four samples at each end.
    np.testing.assert_allclose(ours_a, theirs_a, rtol=1e-9, atol=1e-15)
    print(f"ppk2_decode {PPK2_SAMPLES / ours_s / 1e6:.1f} Msamples/s")
    print(f"ppk2_api_decode {PPK2_SAMPLES / peer_s / 1e6:.2f} Msamples/s")
    print(f"ppk2_decode_vs_ppk2_api {peer_s / ours_s:.1f} ratio")


def ppk2_stream() -> bytes:
    """Words with everything at random but the counter, and the range, which stays for a while."""
    random = np.random.default_rng(0)
    ranges = np.repeat(random.integers(0, 5, PPK2_SAMPLES // 1000, np.uint32), 1000)
    # Before its first switch the parsers' running means must have forgotten that ours begins four samples later.
    ranges[:5000] = 3
    adc = random.integers(0, 1 << 14, PPK2_SAMPLES, np.uint32)
    inputs = random.integers(0, 256, PPK2_SAMPLES, np.uint32)
    counter = np.arange(PPK2_SAMPLES, dtype=np.uint32) & np.uint32(0x3F)
    return (adc | ranges << np.uint32(14) | counter << np.uint32(18) | inputs << np.uint32(24)).tobytes()


def ppk2_api():
    """The peer's parser with the same constants, and no port behind it."""
    from ppk2_api import ppk2_api as package

    package.serial.Serial = lambda *_, **__: SimpleNamespace(close=lambda: None)
    peer = package.PPK2_API("none")
    peer.current_vdd = round(1000 * SUPPLY_V)
    if not peer._parse_metadata(METADATA):
        sys.exit("ppk2-api does not read the metadata")
    return peer


def edge_meter(piece: int, name: str) -> None:
    """Decode frames of 16 samples, five times over."""
    identity = Identity(InaChip.INA226, (1, 0, 0), Configuration(0, 0, 0, 200), 100_000, calibrated=True)
    stream = edge_stream(frames=20_000)
    pieces = [stream[first : first + piece] for first in range(0, len(stream), piece)]
    spent_s = given = 0
    for _ in range(5):
        meter = Decoder(edge_frames.decode, edge_frames.initial(identity=identity))
        took_s, traces = timed(lambda data, meter=meter: meter.feed(data, 0.0), pieces)
        spent_s, given = spent_s + took_s, given + sum(len(trace) for trace in traces)
    if given != 5 * 16 * 20_000:
        sys.exit(f"{given} samples came out")
    print(f"edge_meter_decode_{name} {given / spent_s / 1e6:.2f} Msamples/s")


def edge_stream(*, frames: int) -> bytes:
    """What the meter sends at 5,000 samples a second."""
    random = np.random.default_rng(0)
    count = 16 * frames
    time_us = np.cumsum(random.integers(190, 210, count)).tolist()
    bus, shunt = random.integers(3900, 4100, count).tolist(), random.integers(0, 20_000, count).tolist()
    records = [struct.pack("<IHhB", *row, 0) for row in zip(time_us, bus, shunt, strict=True)]
    return b"".join(
        frame(KIND_SAMPLES, struct.pack("<I", first) + b"".join(records[first : first + 16]))
        for first in range(0, count, 16)
    )


def timed(work, pieces, *, keep=lambda result: result):
    """Return the CPU time of the work on one piece after the other, and what is kept of its results."""
    spent_s, out = 0.0, []
    for piece in pieces:
        begin_s = time.process_time()
        result = work(piece)
        spent_s += time.process_time() - begin_s
        out.append(keep(result))
    return spent_s, out


if __name__ == "__main__":
    main()
