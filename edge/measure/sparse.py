"""What was forecast of a file's sparse kernels on a device, and whether what ran agrees with it, as values."""

from __future__ import annotations

from dataclasses import dataclass

from converters.decode import Count


@dataclass(frozen=True)
class SparseForecast:
    """What the doctor says of the file for the device's processor and runtime, before anything runs.

    Attributes:
        target: the board it was judged for; None where the device is none that was measured.
        runtime: "name==version".
        ran: 1x1 convolutions that a sparse kernel will run, of `of` in the file; None where it is not known.
        corrupts: whether the runtime will compute wrong results, or refuse the file.
        reasons: the rules that are not met, or why nothing is known; the ones to act on first.
    """

    target: str | None
    runtime: str
    ran: Count | None
    of: Count | None
    corrupts: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class SparseVerdict:
    """Forecast and proof together.

    Attributes:
        predicted: the forecast.
        agrees: whether what ran is what was forecast; None where one of them is not known.
        any_ran: whether any sparse kernel ran; None where it is not known.
        proof: what showed it: "kernel names" counts convolutions, "instructions" tells some from none; None where
            nothing did.
        text: the verdict in words, as "sparse kernels ran: 34 of 34".
    """

    predicted: SparseForecast
    agrees: bool | None
    any_ran: bool | None
    proof: str | None
    text: str
