"""What a power meter says of itself: `edge firmware info`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from firmware_tools.codecs.edge_commands import Chip, Identity, SelfTest
from firmware_tools.power_meter.client import MeterClient

# Where samples are further apart, the meter tests itself at the settings that it has after a reset.
SLOW_US = 20_000
# Bits of the ATmega328P's MCUSR.
_CAUSES = {1: "power on", 2: "reset pin", 4: "brown-out", 8: "watchdog"}


@dataclass(frozen=True)
class Info:
    """Identity and self-test of the meter at a port."""

    port: str
    identity: Identity
    self_test: SelfTest

    @property
    def reset_cause(self) -> str:
        """Return why it was last reset, in words."""
        causes = [text for bit, text in _CAUSES.items() if self.identity.reset_cause & bit]
        return " and ".join(causes) or "unknown"

    @property
    def is_tested_as_set(self) -> bool:
        """Return whether the self-test was at the present settings; it never is at slow ones."""
        return self.identity.configuration.period_us <= SLOW_US

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong and what to do, in the order in which to look."""
        test, found = self.self_test, []
        if not test.i2c_ok:
            found.append("the chip does not answer: check its supply, SDA (A4), SCL (A5) and its address (0x40)")
        elif not test.chip_ok:
            found.append(f"another chip than an {self.identity.chip.name} answers: flash with the right --chip")
        elif not test.period_us:
            found.append("no conversions are seen: is the chip's ALERT wired to D8?")
        elif not test.conversion_time_ok:
            nominal = f"{self.identity.configuration.period_us}" if self.is_tested_as_set else "the data sheet's time"
            found.append(f"a conversion takes {test.period_us} us instead of {nominal}: another or a broken chip")
        if not test.eeprom_ok and self.identity.chip != Chip.INA260:
            found.append(f"the shunt is not calibrated: {self.identity.shunt_uohm / 1000:g} mOhm is assumed")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return what `edge firmware info --json` prints."""
        identity = asdict(self.identity)
        identity.update(chip=self.identity.chip.name.lower(), firmware=".".join(map(str, self.identity.firmware)))
        return {
            "port": self.port, **identity, "reset_cause": self.reset_cause, "self_test": asdict(self.self_test),
            "problems": list(self.problems),
        }  # fmt: skip


def info(port: str) -> Info:
    """Ask the meter at a port what it is and let it test itself; one that is sending samples is stopped.

    Raises:
        NoAnswerError: Nothing at the port answered as a power meter.
        LineError: The port cannot be opened, or broke.
    """
    with MeterClient(port) as meter:
        identity = meter.identify()
        if identity.streaming:
            meter.stop()
        return Info(port, identity, meter.self_test())
