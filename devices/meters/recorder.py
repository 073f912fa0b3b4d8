"""Reads a meter for some time, in the foreground or in a thread of its own.

If reading fails, the recording keeps the samples read so far and the reason why it ends early.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from converters.errors import EdgeError
from devices.meters.meter_contract import Meter
from devices.meters.recording import Recording
from devices.meters.trace_file import TraceWriter, now
from firmware_tools.errors import EndOfReplayError, InstrumentError, NoAnswerError
from firmware_tools.trace import Trace

SILENCE_S = 10.0  # without a sample for so long, the meter has failed
SLOWEST = 3
_READ_S = 0.1
_STOP_S = 10.0
OnTrace = Callable[[Trace, float], None]  # samples, the host's monotonic time by which they had come


def gather(
    meter: Meter, on_trace: OnTrace, *, seconds: float = math.inf, stopped: Callable[[], bool] | None = None,
    silence_s: float = SILENCE_S,
) -> str | None:  # fmt: skip
    """Start an open meter, hand over what it reads until the time is over, and stop it.

    A replay ends at its own end. A slow meter is given the time of SLOWEST samples.

    Returns:
        Why the samples end early, if a replayed recording was incomplete; otherwise None.

    Raises:
        NoAnswerError: No sample came for `silence_s`.
        LineError: It was unplugged.
    """
    rate_hz = meter.info().nominal_rate_hz
    silence_s = max(silence_s, SLOWEST / rate_hz) if rate_hz else silence_s
    meter.start()
    until, last_s = time.monotonic() + seconds, time.monotonic()
    incomplete: str | None = None
    try:
        while (left := until - time.monotonic()) > 0 and not (stopped and stopped()):
            try:
                trace = meter.read(min(_READ_S, left))
            except EndOfReplayError as end:
                incomplete = end.incomplete
                break
            arrived_s = time.monotonic()
            if len(trace):
                last_s = arrived_s
            elif arrived_s - last_s > silence_s:
                raise NoAnswerError(
                    f"{meter.name} sent no sample for {silence_s:g} s", hint="is it switched on, and measuring?"
                )
            if len(trace) or trace.lost or trace.damaged:
                on_trace(trace, arrived_s)
    except BaseException:
        _stop_after_error(meter)
        raise
    meter.stop()
    return incomplete


class Recorder:
    """Reads an open meter in a thread of its own from entering to leaving.

    with find_meter("edge:/dev/ttyUSB0") as meter, Recorder(meter) as recorder:
        work()
    recording = recorder.recording()

    Leaving waits for the thread. An error in the thread is not raised but stored in `error`.

    Args:
        path: Also write the recording to this file while it is made.
        notes: JSON values that are stored with it.
    """

    def __init__(self, meter: Meter, *, path: Path | None = None, notes: Mapping[str, object] | None = None) -> None:
        self._meter, self._notes = meter, dict(notes or {})
        self._created = now()
        self._writer = TraceWriter(path, meter.info(), notes=notes, created=self._created) if path else None
        self._lock = threading.Lock()
        self._parts: list[Trace] = []
        self._arrivals: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"meter {meter.name}", daemon=True)
        self._incomplete: str | None = None
        self.error: Exception | None = None

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for_samples(self, deadline_s: float) -> None:
        """Wait until the first sample has arrived.

        Raises:
            EdgeError: The meter failed, or no sample came in time.
        """
        if not self._first.wait(deadline_s):
            raise NoAnswerError(
                f"{self._meter.name} sent no sample within {deadline_s:g} s", hint="is it switched on, and measuring?"
            )
        self.check()

    def check(self) -> None:
        """Raise the reading thread's error, if there is one."""
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Stop reading; may be repeated.

        Raises:
            NoAnswerError: The reading thread does not end.
        """
        self._stop.set()
        if self._thread.ident is None:
            return
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            raise NoAnswerError(f"{self._meter.name} could not be stopped within {_STOP_S:g} s")

    def recording(self) -> Recording:
        """Return the recording so far; complete once stopped."""
        with self._lock:
            parts, arrivals = list(self._parts), np.array(self._arrivals, np.float64).reshape(-1, 2)
        incomplete = str(self.error) if self.error is not None else self._incomplete
        return Recording(self._meter.info(), Trace.concatenate(parts), arrivals, self._created, self._notes, incomplete)

    def _run(self) -> None:
        try:
            if self._writer is None:
                self._incomplete = gather(self._meter, self._take, stopped=self._stop.is_set)
            else:
                with self._writer as writer:
                    self._incomplete = gather(self._meter, self._take, stopped=self._stop.is_set)
                    writer.incomplete = self._incomplete
        except EdgeError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  (nobody above a thread would catch it: `error` carries it)
            self.error = InstrumentError(f"reading {self._meter.name} failed: {type(error).__name__}: {error}")
            self.error.__cause__ = error
        finally:
            self._first.set()

    def _take(self, trace: Trace, arrived_s: float) -> None:
        pairs = [(float(trace.time_s[-1]), arrived_s)] if len(trace) else []
        with self._lock:
            self._parts.append(trace)
            self._arrivals += pairs
        if self._writer is not None:
            self._writer.restate(self._meter.info())
            self._writer.add(trace, np.array(pairs).reshape(-1, 2))
        if pairs:
            self._first.set()


def _stop_after_error(meter: Meter) -> None:
    """Stop the meter if it still responds; errors here would hide the one being raised."""
    try:
        meter.stop()
    except (EdgeError, OSError):
        return
