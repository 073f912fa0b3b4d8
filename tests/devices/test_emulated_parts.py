"""The parts of emulated boards: the build cache, the counting plugin, its counts, symbols; and absent parts."""

from __future__ import annotations

import ctypes
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from converters.errors import MissingPartError
from devices.emulated.build_cache import DEBIAN_PACKAGES, build_once, cache_folder, find_program, run_builder
from devices.emulated.device import create_emulated_device
from devices.emulated.instruction_counts import build_plugin, read_counts
from devices.emulated.qemu import Qemu, find_qemu
from devices.emulated.symbols import Function, count_by_function
from devices.errors import CountError, PreparationError
from devices.solver.errors import WheelError

# A loop in machine code whose instructions are known: subs x0, x0, #1; b.ne -4; ret.
MARKED = """
import ctypes, mmap, os, struct, sys
def mark(number):
    try: os.getpriority(0x65646765, number)
    except OSError: pass
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(struct.pack("<3I", 0xF1000400, 0x54FFFFE1, 0xD65F03C0))
begin = ctypes.addressof(ctypes.c_char.from_buffer(code))
loop = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(begin)
for number, rounds in enumerate([int(sys.argv[1])] * 4, 1):
    mark(0)
    loop(rounds)
    mark(number)
print(begin, ctypes.cast(ctypes.pythonapi.PyLong_FromLong, ctypes.c_void_p).value)
print(open("/proc/self/maps").read(), end="")
"""


@pytest.fixture
def pi4(require_part):
    for program in ("qemu-aarch64", "mmdebstrap", "gcc"):
        if shutil.which(program) is None:
            require_part(program, f"apt install {DEBIAN_PACKAGES[program]}")
    device = create_emulated_device("emulated-pi4")
    try:
        device.prepare()
    except (PreparationError, WheelError) as error:
        require_part("packages and wheels for aarch64", str(error))
    return device


def count(device, rounds):
    """Count the loop, and return its windows, the addresses of the loop and of PyLong_FromLong, and the memory map."""
    done, windows = device.count(["python3", "-c", MARKED, str(rounds)], deadline_s=60)
    addresses, *maps = done.require_success().stdout.decode().splitlines()
    assert [(window.number, window.threads) for window in windows] == [(number, 1) for number in (1, 2, 3, 4)]
    return windows, *map(int, addresses.split()), maps


def test_every_instruction_is_counted_where_it_is_executed(pi4):
    windows, begin, function, maps = count(pi4, 100_000)
    for window in windows:
        assert sum(number for address, number in window.blocks.items() if begin <= address < begin + 12) == 200_001
        assert 200_001 < window.total < 220_000  # the call of the loop, and the marks
    assert count_by_function({function: 3, 8: 4}, maps) == {
        Function("python3.11", "PyLong_FromLong"): 3,
        Function("unknown", "unknown"): 4,
    }


def test_a_crash_under_the_counter_is_an_exit_without_windows(pi4):
    done, windows = pi4.count(["python3", "-c", "import ctypes; ctypes.string_at(0)"], deadline_s=60)
    assert (done.exit.signal, windows) == ("SIGSEGV", ())


def test_a_folder_with_a_comma_does_not_lead_qemu_astray(pi4, tmp_path, monkeypatch):
    kept = cache_folder()
    pi4.prepare()
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b" / "emulated").symlink_to(kept)
    (tmp_path / "a,b" / "wheels").symlink_to(kept.parent / "wheels")
    monkeypatch.setenv("EDGE_CACHE_DIR", str(tmp_path / "a,b"))
    assert len(count(pi4, 10)[0]) == 4


@pytest.mark.parametrize(
    "text",
    ["", "window 1\nb 10 5\nend 1 5 1\n"],
)
def test_counts_are_read(tmp_path, text):
    (tmp_path / "counts").write_text(text)
    assert [window.total for window in read_counts(tmp_path / "counts")] == ([5] if text else [])


@pytest.mark.parametrize(
    "text",
    ["b 10 5\n", "window 1\nb 10 5\n", "window 1\nb 10 5\nend 1 6 1\n", "window 1\nend 2 0 1\n", "window\n", "\n",
     "window 1\nb x 5\nend 1 5 1\n", "window 1\nb 10\nend 1 5 1\n"],
)  # fmt: skip
def test_counts_that_are_cut_off_or_wrong_are_an_error(tmp_path, text):
    (tmp_path / "counts").write_text(text)
    with pytest.raises(CountError, match="cannot be read"):
        read_counts(tmp_path / "counts")


@pytest.mark.parametrize(
    ("qemu", "why"),
    [(Qemu("q", (10, 0, 2), False), "QEMU 10.0.2 was built without plugins"), (Qemu("q", (9, 1), True), "interface")],
)
def test_a_qemu_that_cannot_count_is_refused(qemu, why):
    with pytest.raises(CountError, match=why) as caught:
        build_plugin(qemu)
    assert "qemu-user" in caught.value.hint


@pytest.mark.parametrize("program", DEBIAN_PACKAGES)
def test_a_program_that_is_absent_is_named_with_its_package(monkeypatch, tmp_path, program):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPartError, match=program) as caught:
        find_program(program)
    assert caught.value.hint.endswith(f"apt install {DEBIAN_PACKAGES[program]}")


def test_an_absent_qemu_is_an_error_of_every_use(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    device = create_emulated_device("emulated-zero2w")
    for use in (lambda: device.facts(), lambda: device.run(["python3"], deadline_s=5), find_qemu):
        with pytest.raises(MissingPartError, match="qemu-aarch64"):
            use()


def test_a_qemu_that_states_no_version_is_refused(monkeypatch, tmp_path):
    (tmp_path / "qemu-aarch64").write_text("#!/bin/sh\necho nothing\n")
    (tmp_path / "qemu-aarch64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MissingPartError, match="does not print its version"):
        find_qemu()


def test_what_is_kept_is_made_once_by_one_of_many(tmp_path):
    goal, made = tmp_path / "kept" / "goal", []

    def make(draft):
        made.append(draft)
        draft.mkdir()
        time.sleep(0.02)
        (draft / "file").write_text("whole")

    threads = [
        threading.Thread(target=build_once, args=(goal, make), kwargs={"what": "it", "deadline_s": 10})
        for _ in range(5)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(made) == 1
    assert (goal / "file").read_text() == "whole"
    assert [each.name for each in goal.parent.iterdir() if each.name.startswith(".draft")] == []


def test_what_fails_leaves_nothing_and_is_tried_again(tmp_path):
    goal = tmp_path / "goal"

    def fail(draft):
        draft.write_text("half")
        raise PreparationError("no")

    with pytest.raises(PreparationError, match="no"):
        build_once(goal, fail, what="it", deadline_s=1)
    (tmp_path / ".draft-goal-of-one-that-was-killed").mkdir()
    assert build_once(goal, lambda draft: draft.write_text("whole"), what="it", deadline_s=1) == goal
    assert sorted(each.name for each in tmp_path.iterdir()) == [".goal.lock", "goal"]


def test_waiting_for_another_process_has_a_deadline(tmp_path):
    held, done = threading.Event(), threading.Event()

    def make(draft):
        held.set()
        done.wait(10)
        draft.touch()

    other = threading.Thread(target=build_once, args=(tmp_path / "goal", make), kwargs={"what": "it", "deadline_s": 1})
    other.start()
    held.wait(10)
    try:
        with pytest.raises(PreparationError, match="another process is still building it"):
            build_once(tmp_path / "goal", lambda draft: draft.touch(), what="it", deadline_s=0.0)
    finally:
        done.set()
        other.join()


def test_a_cache_that_cannot_be_written_is_a_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PreparationError, match="could not be stored") as caught:
        build_once(tmp_path / "file" / "goal", lambda draft: draft.touch(), what="it", deadline_s=1)
    assert "EDGE_CACHE_DIR" in caught.value.hint


def test_a_maker_that_fails_or_hangs_says_so():
    with pytest.raises(PreparationError, match=r"it could not be built: sh ended with status 3\n  no luck"):
        run_builder(["sh", "-c", "echo no luck >&2; exit 3"], what="it", deadline_s=10, hint="try")
    with pytest.raises(PreparationError, match=r"not built within 0\.1 s"):
        run_builder(["sleep", "60"], what="it", deadline_s=0.1, hint="try")


def test_a_file_without_symbols_is_unknown(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    line = f"1000-2000 r-xp 00000000 00:00 1   {plain}"
    assert count_by_function({0x1004: 1}, [line, "2000-3000 rw-p 00000000 00:00 0"]) == {
        Function("plain", "unknown"): 1
    }


def test_this_machines_symbols_are_read_too():
    address = ctypes.cast(ctypes.pythonapi.PyLong_FromLong, ctypes.c_void_p).value
    found = count_by_function({address: 1}, Path("/proc/self/maps").read_text().splitlines())
    assert [each.symbol for each in found] == ["PyLong_FromLong"], sys.executable
