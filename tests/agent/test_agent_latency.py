"""The jobs that measure: windows, conditions, memory."""

from __future__ import annotations

import gc
import os
from array import array

import pytest

from devices.local import LocalDevice
from devices.messages.machine_jobs import ConditionsRequest, Throttled
from devices.messages.model_jobs import ModelSetup
from edge.agent.client import AgentClient
from edge.agent.condition_sampler import Counters, difference, make_sampler
from edge.agent.messages import LatencyRequest
from edge.agent.sysfs import decode_throttled, soc_temperature_c
from edge.agent.timing import time_window, warm_up
from edge.runtime.errors import RuntimeFault

DEADLINE_S = 120


def test_windows_hold_what_was_asked_for(agent, small_model):
    events = []
    result = agent.call(
        LatencyRequest(ModelSetup(small_model), warmup_s=0.02, warmup_runs=7, windows=3, window_s=0.05, min_runs=11),
        deadline_s=DEADLINE_S,
        on_progress=lambda event: events.append((event.stage, event.done)),
    )
    assert events == [("warm-up", 0), ("window", 1), ("window", 2), ("window", 3)]
    assert len(result.conditions) == 1 + len(result.window_samples_ns) == 4
    for window, conditions in zip(result.window_samples_ns, result.conditions[1:], strict=True):
        assert len(window) >= 11
        assert min(window) > 10_000
        assert 0.05 <= sum(window) / 1e9 <= conditions.since.wall_s
    assert result.warmup_runs >= 1 + 7
    assert result.first_ns > 0
    assert result.load_ns > 0
    assert 0 < result.base_rss_bytes < result.loaded_rss_bytes <= result.peak_rss_bytes


def quick(model, *, min_runs=1, cpus=None) -> LatencyRequest:
    """Return a request for one short window."""
    setup = ModelSetup(model, cpus=cpus)
    return LatencyRequest(setup, warmup_s=0, windows=1, window_s=0, min_runs=min_runs)


def test_few_slow_runs_still_fill_a_window(agent, small_model):
    result = agent.call(quick(small_model, min_runs=23), deadline_s=DEADLINE_S)
    assert len(result.window_samples_ns[0]) == 23


def test_base_memory_is_unknown_once_a_runtime_was_loaded(agent, small_model):
    assert agent.call(quick(small_model), deadline_s=DEADLINE_S).base_rss_bytes is not None
    assert agent.call(quick(small_model), deadline_s=DEADLINE_S).base_rss_bytes is None


def test_processors_are_chosen_and_given_back(agent, small_model):
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    agent.call(quick(small_model, cpus=allowed[-1:]), deadline_s=DEADLINE_S)
    agent.call(quick(small_model, cpus=allowed), deadline_s=DEADLINE_S)
    with pytest.raises(RuntimeFault, match=r"asked for processors \[4096\]"):
        agent.call(quick(small_model, cpus=(4096,)), deadline_s=DEADLINE_S)


def test_timed_window_counts_every_run_once_without_garbage_collection():
    calls = []
    times = time_window(lambda: calls.append(gc.isenabled()), array("q", bytes(800)), min_runs=30, window_ns=0)
    assert len(times) == len(calls) == 30
    assert not any(calls)
    assert gc.isenabled()
    assert min(times) >= 0


def test_timed_window_lasts_and_is_bounded():
    times = time_window(lambda: None, array("q", bytes(8 * 1_000_000)), min_runs=1, window_ns=2_000_000)
    assert 2_000_000 <= sum(times) < 2_000_000_000
    assert len(time_window(lambda: None, array("q", bytes(80)), min_runs=1, window_ns=1 << 60)) == 10


def test_timed_window_turns_collection_on_again_after_an_error():
    with pytest.raises(ZeroDivisionError):
        time_window(lambda: 1 / 0, array("q", [0]), min_runs=1, window_ns=0)
    assert gc.isenabled()


def test_warm_up_needs_both_time_and_count():
    assert len(warm_up(lambda: None, 0, 5)) == 5
    assert sum(warm_up(lambda: None, 2_000_000, 1)) >= 2_000_000
    assert warm_up(lambda: None, 0, 0) == []


def test_conditions_count_from_the_sample_before():
    sample = make_sampler()
    first, second = sample(), sample()
    assert first.since is None
    assert second.since.wall_s >= 0
    assert 0 <= second.since.other_cpu_share <= 1
    assert 0 <= second.since.steal_share <= 1


def test_other_processes_are_what_is_neither_idle_nor_own():
    cores = os.cpu_count()
    begin = Counters(100.0, 50.0, 1.0, 10.0, 3, 40, 0)
    end = Counters(102.0, 50.0 + 2.5 * cores, 1.0 + 0.5 * cores, 10.0 + 1.5 * cores, 5, 47, 1)
    found = difference(begin, end)
    assert found.other_cpu_share == pytest.approx(0.5)
    assert found.steal_share == pytest.approx(0.25)
    assert (found.involuntary_switches, found.minor_faults, found.major_faults) == (2, 7, 1)


def test_unknown_counters_stay_unknown():
    found = difference(Counters(1.0, None, None, 0.0, 0, 0, 0), Counters(2.0, None, None, 0.0, 0, 0, 0))
    assert found.other_cpu_share is None
    assert found.steal_share is None


def test_throttle_word_is_decoded():
    assert decode_throttled(None) is None
    assert decode_throttled(0) == Throttled("0x0", (), ())
    both = ("under-voltage", "throttled")
    assert decode_throttled(0xD0005) == Throttled("0xd0005", now=both, since_boot=(*both, "soft temperature limit"))


@pytest.mark.parametrize(
    ("answer", "word"), [("throttled=0x50000", "0x50000"), ("throttled=x", None), ("error=1", None), ("", None)]
)
def test_firmware_is_asked_for_the_throttle_word(tmp_path, answer, word):
    # Stands in for a Raspberry Pi's firmware tool, which exists on no other machine.
    tool = tmp_path / "vcgencmd"
    tool.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && echo "{answer}"\n')
    tool.chmod(0o755)
    device = LocalDevice()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with AgentClient.start(lambda: device.open(device.agent_argv(), env=environment)) as agent:
        found = agent.call(ConditionsRequest(), deadline_s=DEADLINE_S).throttled
    assert (found and found.word) == word


def test_processor_temperature_is_found_among_the_zones():
    assert soc_temperature_c(None) is None
    assert soc_temperature_c({"nvme": 30.0}) == 30.0
    assert soc_temperature_c({"nvme": 30.0, "cpu-thermal": 50.0}) == 50.0
    assert soc_temperature_c({"nvme": 30.0, "wifi": 50.0}) is None
