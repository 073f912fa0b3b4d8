"""Releases on a board: what is sent, checked, switched, kept; here the board is a folder of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.errors import DeviceError
from devices.local import LocalDevice
from devices.releases.board import ReleaseBoard, Timeouts
from devices.releases.errors import BusyError, DamagedError, FullError, GoldenError, UnknownReleaseError
from devices.releases.package import DeployedFile, root_on
from devices.releases.parallel import SomeFailedError, check, on_each
from devices.releases.service_unit import describe_remaining_steps, unit_name, unit_text
from edge.agent.client import AgentClient
from edge.errors import InputError
from edge.runtime import artifact_of, load
from edge.runtime.errors import RuntimeFault
from edge.workflows.deployment import Deployment, DeployRequest, release_status, rollback

EDGE = str(Path(sys.executable).with_name("edge"))
TIMEOUTS = Timeouts(lock_s=0.3)


class Board:
    """A root in a folder of its own, and models to deploy there."""

    def __init__(self, folder: Path, models: list[Path]) -> None:
        self.root, self.models = folder / "root", models

    def deploy(self, model: Path | int, **changes):
        path = self.models[model] if isinstance(model, int) else model
        request = {"root": str(self.root), "golden": "none", "timeouts": TIMEOUTS, **changes}
        return Deployment(DeployRequest(model=path, **request)).to(LocalDevice())

    def rollback(self, to: str | None = None, **changes):
        return rollback(LocalDevice(), to, root=str(self.root), **changes)

    def status(self):
        return release_status(LocalDevice(), root=str(self.root))

    @property
    def serving(self) -> bytes:
        return (self.root / "current" / "model.tflite").read_bytes()

    def serves(self, model: int) -> bool:
        return self.serving == self.models[model].read_bytes()

    def blobs(self) -> set[str]:
        return {each.name for each in (self.root / "blobs").iterdir()}


@pytest.fixture
def board(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = shared_data / "edgetpu_pairs"
    names = ["mobilenet_v1_0.25_128_quant", "keras_lstm_mnist_ptq", "split_concat"]
    return Board(tmp_path, [folder / f"{name}.tflite" for name in names])


def spoil(path: Path, at: int = 1000) -> None:
    """Change a byte of a file as a failing disk does, whoever shares it."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def test_a_model_is_deployed_checked_and_serves(board):
    done = board.deploy(0, golden=None)
    assert (done.previous, done.unchanged, done.deleted) == (None, False, ())
    assert board.serves(0)
    assert done.model == str(board.root / "current" / "model.tflite")
    assert done.golden.passed
    assert (done.golden.runs, done.golden.worst.unit) == (3, "steps")
    assert str((board.root / "current").readlink()) == f"releases/{done.release}"
    manifest = json.loads((board.root / "current" / "manifest.json").read_text())
    assert manifest["files"]["model.tflite"]["bytes"] == board.models[0].stat().st_size
    assert manifest["golden"]["runtime"]["name"] == done.golden.runtime.name
    assert json.loads(json.dumps(done.to_json()))["release"] == done.release


def test_nothing_is_sent_twice(board):
    first = board.deploy(0)
    assert first.sent_bytes == board.models[0].stat().st_size
    again = board.deploy(0)
    assert (again.unchanged, again.sent_bytes, again.release) == (True, 0, first.release)
    board.deploy(1)
    back = board.deploy(0)
    assert (back.unchanged, back.sent_bytes) == (False, 0)
    inodes = {(board.root / "releases" / name / "model.tflite").stat().st_ino for name in (first.release, back.release)}
    assert len(inodes) == 1


def test_what_was_run_on_the_board_before_is_not_sent(board):
    from devices.board_paths import model_path

    model = board.models[0]
    place = Path(model_path(os.environ["HOME"], DeployedFile.of("", model.read_bytes()).sha256))
    place.parent.mkdir(parents=True)
    shutil.copy(model, place)
    assert board.deploy(0).sent_bytes == 0
    assert board.serves(0)


def test_the_description_goes_along(board, tmp_path):
    model = tmp_path / "named.tflite"
    shutil.copy(board.models[0], model)
    values = {
        "schema": "edge-artifact/1",
        "name": "flowers-int8",
        "sha256": DeployedFile.of("", model.read_bytes()).sha256,
    }
    model.with_suffix(".json").write_text(json.dumps({**values, "labels": ["é"]}))
    board.deploy(model)
    assert artifact_of(board.root / "current" / "model.tflite").labels == ("é",)
    assert board.status().serving.label == "flowers-int8"


def test_rollback_goes_to_what_served_before(board):
    first, second = board.deploy(0), board.deploy(1)
    back = board.rollback()
    assert (back.release, back.previous) == (first.release, second.release)
    assert board.serves(0)
    third = board.deploy(2)
    assert third.previous == first.release  # not the second, which was left
    assert board.rollback().release == first.release
    with pytest.raises(UnknownReleaseError, match=f"no release is left from before {first.release}"):
        board.rollback()
    assert board.rollback("2").release == second.release
    assert board.rollback(third.release).release == third.release
    assert board.rollback(third.release).unchanged


def test_a_release_that_is_not_there(board):
    with pytest.raises(UnknownReleaseError, match="no release is current"):
        board.rollback()
    done = board.deploy(0)
    with pytest.raises(UnknownReleaseError, match="no release '7'") as caught:
        board.rollback("7")
    assert done.release in caught.value.hint
    assert caught.value.exit_code == 3


def test_old_releases_go_and_their_contents_with_them(board):
    for number in (0, 1, 2, 0, 1):
        last = board.deploy(number, keep=2)
    assert [each.number for each in board.status().releases] == [4, 5]
    assert len(board.blobs()) == 2
    assert len(last.deleted) == 1
    assert board.deploy(2, keep=1).release
    assert [each.number for each in board.status().releases] == [5, 6]  # the one before stays: to go back to


def test_rolled_back_to_and_its_predecessor_are_kept(board):
    releases = [board.deploy(number, keep=5).release for number in (0, 1, 2)]
    board.rollback(releases[0])
    done = board.deploy(1, keep=1)
    assert [each.id for each in board.status().releases] == [releases[0], done.release]


def test_numbers_order_releases_whatever_the_clock_says(board):
    for number, year in ((0, 2040), (1, 1970), (2, 1999)):
        done = board.deploy(number)
        for path in (board.root / "releases" / done.release).iterdir():
            os.utime(path, (year * 1000, year * 1000))
        os.utime(board.root / "releases" / done.release, (year * 1000, year * 1000))
    assert [each.number for each in board.status().releases] == [1, 2, 3]
    assert board.rollback().release.startswith("0002")
    assert board.deploy(0, keep=2).release.startswith("0004")


def test_a_damaged_release_is_found_and_not_gone_back_to(board):
    first, second = board.deploy(0), board.deploy(1)
    spoil(board.root / "releases" / first.release / "model.tflite")
    status = board.status()
    assert [each.state for each in status.releases] == ["damaged", "good"]
    assert f"{first.release}: model.tflite is not what was deployed" in status.damaged[0]
    with pytest.raises(DamagedError, match=f"release {first.release} is damaged"):
        board.rollback()
    assert board.status().current == second.release
    healed = board.deploy(0)
    assert healed.sent_bytes == board.models[0].stat().st_size  # the damaged content is not taken for what is asked
    assert board.serves(0)
    assert board.status().find(healed.release).state == "good"


def test_what_serves_is_damaged_and_deployed_again(board):
    board.deploy(0)
    spoil(board.root / "current" / "model.tflite")
    done = board.deploy(0)
    assert (done.unchanged, board.serves(0)) == (False, True)


@pytest.mark.parametrize("file", ["manifest.json", "model.tflite"])
def test_a_file_that_is_gone(board, file):
    first, _ = board.deploy(0), board.deploy(1)
    (board.root / "releases" / first.release / file).unlink()
    assert board.status().find(first.release).state == "damaged"
    with pytest.raises(DamagedError):
        board.rollback()
    assert board.serves(1)


def test_current_that_leads_nowhere_is_told(board):
    first = board.deploy(0)
    shutil.rmtree(board.root / "releases" / first.release)
    assert "which does not exist" in board.status().damaged[0]
    board.deploy(0)
    assert board.status().damaged == ()


def wrong_golden(board, tmp_path) -> bytes:
    """Golden vectors of the model with one right value made wrong by three steps."""
    board.deploy(0, golden=None)
    with np.load(board.root / "current" / "golden.npz") as archive:
        arrays = dict(archive)
    value = arrays["output.1.0"]
    value.flat[7] += 3
    path = tmp_path / "wrong.npz"
    np.savez_compressed(path, **arrays)
    shutil.rmtree(board.root)
    return path.read_bytes()


def test_a_model_that_answers_otherwise_does_not_serve(board, tmp_path, monkeypatch):
    golden = wrong_golden(board, tmp_path)
    before = board.deploy(1)
    # The vectors are real but for one value: no second runtime that answers otherwise is at hand.
    monkeypatch.setattr("edge.workflows.golden_vectors.GoldenMaker.for_runtime", lambda self, name: golden)
    with pytest.raises(GoldenError, match=r"3 \(allowed 2 steps\); nothing was switched") as caught:
        board.deploy(0, golden=None)
    assert caught.value.exit_code == 14
    assert board.serves(1)
    assert [each.id for each in board.status().releases] == [before.release]


def test_a_check_that_fails_after_the_switch_switches_back(board, monkeypatch):
    before = board.deploy(1)
    run = ReleaseBoard.golden

    def checked(self, model, golden, *, on_step):  # no disk or memory here fails between the two checks when asked to
        found = run(self, model, golden, on_step=on_step)
        return replace(found, passed=not model.startswith("current"))

    monkeypatch.setattr(ReleaseBoard, "golden", checked)
    with pytest.raises(GoldenError, match=f"switched back to {before.release}"):
        board.deploy(0, golden=None)
    assert board.serves(1)
    assert [each.id for each in board.status().releases] == [before.release]


def test_golden_inputs_of_the_users_own(board, tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((128, 128, 3), np.uint8))
    np.save(tmp_path / "two.npy", np.full((1, 128, 128, 3), 200, np.uint8))
    (tmp_path / "golden").mkdir()
    for name in ("one.npy", "two.npy"):
        shutil.move(tmp_path / name, tmp_path / "golden" / name)
    assert board.deploy(0, golden=str(tmp_path / "golden")).golden.runs == 2
    assert board.deploy(0, golden=str(tmp_path / "golden" / "one.npy")).golden.runs == 1
    with pytest.raises(InputError, match="there is no"):
        board.deploy(0, golden=str(tmp_path / "nowhere"))


def test_two_deployers_do_not_interleave(board):
    board.deploy(0)
    with AgentClient.on(LocalDevice()) as agent:
        ReleaseBoard(agent, "local", str(board.root)).lock("ann@desk", on_step=lambda *_: None)
        assert board.status().holder.startswith("ann@desk (process ")
        with pytest.raises(BusyError, match=r"ann@desk \(process \d+\) is deploying .* waited 0.3 s"):
            board.deploy(1)
        assert board.serves(0)
    assert board.status().holder is None
    assert board.deploy(1).previous
    assert board.serves(1)


def test_the_second_deployer_waits_for_the_first(board):
    board.deploy(0)
    waited = []
    with AgentClient.on(LocalDevice()) as agent:
        ReleaseBoard(agent, "local", str(board.root)).lock("ann@desk", on_step=lambda *_: None)

        def step(what: str, done: int, of: int) -> None:
            if what.startswith("waiting"):
                waited.append(what)
                agent.__exit__(None, None, None)

        request = DeployRequest(model=board.models[1], root=str(board.root), golden="none")
        Deployment(request).to(LocalDevice(), on_step=step)
    assert waited == ["waiting for ann@desk"]
    assert board.serves(1)


def test_a_silent_holder_loses_the_lock(board):
    board.deploy(0)
    with AgentClient.on(LocalDevice()) as agent:
        silent = ReleaseBoard(agent, "local", str(board.root), timeouts=Timeouts(lease_s=0.2))
        silent.lock("ann@desk", on_step=lambda *_: None)
        board.deploy(1, timeouts=Timeouts(lock_s=20))
        assert board.serves(1)
        with pytest.raises(RuntimeFault, match="129"):
            silent.clean(1)


def test_who_changes_something_needs_the_lock(board):
    board.deploy(0)
    with AgentClient.on(LocalDevice()) as agent:
        careless = ReleaseBoard(agent, "local", str(board.root))
        for step in (lambda: careless.switch(None), lambda: careless.clean(1), lambda: careless.unit("a.service", "")):
            with pytest.raises(RuntimeFault, match=r"lock of .* is not held"):
                step()
    assert board.serves(0)


def test_what_another_deployment_left_half_made_goes(board):
    done = board.deploy(0)
    (board.root / "releases" / ".0009-abc.new").mkdir()
    (board.root / ".current.new").symlink_to("nowhere")
    (board.root / "blobs" / f"{'0' * 64}.part").write_bytes(b"x")
    board.deploy(1)
    assert {each.name for each in board.root.iterdir()} == {"blobs", "releases", "current", "lock"}
    assert not any(name.endswith(".part") for name in board.blobs())
    releases = {each.name for each in (board.root / "releases").iterdir()}
    assert releases == {done.release, board.status().current}


def test_a_beginning_that_is_right_is_gone_on_with_and_one_that_is_wrong_is_not(board):
    board.deploy(1)
    data = board.models[0].read_bytes()
    part = board.root / "blobs" / f"{DeployedFile.of('', data).sha256}.part"
    part.write_bytes(data[:300_000])
    assert board.deploy(0).sent_bytes == len(data) - 300_000
    board.deploy(1)
    board.deploy(2, keep=1)  # the first model is forgotten
    part.write_bytes(b"x" + data[1:300_000])
    assert board.deploy(0).sent_bytes == len(data)
    assert board.serves(0)


def test_what_arrives_wrong_is_sent_once_more_and_then_refused(board):
    board.deploy(1)
    wrong, steps = DeployedFile("model.tflite", b"not what the sum says", "0" * 64), []
    with AgentClient.on(LocalDevice()) as agent:
        there = ReleaseBoard(agent, "local", str(board.root))
        there.lock("ann@desk", on_step=lambda *_: None)
        with pytest.raises(DamagedError, match=r"what arrived has the sha256 .*, sent was 0000"):
            there.send([wrong], keep=5, on_step=lambda *step: steps.append(step))
    assert len(steps) == 2
    assert len(board.blobs()) == 1


@pytest.fixture
def small_disk(tmp_path, require_part):
    """A file system of 1 MiB and some."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(options, capture_output=True, check=False).returncode:
        require_part("a small file system", "root rights, to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_before_anything_is_sent(board, small_disk):
    board.root = small_disk / "root"
    board.deploy(1)
    free = os.statvfs(small_disk)
    (small_disk / "big").write_bytes(bytes(free.f_bavail * free.f_frsize - 1_300_000))
    with pytest.raises(FullError, match=r"525598 bytes have to be sent .* are free") as caught:
        board.deploy(0)
    assert "the previous release is still current" in caught.value.hint
    assert board.serves(1)
    (small_disk / "big").unlink()
    board.deploy(0)
    assert board.serves(0)


def test_a_disk_that_fills_up_on_the_way(board, small_disk):
    board.root = small_disk / "root"
    board.deploy(1)

    def fill(what: str, done: int, of: int) -> None:
        free = os.statvfs(small_disk)
        if what == "sending" and not (small_disk / "big").exists():
            (small_disk / "big").write_bytes(bytes(free.f_bavail * free.f_frsize))

    request = DeployRequest(model=board.models[0], root=str(board.root), golden="none")
    with pytest.raises(FullError, match="no space is left"):
        Deployment(request).to(LocalDevice(), on_step=fill)
    assert board.serves(1)
    assert not any(name.endswith(".part") for name in board.blobs())  # the space is given back
    assert board.status().damaged == ()
    (small_disk / "big").unlink()
    board.deploy(0)
    assert board.serves(0)
    with load(board.root / "current" / "model.tflite") as model:
        assert model.run(np.zeros((1, 128, 128, 3), np.uint8))


def test_room_is_made_from_releases_that_would_go_anyway(board, small_disk, shared_data):
    board.root = small_disk / "root"
    board.deploy(0)
    board.deploy(1)
    board.deploy(2)
    free = os.statvfs(small_disk)
    (small_disk / "big").write_bytes(bytes(free.f_bavail * free.f_frsize - 1_200_000))
    model = small_disk.parent / "other.tflite"
    shutil.copy(board.models[0], model)
    spoil(model, 300_000)  # another model of the same size
    with pytest.raises(FullError):
        board.deploy(model)
    board.deploy(model, keep=1)
    assert board.serving == model.read_bytes()


def test_a_root_that_cannot_be_written(board):
    board.root.parent.joinpath("root").write_text("a file")
    with pytest.raises(DeviceError, match=r"File exists|Not a directory"):
        board.deploy(0)


def test_a_unit_is_written_only_when_asked_for(board, tmp_path):
    unit = tmp_path / "home" / ".config" / "systemd" / "user" / "edge-root.service"
    assert board.deploy(0).unit is None
    assert not unit.exists()
    state = board.deploy(0, program="/opt/app/main --camera 0").unit
    assert (state.path, state.name) == (str(unit), "edge-root.service")
    text = unit.read_text()
    for line in ('ExecStart="/opt/app/main" "--camera" "0"', "Restart=on-failure", "WantedBy=default.target",
                 f'Environment="EDGE_MODEL={board.root}/current/model.tflite"'):  # fmt: skip
        assert line in text.splitlines()
    assert not state.running
    assert "systemctl" in state.why
    assert "systemctl --user enable --now edge-root.service" in describe_remaining_steps(state)[0]
    assert board.deploy(1).unit.name == "edge-root.service"  # restarted after every switch from now on
    assert board.rollback().unit.name == "edge-root.service"


def test_systemd_reads_the_unit(tmp_path, require_part):
    if shutil.which("systemd-analyze") is None:
        require_part("systemd-analyze", "apt install systemd")
    path = tmp_path / "edge-model.service"
    path.write_text(unit_text("""/bin/echo 'a "b" 100%' $HOME '\\'""", "/home/pi/deployed"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(path)], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert str(path.name) not in done.stderr, done.stderr


@pytest.mark.parametrize("program", ["", "relative/app", "app", "/bin/app\nExecStart=/bin/sh", "/bin/app 'open"])
def test_a_program_that_cannot_be_run_is_refused_before_anything_is_sent(board, program):
    board.deploy(0)
    with pytest.raises(DeviceError, match="program"):
        board.deploy(1, program=program or " ")
    assert board.serves(0)


def test_one_failure_does_not_stop_the_others():
    def work(name: str) -> str:
        if name == "b":
            raise UnknownReleaseError("no")
        return name

    seen = []
    outcomes = on_each(("a", "b", "c"), work, on_done=lambda each: seen.append(each.device))
    assert [each.value for each in outcomes] == ["a", None, "c"]
    assert sorted(seen) == ["a", "b", "c"]
    with pytest.raises(SomeFailedError, match="1 of 3 devices failed: b") as caught:
        check(outcomes)
    assert caught.value.exit_code == 3
    with pytest.raises(ZeroDivisionError):
        on_each(("a",), lambda name: 1 / 0)


def test_names_of_roots_and_units():
    class Emulated:
        kind, name = "emulated", "emulated-pi4"

    assert root_on(LocalDevice()) == ".local/share/edge-convert/deployed"
    assert root_on(Emulated()) == ".local/share/edge-convert/emulated/emulated-pi4/deployed"
    assert unit_name(f"/home/pi/{root_on(LocalDevice())}") == "edge-model.service"
    assert unit_name("/srv/my detector/") == "edge-my-detector.service"


def edge(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EDGE, *args], capture_output=True, text=True, check=False, timeout=120)


def test_the_commands(board):
    root = ("--release-root", str(board.root))
    first = edge("deploy", str(board.models[0]), "--to", "local", *root, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["golden"]["passed"]
    second = edge("deploy", str(board.models[1]), "--to", "local", *root, "--golden", "none")
    assert "is current: " in second.stdout
    assert edge("rollback", "--on", "local", *root).returncode == 0
    assert board.serves(0)
    spoil(board.root / "current" / "model.tflite")
    status = edge("deploy", "--to", "local", *root, "--status")
    assert status.returncode == 10
    assert "damaged" in status.stdout
    assert "error: changed since it was deployed: local: 0001-" in status.stderr
    assert edge("rollback", "--on", "local", *root, "--to-release", "1").returncode == 10
    assert edge("rollback", "--on", "local", *root, "--to-release", "9").returncode == 3
    assert edge("deploy", "--to", "local").returncode == 2
    assert edge("deploy", str(board.models[0]), "--to", "local,").returncode == 2
    assert edge("deploy", "nowhere.tflite", "--to", "local").returncode == 3
    assert edge("deploy", str(board.models[0]), "--to", "locl").returncode == 3


def test_golden_vectors_that_prove_little_are_told(board, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "same").mkdir(exist_ok=True)
        np.save(tmp_path / "same" / f"{name}.npy", np.zeros((128, 128, 3), np.uint8))
    done = edge("deploy", str(board.models[0]), "--to", "local", "--release-root", str(board.root), "--golden",
                str(tmp_path / "same"))  # fmt: skip
    assert (done.returncode, "which proves little" in done.stderr) == (0, True), done.stderr
    prose = [line for line in (done.stdout + done.stderr).splitlines() if str(board.root) not in line]
    assert max(map(len, prose)) <= 80
    assert not board.deploy(0, golden=None).golden.alike
