"""What the meter commands say: meters, rates, powers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from converters.printable import one_line
from devices.meters.kinds import MeterKind, settings_of
from edge.report.formatting import hertz, watts
from edge.report.terminal.text_layout import WIDTH, paragraph

if TYPE_CHECKING:
    from devices.meters.meter_contract import MeterInfo
    from devices.meters.meter_settings import Setting
    from devices.meters.rates import Powers, Rates


def counts(rates: Rates) -> str:
    """Return samples and losses in one line."""
    damaged = f", {rates.damaged} damaged" if rates.damaged else ""
    return f"{rates.samples} samples, {rates.lost} lost ({rates.lost_share:.2%}){damaged}"


def about(info: MeterInfo) -> list[str]:
    """Return lines that say what the meter is and how far to believe it."""
    label = "ESTIMATE, not a measurement at the supply; " if info.is_estimate else ""
    nominal = f", {hertz(info.nominal_rate_hz)} nominal" if info.nominal_rate_hz else ""
    return [
        paragraph(f"{one_line(info.name)}: {one_line(info.identity)}{nominal}"),
        paragraph(
            f"{label}standard uncertainty {info.gain_uncertainty:.2%} and {watts(info.offset_uncertainty_w)} "
            f"({one_line(info.accuracy_source)})"
        ),
    ]


def result_lines(powers: Powers, rates: Rates, incomplete: str | None = None) -> list[str]:
    """Return lines with the result of reading for a while; `incomplete` says why the samples end too early."""
    ends = [paragraph(f"INCOMPLETE: {one_line(incomplete)}")] if incomplete else []
    speeds = f"{hertz(rates.delivered_hz)} delivered, {hertz(rates.effective_hz)} effective"
    came = f"{counts(rates)}; {speeds}"
    return [
        f"mean {watts(powers.mean_w)}, peak {watts(powers.peak_w)}, least {watts(powers.least_w)} "
        f"over {rates.duration_s:.4g} s",
        came if len(came) <= WIDTH else f"{counts(rates)}\n    {speeds}",
        *ends,
    ]


def kinds_text(kinds: Iterable[MeterKind]) -> str:
    """Return the kinds of meters and their settings, for people."""
    lines = []
    for kind in kinds:
        lines.append(f"{kind.example:<24} {kind.about}")
        for each in settings_of(kind.name):
            lines.append(paragraph(f"    --set {each.name}=...  {each.about}{_default(each)}", " " * 8))
    return "\n".join(lines)


def kinds_json(kinds: Iterable[MeterKind]) -> list[dict[str, Any]]:
    """Return the same for programs."""
    return [
        {"kind": kind.name, "about": kind.about, "example": kind.example, "settings": [
            {"name": each.name, "about": each.about, "default": each.default, "low": each.low, "high": each.high,
             "choices": list(each.choices)} for each in settings_of(kind.name)
        ]}
        for kind in kinds
    ]  # fmt: skip


def _default(setting: Setting) -> str:
    low, high = (_plain(each) for each in (setting.low, setting.high))
    bounds = f" ({low} to {high})" if low and high else ""
    chosen = f" ({' or '.join(setting.choices)})" if setting.choices else ""
    value = setting.default if setting.type is not bool else "yes" if setting.default else "no"
    return f"{bounds}{chosen}" + (f"  [default: {value}]" if value is not None else "")


def _plain(bound: float | None) -> str:
    if bound is None:
        return ""
    return f"{bound:,.0f}" if bound >= 1 else f"{bound:.5f}".rstrip("0").rstrip(".")
