"""This machine as a device: the contract, and what is its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from device_contract import DeviceContract

from devices.contract import NOT_EXECUTABLE, Exit
from devices.errors import DeadlineError, TransferError
from devices.local import LocalDevice


class TestLocalDevice(DeviceContract):
    @pytest.fixture
    def device(self):
        return LocalDevice()


def test_a_file_needs_no_transfer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert LocalDevice().place(Path("model.tflite")) == str(tmp_path / "model.tflite")


def test_a_file_that_may_not_be_run(tmp_path):
    (tmp_path / "plain").write_text("no program")
    assert LocalDevice().run([str(tmp_path / "plain")], deadline_s=5).exit == Exit(NOT_EXECUTABLE)


def test_agent_is_not_shadowed_by_the_current_folder(tmp_path, monkeypatch):
    if sys.version_info < (3, 11):
        pytest.skip("needs PYTHONSAFEPATH: Python 3.11 or newer")
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "__init__.py").write_text("raise SystemExit('the wrong edge')")
    monkeypatch.chdir(tmp_path)
    assert LocalDevice().facts().cpu.cores == os.cpu_count()


def test_a_program_that_ignores_the_polite_end_is_killed():
    with LocalDevice().open(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]) as stream:
        assert stream.read(deadline_s=10) == b"ready\n"
    with pytest.raises(ProcessLookupError):
        os.kill(stream.pid, 0)


def test_end_is_seen_though_a_child_holds_the_pipes():
    with LocalDevice().open(["sh", "-c", "sleep 20 & echo $!"]) as stream:
        assert stream.wait(deadline_s=10) == Exit(0)
        os.kill(int(stream.output()), 15)


def test_copy_has_a_deadline(tmp_path):
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    with pytest.raises(DeadlineError):
        LocalDevice().put(tmp_path / "big", str(tmp_path / "goal"), deadline_s=-1)
    assert [each.name for each in tmp_path.iterdir()] == ["big"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(TransferError, match="could not be copied"):
        LocalDevice().put(tmp_path.parent, str(tmp_path / "goal"), deadline_s=5)
    assert not list(tmp_path.iterdir())
