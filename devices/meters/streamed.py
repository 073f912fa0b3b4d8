"""Base of the meters that send bytes: a port, a codec, and the state of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from devices.findings import access_to
from devices.meters.accuracy import MeterAccuracy
from devices.meters.meter_contract import MeterInfo
from firmware_tools.codecs.framing import Decoder
from firmware_tools.errors import InstrumentError, LineError, MeterAccessError, UnknownMeterError
from firmware_tools.line import SerialLine
from firmware_tools.trace import Trace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ANSWER_S = 2.0  # longest wait for a meter's answer
_QUIET_S = 0.03  # after this time without a byte, everything on its way has arrived
SettingsT = TypeVar("SettingsT", bound="DataclassInstance")
StateT = TypeVar("StateT")
T = TypeVar("T")


class BytePort(Protocol):
    """The source of the bytes: a serial port, or a file of the kernel that behaves like one."""

    def write(self, data: bytes) -> None: ...
    def read(self, *, deadline_s: float) -> bytes: ...
    def close(self) -> None: ...


class SerialPort:
    """An open serial port. Other programs that lock ports are kept out; bytes are never altered on the way."""

    def __init__(self, path: str, *, baud: int) -> None:
        self._line = open_at(path, lambda: SerialLine(path, baud=baud))

    def write(self, data: bytes) -> None:
        """Send all of it, within the line's own deadline."""
        self._line.write(data)

    def read(self, *, deadline_s: float) -> bytes:
        """Return what has arrived, waiting at most so long for the first byte; b"" if none came."""
        return self._line.read(deadline_s)

    def close(self) -> None:
        """Close the port; may be repeated."""
        self._line.close()


def open_at(path: str, open_it: Callable[[], T]) -> T:
    """Open something at a serial port.

    Raises:
        UnknownMeterError: There is no such port.
        MissingPartError: pyserial is not installed.
        MeterAccessError: This user may not open it, another program has it, or it is not a serial port.
    """
    if not Path(path).exists():
        raise UnknownMeterError(f"there is no {path}", hint="`edge meter list` shows what is plugged in")
    try:
        return open_it()
    except LineError as error:
        access = access_to(Path(path), shown=path)
        raise MeterAccessError(access.problem or str(error), hint=access.hint or error.hint) from error


class StreamedMeter(Generic[SettingsT, StateT]):
    """A meter that sends bytes. A subclass identifies its meter in `_greet`, and makes the decoder.

    Args:
        pace_s: Shortest time between two reads: a fast stream is decoded in few large pieces.
    """

    kind: ClassVar[str] = ""
    baud = 9600

    def __init__(self, name: str, address: str, settings: SettingsT, *, pace_s: float = 0.0) -> None:
        self._name, self._address, self._settings = name, address, settings
        self._pace_s = pace_s
        self._port: BytePort | None = None
        self._info: MeterInfo | None = None
        self._decoder: Decoder[StateT] | None = None
        self._is_started = False
        self._read_s = 0.0

    @property
    def name(self) -> str:
        """The name the user calls it by."""
        return self._name

    def __enter__(self) -> StreamedMeter[SettingsT, StateT]:
        self._port = self._open_port()
        try:
            self._info = self._greet()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except InstrumentError:
            if kind is None:  # otherwise the first error is the one to report
                raise
        finally:
            self._close()

    def info(self) -> MeterInfo:
        """Return its description."""
        if self._info is None:
            raise InstrumentError(f"{self._name} is not open")
        return self._info

    def start(self) -> None:
        """Start measuring."""
        self._begin()
        self._is_started = True

    def stop(self) -> None:
        """Stop measuring."""
        if self._is_started:
            self._is_started = False
            self._end()

    def read(self, deadline_s: float) -> Trace:
        """Return the samples received since the last call."""
        if not self._is_started:
            raise InstrumentError(f"{self._name} was not started")
        until = time.monotonic() + deadline_s
        time.sleep(max(0.0, min(self._read_s + self._pace_s - time.monotonic(), deadline_s)))
        trace = Trace.empty()
        while not len(trace):
            left = until - time.monotonic()
            trace = Trace.concatenate([trace, self._next(max(0.0, left))])
            if left <= 0:
                break
        self._read_s = time.monotonic()
        return trace

    def _next(self, deadline_s: float) -> Trace:
        """Wait at most so long for bytes, and decode them."""
        data = self.port.read(deadline_s=deadline_s)
        return self.decode(data) if data else Trace.empty()

    @property
    def port(self) -> BytePort:
        """The open port."""
        if self._port is None:
            raise InstrumentError(f"{self._name} is not open")
        return self._port

    @property
    def decoder(self) -> Decoder[StateT]:
        """The decoder, which a subclass makes while it greets or begins."""
        assert self._decoder is not None
        return self._decoder

    def decode(self, data: bytes) -> Trace:
        """Decode bytes that have just arrived."""
        return self.decoder.feed(data, time.monotonic())

    def discard(self, *, most_s: float = 0.5) -> None:
        """Read and discard until nothing comes for a moment; at most so long, as some meters never pause."""
        until = time.monotonic() + most_s
        while time.monotonic() < until and self.port.read(deadline_s=_QUIET_S):
            pass

    def describe(
        self, identity: str, accuracy: MeterAccuracy, *, rate_hz: float | None, clock: str, has_trigger: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> MeterInfo:  # fmt: skip
        """Return the value of `info`; `settings` are those that the meter acknowledged."""
        return MeterInfo(
            self.kind, self._name, identity, asdict(self._settings) if settings is None else settings, rate_hz,
            accuracy.gain_uncertainty, accuracy.offset_uncertainty_w, accuracy.accuracy_source,
            clock=clock, has_trigger=has_trigger, is_estimate=False,
        )  # fmt: skip

    def _open_port(self) -> BytePort:
        return SerialPort(self._address, baud=self.baud)

    def _greet(self) -> MeterInfo:
        raise NotImplementedError

    def _begin(self) -> None:
        """Start the meter's stream; a meter that always sends needs no command."""
        self.discard()

    def _end(self) -> None:
        """Stop the meter's stream."""

    def _close(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None
