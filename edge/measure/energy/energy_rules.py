"""Decides whether an energy is valid: rules as data, like those of latency, each with its limit and its sentence.

Windows of at least 10 s and 10 inferences, five of them and their median, losses of at most 0.1 %: as in MLPerf Tiny
(mlcommons/tiny: benchmark/runner/main.py, 209-224; eembc/energyrunner: README.md, emon-drop-thresh-pct). The conditions
are judged by the rules of latency on the samples taken between the windows.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge.measure import validity
from edge.measure.energy import meter_rules
from edge.measure.energy.meter_rules import EnergyEvidence
from edge.measure.energy.value import Energy, NotMeasured
from edge.measure.measurement import Validity, Window
from edge.measure.plan import ENERGY_RUNS, ENERGY_WINDOW_S, ENERGY_WINDOWS, Plan
from edge.measure.statistics import median, relative_spread
from edge.measure.validity import Answer, Broken, Rule, Unknown, apply_rules

_CONDITIONS = ("other processes", "hypervisor", "governor", "clock", "throttling", "temperature", "Edge TPU")
# A meter read on the board itself, or a board that got hot, changes what is measured.
_SAME = 0.10
_COUNTING = ("edge", "ppk2")  # meters that number their samples


def judge(evidence: EnergyEvidence, rules: Sequence[Rule[EnergyEvidence]] | None = None) -> Validity:
    """Apply the rules of energy, by default all, and those of latency on the conditions."""
    around = validity.judge(
        validity.LatencyEvidence(Plan(), (), (), evidence.conditions, evidence.machine),
        [rule for rule in validity.RULES if rule.name in _CONDITIONS],
    )
    return validity.join_verdicts([apply_rules(evidence, RULES if rules is None else rules), around])


def _enough_windows(evidence: EnergyEvidence, limit: float) -> Answer:
    count = len(evidence.windows)
    return Broken(f"the number of windows is {count}, at least {limit:g} are needed") if count < limit else None


def _long_windows(evidence: EnergyEvidence, limit: float) -> Answer:
    shortest = min(evidence.lengths_s)
    # The last inference ends a window, so one that was asked to last 10 s does.
    return Broken(f"a window lasts {shortest:.4g} s, at least {limit:g} s are needed") if shortest < limit else None


def _enough_inferences(evidence: EnergyEvidence, limit: float) -> Answer:
    fewest = min(window.runs for window in evidence.windows)
    return Broken(f"a window holds {fewest} inferences, at least {limit:g} are needed") if fewest < limit else None


def _small_spread(evidence: EnergyEvidence, limit: float) -> Answer:
    spread = relative_spread([window.gross_j / window.runs for window in evidence.windows])
    if spread is None:
        return Unknown("the spread of the windows: there are fewer than two")
    return (
        Broken(f"the windows' energies differ by {spread:.1%}, at most {limit:.0%} is allowed")
        if (spread > limit)
        else None
    )


def _few_lost(evidence: EnergyEvidence, limit: float) -> Answer:
    trace = evidence.trace
    share = trace.lost / max(1, trace.lost + len(trace))
    missing = sum(window.missing_s for window in evidence.windows) / max(1e-9, sum(evidence.lengths_s))
    if share > limit or missing > limit:
        return Broken(
            f"{trace.lost} of {trace.lost + len(trace)} samples were lost, and {missing:.2%} of the windows' time has "
            f"none; at most {limit:.1%} is allowed"
        )
    if evidence.meter.kind not in _COUNTING:
        return Unknown(f"lost samples: {evidence.meter.name} does not number them")
    return None


def _whole_recording(evidence: EnergyEvidence, limit: float) -> Answer:
    return None if evidence.incomplete is None else Broken(f"the recording ends early: {evidence.incomplete}")


def _few_damaged(evidence: EnergyEvidence, limit: float) -> Answer:
    damaged, samples = evidence.trace.damaged, len(evidence.trace)
    if damaged <= limit * (damaged + samples):
        return None
    return Broken(
        f"{damaged} frames or samples of the meter were damaged or beyond its range, at most {limit:.1%} is allowed"
    )


def _still_idle(evidence: EnergyEvidence, limit: float) -> Answer:
    idle = evidence.idle
    if idle is None:
        return Unknown("the idle power: it was not measured, so no net energy is known")
    said = f"{idle.before_w:.3g} W before to {idle.after_w:.3g} W after the windows"
    if idle.drift is None:
        return Broken(f"the idle power went from {said}: a board that is on draws more than nothing")
    if abs(idle.drift) <= limit:
        return None
    return Broken(f"the idle power changed from {said}, by {abs(idle.drift):.1%}, at most {limit:.0%} is allowed")


def _more_than_idle(evidence: EnergyEvidence, limit: float) -> Answer:
    if evidence.idle is None:
        return None
    idle = (evidence.idle.before_w + evidence.idle.after_w) / 2
    lowest = min(window.mean_w for window in evidence.windows)
    margin = limit * (evidence.net_uncertainty_w or 0.0)
    if lowest > idle + margin:
        return None
    return Broken(
        f"a window drew {lowest:.3g} W, no more than the idle board's {idle:.3g} W and its uncertainty of "
        f"{1e3 * margin:.2g} mW"
    )


def _certain_alignment(evidence: EnergyEvidence, limit: float) -> Answer:
    share, alignment = evidence.alignment_share, evidence.alignment
    if share <= limit:
        return None
    return Broken(
        f"the clocks are aligned to {1e3 * alignment.uncertainty_s:.3g} ms ({alignment.method}), which leaves "
        f"{share:.1%} of the energy uncertain, at most {limit:.0%} is allowed"
    )


def _agreeing_alignments(evidence: EnergyEvidence, limit: float) -> Answer:
    said = evidence.contradictions
    return Broken(f"the alignments contradict each other: {'; '.join(said)}") if len(said) > limit else None


def _trigger_seen(evidence: EnergyEvidence, limit: float) -> Answer:
    if not evidence.trigger_asked:
        return None
    why = [each.reason for each in evidence.refused if each.method == "trigger edges"]
    return Broken(f"the trigger line was asked for and could not be used: {why[0]}") if len(why) > limit else None


RULES = (
    Rule("windows", ENERGY_WINDOWS, _enough_windows),
    Rule("window length", ENERGY_WINDOW_S, _long_windows),
    Rule("inferences", ENERGY_RUNS, _enough_inferences),
    Rule("spread", 0.10, _small_spread),
    Rule("lost samples", 0.001, _few_lost),
    Rule("whole recording", 0, _whole_recording),
    Rule("damaged frames", 0.001, _few_damaged),
    Rule("idle drift", 0.05, _still_idle),
    Rule("more than idle", 1.0, _more_than_idle),
    Rule("alignment", 0.01, _certain_alignment),
    Rule("agreement", 0, _agreeing_alignments),
    Rule("trigger", 0, _trigger_seen),
    Rule("load seen", 0, meter_rules.check_load_shows),
    Rule("calibration", 0, meter_rules.check_calibration),
    Rule("effective rate", 20, meter_rules.check_rate),
    Rule("hanging", 0.2, meter_rules.check_no_hang),
    Rule("samples counted", 1.0, meter_rules.check_all_counted),
    Rule("range", 0.001, meter_rules.check_range),
)


def energy_verdict(found: Energy | NotMeasured | None, windows: Sequence[Window]) -> Validity:
    """Return the verdict; `windows` are those of the latency with the same threads."""
    if found is None:
        return Validity(valid=True, reasons=(), unknown=())
    if isinstance(found, NotMeasured):
        reasons = tuple(f"energy: not measured: {reason}" for reason in found.reasons)
        return Validity(valid=False, reasons=reasons, unknown=())
    reasons = (*found.reasons, *_otherwise(found, windows))
    return Validity(not reasons, tuple(f"energy: {reason}" for reason in reasons), found.unknown)


def _otherwise(found: Energy, windows: Sequence[Window]) -> tuple[str, ...]:
    """Return a reason if inferences took a different time during the energy run than during the latency run."""
    timed = [window.duration_s / window.runs for window in windows if window.runs]
    if not timed:
        return ()
    before_s = median(timed)
    then_s = median([(window.end_s - window.begin_s) / window.runs for window in found.windows])
    change = then_s / before_s - 1 if before_s > 0 else 0.0
    if abs(change) <= _SAME:
        return ()
    return (
        f"an inference took {1e3 * then_s:.3g} ms while energy was measured, {1e3 * before_s:.3g} ms while latency was "
        f"({change:+.0%}), at most {_SAME:.0%} is allowed: heat, or the measuring itself",
    )
