"""The parts of a measurement that take minutes on a board: cooling before it, sustained load after it."""

from __future__ import annotations

from collections.abc import Callable

from devices.contract import Device
from devices.messages.machine_jobs import ConditionsRequest
from edge.agent.client import AgentClient
from edge.agent.messages import SustainRequest
from edge.measure.conditions import ConditionsSample
from edge.measure.cooling import Cooling, cool_down
from edge.measure.endurance import CoolDown, Sustained, sustained_of
from edge.measure.plan import Plan
from edge.runtime.errors import RuntimeFault

OnStep = Callable[[str], None]
_SHORT_DEADLINE_S = 30.0
# Model loading, and the last stretch of a slow model, which lasts for three inferences at least.
_SLACK_S = 900.0


def cooled(agent: AgentClient, plan: Plan, kind: str, on_wait: OnStep) -> CoolDown | None:
    """Wait until the board is cool, as long as the plan allows; None where it is not waited for."""
    longest_s = plan.longest_wait_s(kind)
    if longest_s <= 0:
        return None
    terms = Cooling(limit_c=plan.cool_below_c, longest_s=longest_s, interval_s=min(2.0, longest_s / 10))
    return cool_down(
        lambda: ConditionsSample.of(agent.call(ConditionsRequest(), deadline_s=_SHORT_DEADLINE_S)).temperature_c,
        terms,
        on_wait=lambda degrees: on_wait(f"cooling, {degrees:.0f} C"),
    )


def sustained(device: Device, plan: Plan, model: str, on_step: OnStep) -> tuple[Sustained | None, str | None]:
    """Load the board for the plan's time; what ends it early is a note, since all else is measured by then.

    Runs in an agent of its own: a board that goes down under load takes nothing with it.
    """
    if plan.sustain_s <= 0:
        return None, None
    try:
        with AgentClient.on(device) as agent:
            result = agent.call(
                SustainRequest(plan.setup(model), seconds=plan.sustain_s, window_s=plan.sustain_window_s()),
                deadline_s=_SLACK_S + 1.5 * plan.sustain_s,
                on_progress=lambda event: on_step(f"sustained load, {event.done / 60:.1f} min"),
            )
    except RuntimeFault as error:
        return None, f"sustained load ended early and is not shown: {error}"
    return sustained_of(result, plan.threads), None
