"""The jobs an energy run is made of: the clock, the load code, the trigger line, the whole run.

This machine has no GPIO chip, so the line is tested against the kernel's header: its sizes and numbers as a C compiler
has them, a preloaded stand-in that reads our bytes by its structures, and the errors of the real kernel.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from devices.local import LocalDevice
from devices.messages.machine_jobs import ClockRequest, HelloRequest
from devices.messages.model_jobs import ModelSetup
from devices.messages.protocol import PROTOCOL
from edge.agent import gpio
from edge.agent.client import AgentClient
from edge.agent.energy_windows import run_window
from edge.agent.load_code import BARKER_RUNS, DITHER, ProcessorLoad, run_code
from edge.agent.messages import EnergyRequest
from edge.runtime.errors import RuntimeFault

DEADLINE_S = 120
SHORT = {"idle_s": 0.02, "settle_s": 0.01, "chip_s": 0.01, "guard_s": 0.01, "windows": 2, "window_s": 0.05}


# --- clock


def test_the_clock_is_the_monotonic_one_and_lies_between(agent):
    before = time.monotonic()
    found = agent.call(ClockRequest(), deadline_s=DEADLINE_S).monotonic_s
    assert before < found < time.monotonic()


# --- load


@pytest.mark.parametrize("threads", [1, 3])
def test_a_load_is_busy_for_as_long_as_asked_on_all_threads(threads):
    with ProcessorLoad(threads) as load:
        cpu_s, wall_s = time.process_time(), time.monotonic()
        begin, end, blur = load.busy(0.2)
        assert end - wall_s >= 0.2 - blur  # the time runs from the call, not from when the threads begin
        assert wall_s <= begin < end <= time.monotonic()
        # How much of a processor others leave to it is unknown.
        assert time.process_time() - cpu_s > 0.002


def test_a_load_ends_its_threads():
    before = threading.active_count()
    with ProcessorLoad(4) as load:
        assert threading.active_count() == before + 3
        load.busy(0.01)
    assert threading.active_count() == before


def test_a_code_is_as_drawn_and_sets_its_line():
    levels = []
    with ProcessorLoad(1) as load:
        found = run_code(load, 0.01, levels.append, 1)
    assert levels == [1, 0] * 4
    busy = found.busy_s
    assert len(busy) == sum(level for level, _ in BARKER_RUNS)
    assert found.begin_s + 0.01 <= busy[0][0]
    assert busy[-1][1] + 0.01 <= found.end_s
    for (begin, end), (_, chips) in zip(busy, [each for each in BARKER_RUNS if each[0]], strict=True):
        assert end - begin >= chips * 0.01 * (1 - DITHER) - 1e-4
    assert found.blur_s == 0


def test_codes_differ_in_their_lengths_but_not_in_their_pattern():
    with ProcessorLoad(1) as load:
        one, other = (run_code(load, 0.005, lambda level: None, seed) for seed in (1, 2))
    lengths = [np.diff(np.array(each.busy_s), axis=1).ravel() for each in (one, other)]
    assert len(lengths[0]) == len(lengths[1]) == 4
    assert np.abs(lengths[0] - lengths[1]).max() > 1e-4


# --- windows


def test_a_window_counts_its_inferences():
    calls = []
    begin, end, runs = run_window(lambda: calls.append(time.monotonic()), 0.02, 5)
    assert runs == len(calls) >= 5
    assert begin <= calls[0] <= calls[-1] <= end
    assert end - begin >= 0.02
    assert run_window(lambda: None, 0.0, 7)[2] == 7


def test_a_run_has_all_its_parts_in_order(agent, small_model):
    events = []
    result = agent.call(
        EnergyRequest(ModelSetup(small_model, threads=2), min_runs=3, **SHORT),
        deadline_s=DEADLINE_S,
        on_progress=lambda event: events.append(event.stage),
    )
    parts = [result.codes[0], *result.windows, result.codes[1]]
    spans = [result.idle_s[0], *[(each.begin_s, each.end_s) for each in parts], result.idle_s[1]]
    moments = [moment for span in spans for moment in span]
    assert moments == sorted(moments)
    assert len(result.codes) == len(result.windows) == 2
    assert all(each.runs >= 3 and each.end_s - each.begin_s >= 0.05 for each in result.windows)
    assert result.marks == ()
    assert len(result.conditions) == 3
    assert events == ["idle", "energy window", "energy window", "idle"]
    assert result.runtime.name


def test_wrong_fields_are_named(agent, small_model):
    with pytest.raises(RuntimeFault, match=r"chip_s: got 0\.0, expected at least 0\.001"):
        agent.call(EnergyRequest(ModelSetup(small_model), **{**SHORT, "chip_s": 0}), deadline_s=DEADLINE_S)
    with pytest.raises(RuntimeFault, match="CHIP:LINE, such as gpiochip0:17"):
        agent.call(EnergyRequest(ModelSetup(small_model), trigger="17", **SHORT), deadline_s=DEADLINE_S)


# --- trigger line


def test_sizes_and_numbers_are_those_of_the_kernels_header(tmp_path, require_part):
    compiler = shutil.which("gcc")
    if compiler is None or not Path("/usr/include/linux/gpio.h").exists():
        require_part("gcc and linux/gpio.h", "apt-get install gcc linux-libc-dev")
    source = tmp_path / "sizes.c"
    source.write_text(
        """#include <linux/gpio.h>
        #include <stddef.h>
        #include <stdio.h>
        #include <sys/ioctl.h>
        int main(void) {
            printf("%zu %zu %lu %lu %lu ", sizeof(struct gpio_v2_line_request), sizeof(struct gpio_v2_line_values),
                   (unsigned long)GPIO_V2_GET_LINE_IOCTL, (unsigned long)GPIO_V2_LINE_SET_VALUES_IOCTL,
                   (unsigned long)GPIO_V2_LINE_FLAG_OUTPUT);
            printf("%zu %zu %zu %zu\\n", offsetof(struct gpio_v2_line_request, consumer),
                   offsetof(struct gpio_v2_line_request, config), offsetof(struct gpio_v2_line_request, num_lines),
                   offsetof(struct gpio_v2_line_request, fd));
        }"""
    )
    subprocess.run([compiler, "-o", tmp_path / "sizes", source], check=True)
    said = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout
    sizes = [gpio.LINE_REQUEST.size, gpio.LINE_VALUES.size, gpio.GET_LINE, gpio.SET_VALUES, gpio.FLAG_OUTPUT]
    assert [int(word) for word in said.split()] == [*sizes, 256, 288, 560, 588]


@pytest.fixture(scope="module")
def chip(tmp_path_factory, require_part):
    """The stand-in for a GPIO chip, compiled."""
    compiler = shutil.which("gcc")
    if compiler is None or not Path("/usr/include/linux/gpio.h").exists():
        require_part("gcc and linux/gpio.h", "apt-get install gcc linux-libc-dev")
    library = tmp_path_factory.mktemp("gpio") / "chip.so"
    source = Path(__file__).with_name("gpio_chip.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    return library


def run_with_chip(chip, log, text):
    """Run Python with the stand-in; return what it printed and the calls that reached the chip."""
    done = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, "LD_PRELOAD": str(chip), "GPIO_LOG": str(log)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, log.read_text().splitlines() if log.exists() else []


def test_a_line_is_requested_as_output_and_set_by_the_kernels_structures(chip, tmp_path):
    text = """
from edge.agent.gpio import line_of
with line_of("gpiochip0:17") as line:
    moments = [line.set(1), line.set(0)]
assert moments[0][0] < moments[1][0] and 0 <= moments[0][1] < 0.1
"""
    _, told = run_with_chip(chip, tmp_path / "log", text)
    assert told == [
        "open 1",
        "line 17 edge trigger output 1 attributes 0 buffer 0",
        "set 1 of 1",
        "set 0 of 1",
    ]


@pytest.mark.parametrize(("line", "words"), [(4, "line 4 of gpiochip0 is in use"), (99, "has no line 99")])
def test_what_the_chip_refuses_is_an_error(chip, tmp_path, line, words):
    text = f"""
from edge.agent.gpio import TriggerLine
from edge.runtime.errors import RuntimeFault
try:
    TriggerLine("gpiochip0", {line}).__enter__()
except RuntimeFault as fault:
    print(fault)
"""
    said, _ = run_with_chip(chip, tmp_path / "log", text)
    assert words in said


def test_a_whole_run_toggles_the_line_at_codes_and_windows(chip, tmp_path, small_model):
    text = f"""
from devices.messages.model_jobs import ModelSetup
from edge.agent.energy_windows import run_energy
from edge.agent.messages import EnergyRequest
request = EnergyRequest(ModelSetup({small_model!r}), trigger="gpiochip0:17", min_runs=1, **{SHORT!r})
result = run_energy(request, lambda stage, **_: None)
marks = result.marks
assert [level for _, level, _ in marks] == [1, 0] * 10, marks
assert marks[8][0] <= result.windows[0].begin_s and result.windows[0].end_s <= marks[9][0]
print("fine")
"""
    said, told = run_with_chip(chip, tmp_path / "log", text)
    assert "fine" in said
    assert [each for each in told if each.startswith("set")] == ["set 1 of 1", "set 0 of 1"] * 10


def test_errors_of_the_real_kernel_are_explained(agent, small_model):
    if Path("/dev/gpiochip0").exists():
        pytest.skip("this machine has a GPIO chip")
    with pytest.raises(RuntimeFault, match="there is no /dev/gpiochip0") as missing:
        agent.call(EnergyRequest(ModelSetup(small_model), trigger="gpiochip0:17", **SHORT), deadline_s=DEADLINE_S)
    assert missing.value.hint == "this device has no /dev/gpiochip at all"
    with pytest.raises(RuntimeFault, match="/dev/null is no GPIO chip"):
        gpio.TriggerLine("null", 1).__enter__()


def test_missing_rights_are_explained():
    fault = gpio.TriggerLine("gpiochip0", 17)._fault(PermissionError(errno.EACCES, "Permission denied"))
    assert "may not open /dev/gpiochip0" in str(fault)
    assert "group gpio" in str(fault.hint)


def test_an_agent_stays_usable_after_a_run(small_model):
    with AgentClient.on(LocalDevice()) as agent:
        for _ in range(2):
            agent.call(EnergyRequest(ModelSetup(small_model), min_runs=1, **SHORT), deadline_s=DEADLINE_S)
        assert agent.call(HelloRequest(), deadline_s=DEADLINE_S).protocol == PROTOCOL
