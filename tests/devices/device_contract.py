"""What every device does alike. A test class for one kind of device derives from this and gives the device."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest

from devices.contract import NOT_FOUND, Device, Exit
from devices.errors import CommandFailedError, DeadlineError, TransferError, UnreachableError
from devices.messages.model_jobs import InferRequest, ModelSetup
from devices.messages.protocol import decode_array, encode_array
from edge.agent.client import AgentClient
from edge.runtime import load

DEADLINE_S = 30.0
AWKWARD = ["", " ", "two words", "$(touch x)", "`id`", "'", '"', "\\", "a\nb", "*", "~", "-n", "é€", "%s;&|<>"]


class DeviceContract:
    """Derive, and override `device`."""

    @pytest.fixture
    def device(self) -> Device:
        raise NotImplementedError

    @pytest.fixture
    def folder(self, device):
        """An empty folder on the device."""
        made = device.run(["mktemp", "-d"], deadline_s=DEADLINE_S).require_success().stdout.decode().strip()
        yield made
        device.run(["rm", "-r", made], deadline_s=DEADLINE_S).require_success()

    def test_facts_are_of_this_device_and_json(self, device):
        facts = device.facts(deadline_s=DEADLINE_S)
        assert (facts.name, facts.kind) == (device.name, device.kind)
        assert facts.cpu.architecture
        assert facts.cpu.cores >= facts.cpu.usable_cores >= 1
        assert facts.page_size_bytes >= 4096
        assert facts.memory_bytes > facts.available_memory_bytes > 0
        assert facts.python.version.count(".") == 2
        assert [each.name for each in facts.runtimes]
        assert json.loads(json.dumps(facts.to_json()))["cpu"]["cores"] == facts.cpu.cores

    def test_arguments_arrive_as_they_are(self, device):
        done = device.run(["printf", "%s\\0", *AWKWARD], deadline_s=DEADLINE_S).require_success()
        assert done.stdout.decode().split("\0")[:-1] == AWKWARD

    def test_environment_arrives_as_it_is(self, device):
        done = device.run(["sh", "-c", 'printf %s "$EDGE_TEST"'], deadline_s=DEADLINE_S, env={"EDGE_TEST": "a 'b' $c"})
        assert done.stdout == b"a 'b' $c"

    def test_output_input_and_status(self, device):
        done = device.run(["sh", "-c", "cat; echo no >&2; exit 7"], deadline_s=DEADLINE_S, stdin=b"\0\xff in")
        assert (done.stdout, done.stderr, done.exit) == (b"\0\xff in", b"no\n", Exit(7))
        with pytest.raises(CommandFailedError, match=r"status 7: no"):
            done.require_success()

    def test_much_in_both_directions(self, device):
        data = bytes(range(256)) * 8192
        assert device.run(["cat"], deadline_s=DEADLINE_S, stdin=data).require_success().stdout == data

    def test_input_that_is_not_wanted(self, device):
        assert device.run(["true"], deadline_s=DEADLINE_S, stdin=bytes(1 << 20)).exit == Exit(0)

    def test_signal_is_named(self, device):
        assert device.run(["sh", "-c", "kill -SEGV $$"], deadline_s=DEADLINE_S).exit == Exit(None, "SIGSEGV")

    def test_program_that_is_not_there(self, device):
        assert device.run(["/no/such program"], deadline_s=DEADLINE_S).exit == Exit(NOT_FOUND)

    def test_deadline_of_a_run(self, device):
        begin = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            device.run(["sleep", "60"], deadline_s=0.2)
        assert isinstance(caught.value, TimeoutError)
        assert time.monotonic() - begin < 30

    def test_files_there_and_back(self, device, folder, tmp_path):
        there, back, seen = tmp_path / "there", tmp_path / "back", []
        there.write_bytes(bytes(range(256)) * 10_000)
        for _ in range(2):  # the second time it replaces
            device.put(there, f"{folder}/a b'", deadline_s=DEADLINE_S, on_transfer=lambda *now: seen.append(now))
        device.get(f"{folder}/a b'", back, deadline_s=DEADLINE_S)
        assert back.read_bytes() == there.read_bytes()
        assert seen[-1] == (2_560_000, 2_560_000)
        assert seen[: len(seen) // 2] == sorted(seen[: len(seen) // 2])
        assert device.run(["ls", "-A", folder], deadline_s=DEADLINE_S).stdout == b"a b'\n"

    def test_a_failed_transfer_leaves_what_was_there(self, device, folder, tmp_path):
        (tmp_path / "old").write_text("old")
        device.put(tmp_path / "old", f"{folder}/goal", deadline_s=DEADLINE_S)
        with pytest.raises(TransferError):
            device.put(tmp_path / "missing", f"{folder}/goal", deadline_s=DEADLINE_S)
        with pytest.raises(TransferError):
            device.put(tmp_path / "old", f"{folder}/no/folder", deadline_s=DEADLINE_S)
        with pytest.raises(TransferError):
            device.get(f"{folder}/missing", tmp_path / "old", deadline_s=DEADLINE_S)
        device.get(f"{folder}/goal", tmp_path / "new", deadline_s=DEADLINE_S)
        assert (tmp_path / "old").read_text() == (tmp_path / "new").read_text() == "old"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "old"]
        assert device.run(["ls", "-A", folder], deadline_s=DEADLINE_S).stdout == b"goal\n"

    def test_stream_echoes_until_its_input_ends(self, device):
        with device.open(["cat"]) as stream:
            for text in (b"one", b"two"):
                stream.write(text, deadline_s=DEADLINE_S)
                assert stream.read(deadline_s=DEADLINE_S) == text
            stream.end_input()
            assert stream.read(deadline_s=DEADLINE_S) == b""
            assert stream.wait(deadline_s=DEADLINE_S) == Exit(0)

    def test_stream_waits_no_longer_than_its_deadline(self, device):
        with device.open(["sleep", "60"]) as stream:
            with pytest.raises(DeadlineError):
                stream.read(deadline_s=0.05)
            with pytest.raises(DeadlineError):
                stream.wait(deadline_s=0.05)
            with pytest.raises(DeadlineError):
                stream.write(bytes(1 << 24), deadline_s=0.05)

    def test_stream_of_an_ended_program(self, device):
        with device.open(["sh", "-c", "echo last words >&2; kill -KILL $$"]) as stream:
            assert stream.wait(deadline_s=DEADLINE_S) == Exit(None, "SIGKILL")
            assert stream.errors() == b"last words\n"
            with pytest.raises(BrokenPipeError):
                stream.write(bytes(1 << 20), deadline_s=DEADLINE_S)

    def test_standard_error_is_drained_and_bounded(self, device):
        script = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo done"
        with device.open(["sh", "-c", script]) as stream:
            assert stream.read(deadline_s=DEADLINE_S) == b"done\n"
            stream.wait(deadline_s=DEADLINE_S)
            assert stream.errors().endswith(b"xend\n")
            assert len(stream.errors()) <= 1 << 16

    def test_closing_ends_the_program(self, device):
        with device.open(["sh", "-c", "echo $$; exec sleep 60"]) as stream:
            number = stream.read(deadline_s=DEADLINE_S).decode().strip()
            assert device.run(["kill", "-0", number], deadline_s=DEADLINE_S).exit == Exit(0)
        stream.close()
        assert device.run(["kill", "-0", number], deadline_s=DEADLINE_S).exit != Exit(0)

    def test_stream_of_a_program_that_is_not_there(self, device):
        def ended() -> Exit:
            with device.open(["/no/such program"]) as stream:
                return stream.wait(deadline_s=DEADLINE_S)

        with contextlib.suppress(UnreachableError):  # where the device can tell at once
            assert ended() == Exit(NOT_FOUND)

    def test_agent_runs_a_model(self, device, shared_data):
        model = shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"
        grey = np.full((1, 128, 128, 3), 128, np.uint8)
        with AgentClient.on(device) as agent:
            request = InferRequest(ModelSetup(device.place(model)), ((encode_array(grey),),))
            result = agent.call(request, deadline_s=4 * DEADLINE_S)
        here = load(model).run(grey)[0]
        assert here.max() > 0
        assert np.abs(decode_array(result.outputs[0][0]).astype(int) - here).max() <= 1
