"""An emulated board as a device: the contract, and that its Python runs on the board's processor."""

from __future__ import annotations

import json
import shutil

import pytest
from device_contract import AWKWARD, DEADLINE_S, DeviceContract

from converters.targets.boards import EMULATED_BOARDS
from devices.contract import Exit
from devices.emulated.build_cache import DEBIAN_PACKAGES
from devices.emulated.device import create_emulated_device
from devices.emulated.qemu import find_qemu
from devices.emulated.rootfs import root_path
from devices.emulated.runtime_choice import read_choice, set_runtime
from devices.errors import DeadlineError, PreparationError, UnknownDeviceError
from devices.registry import find_device
from devices.solver.errors import NoRuntimeFits, WheelError
from edge.agent.client import AgentClient
from edge.report.terminal.device_lines import fact_lines
from edge.runtime.errors import CrashedError

# Bits of AT_HWCAP on aarch64 (Linux, arch/arm64/include/uapi/asm/hwcap.h), by the names of /proc/cpuinfo.
HWCAP = {"asimd": 1, "fphp": 9, "asimdhp": 10, "asimddp": 20}


@pytest.fixture(scope="module")
def parts(require_part):
    """All that emulated boards are made of, downloaded where it was not yet."""
    for program in ("qemu-aarch64", "mmdebstrap"):
        if shutil.which(program) is None:
            require_part(program, f"apt install {DEBIAN_PACKAGES[program]}")
    try:
        create_emulated_device("emulated-pi4").prepare()
    except (PreparationError, WheelError) as error:
        require_part("packages and wheels for aarch64", str(error))


@pytest.fixture(autouse=True)
def own_choices(parts, monkeypatch, tmp_path):
    """The choices of runtimes are the test's own."""
    monkeypatch.setenv("EDGE_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def pi4():
    return create_emulated_device("emulated-pi4")


class TestEmulatedDevice(DeviceContract):
    @pytest.fixture
    def device(self, pi4):
        return pi4


def test_all_boards_are_found_by_name():
    for name in EMULATED_BOARDS:
        device = find_device(name)
        assert (device.name, device.kind) == (name, "emulated")


@pytest.mark.parametrize("name", EMULATED_BOARDS)
def test_python_runs_on_the_boards_processor(name):
    code = "import ctypes, platform; print(platform.machine(), ctypes.CDLL(None).getauxval(16))"
    done = create_emulated_device(name).run(["python3", "-c", code], deadline_s=DEADLINE_S).require_success()
    machine, word = done.stdout.decode().split()
    assert machine == "aarch64"
    has = {feature for feature, bit in HWCAP.items() if int(word) >> bit & 1}
    assert has == set(EMULATED_BOARDS[name].features)


def test_facts_say_that_the_board_is_emulated_and_state_no_clock_or_heat(pi4):
    facts = pi4.facts(deadline_s=DEADLINE_S)
    assert facts.board.startswith("Raspberry Pi 4 Model B (emulated by QEMU ")
    assert (facts.cpu.architecture, facts.cpu.model, facts.cpu.features) == ("aarch64", "cortex-a72", ("asimd",))
    assert (facts.os.id, facts.os.version, facts.libc) == ("debian", "12", "glibc 2.36")
    assert (facts.clock.governor, facts.clock.now_khz, facts.temperature_c, facts.throttled) == (None,) * 4
    assert [(each.name, each.version) for each in facts.runtimes] == [("ai-edge-litert", "2.1.6")]
    assert max(map(len, fact_lines(facts))) <= 80


def test_arguments_environment_and_input_reach_the_boards_python(pi4):
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['A'], sys.stdin.read()]))"
    done = pi4.run(["python", "-c", code, *AWKWARD], deadline_s=DEADLINE_S, stdin=b"in", env={"A": "a,b 'c'"})
    assert json.loads(done.require_success().stdout) == [AWKWARD, "a,b 'c'", "in"]


def test_this_machines_libraries_and_packages_are_not_the_boards(pi4, monkeypatch, tmp_path):
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONUSERBASE"):
        monkeypatch.setenv(name, str(tmp_path))
    code = "import json, os, sys, numpy; print(json.dumps([sys.path, os.environ.get('LD_LIBRARY_PATH')]))"
    found, libraries = json.loads(pi4.run(["python3", "-c", code], deadline_s=DEADLINE_S).require_success().stdout)
    assert libraries is None
    assert all(each == "" or "/emulated/" in each for each in found)


def test_a_program_by_its_path_in_the_root_file_system_is_the_boards(pi4):
    path = root_path() / "usr" / "bin" / "python3.11"
    done = pi4.run([str(path), "-c", "import sys; print(sys.executable)"], deadline_s=DEADLINE_S).require_success()
    assert done.stdout.decode().strip() == str(path)


def test_relative_paths_begin_in_the_boards_own_folder(pi4, tmp_path):
    (tmp_path / "here").write_text("text")
    pi4.put(tmp_path / "here", "test-relative", deadline_s=DEADLINE_S)
    assert pi4.run(["cat", "test-relative"], deadline_s=DEADLINE_S).require_success().stdout == b"text"
    assert create_emulated_device("emulated-pi5").run(["cat", "test-relative"], deadline_s=DEADLINE_S).exit == Exit(1)
    pi4.run(["rm", "test-relative"], deadline_s=DEADLINE_S).require_success()


def test_home_is_the_boards_own_folder(pi4):
    asked = ["python3", "-c", "import pathlib; print(pathlib.Path.home(), pathlib.Path.cwd())"]
    home, current = pi4.run(asked, deadline_s=DEADLINE_S).require_success().stdout.decode().split()
    assert home == current
    assert home == pi4.run(["sh", "-c", "echo $HOME"], deadline_s=DEADLINE_S).require_success().stdout.decode().strip()
    assert home.endswith("/boards/emulated-pi4")


def test_a_crash_on_the_board_names_the_signal(pi4):
    crash = ["python3", "-c", "import ctypes; ctypes.string_at(0)"]
    assert pi4.run(crash, deadline_s=DEADLINE_S).exit == Exit(None, "SIGSEGV")
    with pytest.raises(CrashedError, match="died with SIGSEGV"), AgentClient.start(lambda: pi4.open(crash)):
        pass


def test_a_python_that_does_not_end_meets_its_deadline(pi4):
    with pytest.raises(DeadlineError):
        pi4.run(["python3", "-c", "while True: pass"], deadline_s=0.5)


def test_a_runtime_that_would_crash_is_refused(pi4):
    qemu = find_qemu()
    if qemu.version >= (10,):
        pytest.skip(f"{qemu} runs every runtime")
    with pytest.raises(NoRuntimeFits, match=r"ai-edge-litert==2\.3\.0 crashes in QEMU") as caught:
        set_runtime(pi4.name, "ai-edge-litert==2.3.0", qemu)
    assert "2.1.6 works" in caught.value.hint
    assert read_choice(pi4.name) == "ai-edge-litert==2.1.6"
    assert set_runtime(pi4.name, "newest", qemu) == "ai-edge-litert==2.1.6"


def test_a_choice_that_no_longer_works_is_refused_before_anything_starts(pi4, tmp_path):
    if find_qemu().version >= (10,):
        pytest.skip("this QEMU runs every runtime")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "emulated.json").write_text('{"emulated-pi4": "ai-edge-litert==2.2.0"}')
    with pytest.raises(NoRuntimeFits, match="crashes in QEMU"):
        pi4.run(["python3", "-c", "pass"], deadline_s=DEADLINE_S)


def test_each_board_has_its_own_runtime(pi4):
    qemu = find_qemu()
    assert set_runtime(pi4.name, "tflite-runtime==2.14.0", qemu) == "tflite-runtime==2.14.0"
    assert (pi4.runtime(), read_choice("emulated-pi5")) == ("tflite-runtime==2.14.0", "ai-edge-litert==2.1.6")
    facts = pi4.facts(deadline_s=DEADLINE_S)
    assert [(each.name, each.version) for each in facts.runtimes] == [("tflite-runtime", "2.14.0")]
    with pytest.raises(UnknownDeviceError, match="emulated-pi6"):
        set_runtime("emulated-pi6", "newest", qemu)
