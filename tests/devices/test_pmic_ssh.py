"""The rails of a Raspberry Pi 5 over SSH: OpenSSH's server, and a program in the place of `vcgencmd`."""

from __future__ import annotations

import pytest
from test_ssh_device import device_on

from devices.meters.pmic import PmicMeter
from devices.meters.rates import rates
from devices.meters.recorder import Recorder
from firmware_tools.errors import LineError

RAILS = """\
VDD_CORE_A current(7)=2.00000000A
VDD_CORE_V volt(15)=0.75000000V
EXT5V_V volt(24)=5.12000000V
"""


@pytest.fixture
def board(openssh, tmp_path):
    """A board that has `vcgencmd`."""
    program = tmp_path / "vcgencmd"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{RAILS}END\n")
    program.chmod(0o755)
    openssh.write_settings({'SetEnv "HOME=': f'SetEnv "PATH={tmp_path}:/usr/bin:/bin" "HOME='})
    with device_on(openssh, "pi5") as device:
        yield device
    openssh.write_settings()


def test_rails_arrive_until_the_connection_breaks(board, openssh):
    with PmicMeter("pmic:pi5", "pi5", {"interval_ms": 20}, device=board) as meter:
        with Recorder(meter) as recorder:
            recorder.wait_for_samples(20)
            while len(recorder.recording().trace) < 3:
                assert recorder.error is None
            openssh.end_connections()
            recorder._thread.join(30)
        recording = recorder.recording()
    assert recording.trace.power_w == pytest.approx(1.5)
    assert recording.trace.supply_v == pytest.approx(5.12)
    assert rates(recording.trace, recording.info).delivered_hz > 1
    assert isinstance(recorder.error, LineError), recorder.error
    assert recording.incomplete
