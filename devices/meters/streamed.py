"""Meters that send bytes: a port, a codec, and what is kept of the two."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Protocol

from devices.meters.accuracy import Accuracy
from devices.meters.contract import MeterInfo
from devices.meters.error_translation import translated
from devices.meters.errors import MeterError
from devices.meters.serial_port import SerialPort, discard
from firmware_tools.codecs import Decoder, decoder
from firmware_tools.trace import Trace

ANSWER_S = 2.0  # longest wait for a meter's answer


class Port(Protocol):
    """What bytes come through: a serial port, or a file of the kernel's that behaves like one."""

    def write(self, data: bytes) -> None: ...
    def read(self, *, deadline_s: float) -> bytes: ...
    def close(self) -> None: ...


class StreamedMeter:
    """What these meters share. A subclass greets its meter in `_greet`, which also makes the decoder.

    Args:
        pace_s: At most one read in so long: a fast stream is decoded in few large pieces.
    """

    kind = ""
    baud = 9600

    def __init__(self, name: str, address: str, settings: dict[str, Any], *, pace_s: float = 0.0) -> None:
        self._name, self._address, self._settings = name, address, settings
        self._pace_s = pace_s
        self._port: Port | None = None
        self._info: MeterInfo | None = None
        self._decoder: Decoder[Any] | None = None
        self._is_started = False
        self._read_s = 0.0

    @property
    def name(self) -> str:
        """The name the user calls it by."""
        return self._name

    def __enter__(self) -> StreamedMeter:
        self._port = self._opened()
        try:
            self._info = translated(self._greet)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except MeterError:
            if kind is None:  # else the first error says more
                raise
        finally:
            self._close()

    def info(self) -> MeterInfo:
        """Return what it is."""
        if self._info is None:
            raise MeterError(f"{self._name} is not open")
        return self._info

    def start(self) -> None:
        """Let samples come."""
        translated(self._begin)
        self._is_started = True

    def stop(self) -> None:
        """Let no more samples come."""
        if self._is_started:
            self._is_started = False
            translated(self._end)

    def read(self, deadline_s: float) -> Trace:
        """Return the samples that have come since the last call."""
        if not self._is_started:
            raise MeterError(f"{self._name} was not started")
        until = time.monotonic() + deadline_s
        time.sleep(max(0.0, min(self._read_s + self._pace_s - time.monotonic(), deadline_s)))
        trace = Trace.empty()
        while not len(trace):
            left = until - time.monotonic()
            trace = Trace.joined([trace, self._next(max(0.0, left))])
            if left <= 0:
                break
        self._read_s = time.monotonic()
        return trace

    def _next(self, deadline_s: float) -> Trace:
        """Wait for bytes at most so long and decode them."""
        data = self.port.read(deadline_s=deadline_s)
        return self.decoded(data) if data else Trace.empty()

    @property
    def port(self) -> Port:
        """The open port."""
        if self._port is None:
            raise MeterError(f"{self._name} is not open")
        return self._port

    def decoded(self, data: bytes) -> Trace:
        """Give bytes that have just come to the decoder."""
        assert self._decoder is not None
        feed, arrived_s = self._decoder.feed, time.monotonic()
        return translated(lambda: feed(data, arrived_s))

    def discard(self, *, most_s: float = 0.5) -> None:
        """Forget what has come, until nothing comes."""
        discard(lambda wait_s: self.port.read(deadline_s=wait_s), most_s=most_s)

    def use_decoder(self, **settings: object) -> None:
        """Make the decoder of this kind."""
        self._decoder = translated(lambda: decoder(self.kind, **settings))

    def described(
        self, identity: str, accuracy: Accuracy, *, rate_hz: float | None, clock: str, has_trigger: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> MeterInfo:  # fmt: skip
        """Return what `info` returns; `settings` are those that the meter acknowledged."""
        return MeterInfo(
            self.kind, self._name, identity, self._settings if settings is None else settings, rate_hz,
            accuracy.gain_uncertainty, accuracy.offset_uncertainty_w, accuracy.accuracy_source,
            clock=clock, has_trigger=has_trigger, is_estimate=False,
        )  # fmt: skip

    def _opened(self) -> Port:
        return SerialPort(self._address, baud=self._settings.get("baud") or self.baud)

    def _greet(self) -> MeterInfo:
        raise NotImplementedError

    def _begin(self) -> None:
        """Tell the meter to send; one that sends always has nothing to be told."""
        self.discard()

    def _end(self) -> None:
        """Tell the meter to send no more."""

    def _close(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None
