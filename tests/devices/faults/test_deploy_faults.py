"""Deployments that fail in the middle: what served before serves on, and the next deployment succeeds."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from deploy_bench import IMPATIENT
from faulty_proxy import Fault

from devices.local import LocalDevice
from devices.releases.errors import DamagedError
from edge.workflows.deployment import Deployment, release_status, rollback

CUTS = 56
TAIL_BYTES = 1500  # of what goes up: checks, switch, tidying
HEAD_BYTES = 6000  # of what goes up: handshake, log-in, agent, lock


def cut_points(up: int, down: int) -> list[Fault]:
    """Points over all of a deployment, more of them where steps are small; the three kinds by turns."""
    head = [Fault("", "up", HEAD_BYTES * i // 16) for i in range(16)]
    middle = [Fault("", "up", HEAD_BYTES + (up - HEAD_BYTES - TAIL_BYTES) * i // 12) for i in range(12)]
    tail = [Fault("", "up", up - TAIL_BYTES + TAIL_BYTES * i // 14) for i in range(14)]
    answers = [Fault("", "down", down * i // 14) for i in range(14)]
    kinds = ("drop", "truncate", "corrupt")
    points = [*head, *middle, *tail, *answers]
    return [Fault(kinds[i % 3], each.direction, each.at) for i, each in enumerate(points)]


def failure(work) -> Exception | None:
    """Do the work and return how it failed."""
    try:
        work()
    except Exception as error:  # noqa: BLE001  (any is looked at: none may be without a code and a hint)
        return error
    return None


@pytest.mark.slow
def test_a_connection_cut_anywhere_leaves_what_served(bench, tell):
    before = bench.model()
    bench.deploy(before)  # brings the agent and what a first time needs
    bench.proxy.arm(None)
    before = bench.model()
    bench.deploy(before, golden="none")
    errors, resumed, switched = Counter(), 0, 0
    points = cut_points(bench.proxy.passed["up"], bench.proxy.passed["down"])
    assert len(points) >= 50
    for fault in points:
        model = bench.model()
        bench.proxy.arm(fault)
        error = failure(lambda model=model: bench.deploy(model, golden="none"))
        assert error is None or (isinstance(error.exit_code, int) and error.hint), repr(error)
        errors["none, it was over" if error is None else type(error).__name__] += 1
        assert bench.proxy.happened or fault.kind == "corrupt", fault
        bench.nothing_half_made()
        done = bench.current.read_bytes() == model.read_bytes()
        bench.serves(model if done else before)
        after = bench.deploy_from_here(model, golden="none")
        assert after.unchanged == done
        resumed += 0 < after.sent_bytes < model.stat().st_size
        switched += done
        bench.serves(model)
        before = model
    tell(
        f"{len(points)} deployments cut: {dict(errors)}; {switched} had switched when the cut came, "
        f"{len(points) - switched} had not; {resumed} went on where they had ended; {len(points)} then succeeded"
    )
    assert switched < len(points) // 3
    assert resumed >= 8


@pytest.mark.slow
def test_a_connection_that_stalls_ends_by_its_deadlines(bench, tell):
    before = bench.model()
    bench.deploy(before)
    bench.proxy.arm(None)
    model = bench.model()
    bench.deploy(model)
    up = bench.proxy.passed["up"]
    points = [200_000, up - 900]  # few: an end nobody answers to takes its time
    errors = Counter()
    for at in points:
        model = bench.model()
        bench.proxy.arm(Fault("stall", "up", at))
        with pytest.raises(Exception, match="within") as caught:
            bench.deploy(model, timeouts=IMPATIENT)
        errors[type(caught.value).__name__] += 1
        assert caught.value.hint
        bench.nothing_half_made()
        # The dead deployment still holds the lock, until its lease is over.
        bench.deploy_from_here(model)
        bench.serves(model)
    tell(f"{len(points)} deployments stalled: {dict(errors)}; {len(points)} then succeeded")


@pytest.mark.parametrize("stage", ["sending", "checking", "switching"])
def test_an_agent_that_is_killed(bench, stage):
    before, model = bench.model(), bench.model()
    bench.deploy(before)
    killed = []

    def kill(what: str, done: int, of: int) -> None:
        if what == stage and not killed:  # more of what it has told may still be on its way
            killed.append(json.loads((bench.root / "lock").read_text())["pid"])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(Exception, match=r"SIGKILL|broke") as caught:
        Deployment(bench.request(model)).to(bench.device(), on_step=kill)
    assert caught.value.exit_code in (9, 10)
    bench.serves(before)
    bench.nothing_half_made()
    assert release_status(bench.device(), root=str(bench.root)).damaged == ()
    bench.deploy(model)
    bench.serves(model)


def test_many_deployers_at_once(bench, tell):
    before = bench.model()
    bench.deploy(before)
    models = [bench.model() for _ in range(6)]
    deployments = [Deployment(bench.request(model, golden="none", keep=20)) for model in models]
    waited = Counter()

    def step(number: int):
        def told(what: str, done: int, of: int) -> None:
            waited[number] += what.startswith("waiting")

        return told

    with ThreadPoolExecutor() as pool:
        # Half of them over SSH, half from here.
        targets = [bench.device() if number % 2 else LocalDevice() for number in range(len(models))]
        done = list(pool.map(lambda i: deployments[i].to(targets[i], on_step=step(i)), range(len(models))))
    assert len({each.release for each in done}) == len(models)
    chain = {each.release: each.previous for each in done}
    status = release_status(bench.device(), root=str(bench.root))
    assert (status.damaged, status.holder) == ((), None)
    order, name = [], status.current
    while name in chain:
        order.append(name)
        name = chain[name]
    assert len(order) == len(models)  # each was made on top of the one before: none interleaved
    bench.serves(models[[each.release for each in done].index(status.current)])
    tell(f"{len(models)} deployers at once: {sum(map(bool, waited.values()))} waited, {len(order)} one after the other")


def test_a_release_damaged_on_disk_at_any_byte(bench, tell):
    first, second = bench.model(), bench.model()
    before = bench.deploy(first)
    now = bench.deploy(second)
    path = bench.root / "releases" / before.release / "model.tflite"
    whole, found = path.read_bytes(), 0
    places = [len(whole) * i // 6 for i in range(6)]
    path.chmod(0o644)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedError):
            rollback(LocalDevice(), before.release, root=str(bench.root))
        damaged = release_status(LocalDevice(), root=str(bench.root)).damaged
        found += len(damaged) == 1 and damaged[0].startswith(before.release)
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedError):
        rollback(LocalDevice(), before.release, root=str(bench.root))
    bench.serves(second)
    assert found == len(places)
    path.write_bytes(whole)
    assert rollback(LocalDevice(), before.release, root=str(bench.root)).previous == now.release
    bench.serves(first)
    tell(f"{len(places)} bytes of a release damaged on disk, {found} found; 0 went back to")
