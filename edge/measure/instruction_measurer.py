"""Counts instructions on a device that shows executed instructions and kernels, but neither time nor energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from devices.contract import InstructionCounter
from devices.errors import DeviceError
from devices.facts import Facts
from devices.messages.model_jobs import ModelSetup
from edge.agent.client import AgentClient
from edge.agent.messages import KernelsRequest
from edge.errors import InputError
from edge.measure.assembly import Observation
from edge.measure.instructions import InstructionCount, count_instructions
from edge.measure.kernel_names import PROFILED_RUNTIME, KernelView
from edge.measure.measured_model import MeasuredModel
from edge.measure.measurement import Conditions, RuntimeRef, Validity
from edge.measure.plan import Plan
from edge.runtime.errors import RuntimeFault, RuntimeMissingError

_SHORT_DEADLINE_S, _LONG_DEADLINE_S = 60.0, 900.0
_BUDGET_S, _QUICK_BUDGET_S = 3.0, 0.0
NOTES = (
    "instructions are counted exactly, but they are not time: no caches, no memory bandwidth, no issue width",
    "latency_ms is null: emulated milliseconds mean nothing; measure on the board",
    "energy is null: an emulator does not draw the board's power",
    "memory of the process is null: it would be the emulator's",
    "inputs: random values (seed 0), [-1, 1) for floating point, the whole range of 8 bits, else zeros",
)


@dataclass(frozen=True)
class InstructionMeasurer:
    """Counts the instructions of models on a device, in total and by kernel, and names the kernels that ran.

    Where the device cannot count, the measurement names the kernels and is invalid, with the reason. One thread
    runs. Of the plan, `threads`, `runtime`, `kernels` and `quick` (the fewest windows) count.
    """

    device: InstructionCounter
    plan: Plan
    on_step: Callable[[str], None]
    on_wait: Callable[[str], None]

    def __enter__(self) -> InstructionMeasurer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no resource stays open between models."""

    def observe(self, model: MeasuredModel) -> Observation:
        """Count one model.

        Raises:
            InputError: The plan requires a real board.
            RuntimeFault: The runtime is missing, refuses the model or died.
            DeviceError: The device cannot run; or it cannot count, and kernels are not asked for.
        """
        _refuse_what_takes_time(self.device.name, self.plan)
        facts = self.device.facts(deadline_s=_SHORT_DEADLINE_S)
        self.on_step("facts")
        no_counts = self.device.why_no_counts()
        if no_counts is not None and not self.plan.kernels:
            raise no_counts
        path = self.device.place(model.path)
        count = self._count(path) if no_counts is None else None
        runtime = count.runtime if count else _first_runtime(facts)
        kernels = self._kernels(path, runtime)
        self.on_step("kernels")
        state = {"emulator": facts.board, "cpu": facts.cpu.model}
        return Observation(
            facts=facts,
            runtime=runtime,
            kernels=kernels,
            conditions=Conditions(state, state, ()),
            validity=count.verdict() if count else _not_counted(no_counts),
            notes=NOTES,
            instructions=count.instructions() if count else None,
        )

    def _count(self, path: str) -> InstructionCount:
        budget_s = _QUICK_BUDGET_S if self.plan.quick else _BUDGET_S
        count = count_instructions(self.device, path, runtime=self.plan.runtime, budget_s=budget_s)
        self.on_step("instructions")
        return count

    def _kernels(self, path: str, runtime: RuntimeRef) -> KernelView:
        """Return the kernels that ran, without their times, which are the emulator's."""
        if not self.plan.kernels:
            return KernelView(reason="not asked for")
        if runtime.name != PROFILED_RUNTIME:
            return KernelView.without_profiler(runtime)
        try:
            with AgentClient.on(self.device) as agent:
                result = agent.call(KernelsRequest(ModelSetup(path), runs=1), deadline_s=_LONG_DEADLINE_S)
        except RuntimeFault as error:
            return KernelView(reason=f"kernel profile not available: {error}")
        return KernelView.from_result(result).without_times()


def _refuse_what_takes_time(name: str, plan: Plan) -> None:
    one_thread = "an emulated board counts the instructions of one thread only"
    refusals = (
        (plan.sustain_s > 0, f"{name} is emulated: it has no heat and no clock to record under sustained load",
         "leave out --sustain, or measure on a real board"),
        (plan.energy is not None, f"{name} is emulated: it does not draw the board's power",
         "leave out --energy, or measure on a real board"),
        (plan.threads != 1, f"{plan.threads} threads asked for: {one_thread}",
         "leave out --threads, or measure on a real board"),
        (plan.cpus is not None, f"chosen processors asked for: {one_thread}",
         "leave out --cpus, or measure on a real board"),
        (bool(plan.delegates), f"a delegate asked for: {one_thread}",
         "leave out --delegate, or measure on a real board"),
    )  # fmt: skip
    for wanted, message, hint in refusals:
        if wanted:
            raise InputError(message, hint=hint)


def _first_runtime(facts: Facts) -> RuntimeRef:
    first = next(iter(facts.runtimes), None)
    if first is None:
        raise RuntimeMissingError(f"{facts.name} has no TFLite runtime", hint=f"edge devices setup {facts.name}")
    return RuntimeRef(first.name, first.version or "unknown")


def _not_counted(error: DeviceError | None) -> Validity:
    assert error is not None
    return Validity(valid=False, reasons=(f"{error}: {error.hint}",), unknown=())
