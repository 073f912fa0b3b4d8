"""The seam to edgetpu_compiler: its logs as values, and every way in which running it can end.

The compiler itself is closed and not here. STAND-IN: `stand_in` writes an executable that behaves as one ending of the
real one would; no figure that comes out of it says anything about the Edge TPU.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sketch import Sketch

from converters.edgetpu import predict_mapping
from converters.edgetpu.compiler import Compiled, Compiler
from converters.edgetpu.log import LogRow, parse_log
from converters.errors import ConversionError, MissingPartError, ModelFileError
from converters.tflite.reader import parse_model

# The structure of real logs with numbers of our own.
FIGURES = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 12 ms.

Input model: /tmp/x/model.tflite
Input size: 2.50MiB
Output model: /tmp/x/model_edgetpu.tflite
Output size: 2.75MiB
On-chip memory used for caching model parameters: 1.50MiB
On-chip memory remaining for caching model parameters: 512.00KiB
Off-chip memory used for streaming uncached model parameters: 64.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 3
Operation log: /tmp/x/model_edgetpu.log
"""
TABLE = """
Operator                       Count      Status

CONV_2D                        2          Mapped to Edge TPU
CONV_2D                        4          More than one subgraph is not supported
HARD_SWISH                     1          Operation not supported
CUSTOM                         1          Operation is working on an unsupported data type
"""
END = "Compilation child process completed within timeout period.\nCompilation succeeded!\n"


def test_a_log_becomes_values():
    log = parse_log(FIGURES + TABLE + END)
    assert (log.version, log.succeeded, log.subgraphs, log.operators) == ("16.0.384591198", True, 1, 3)
    assert (log.cached_bytes, log.remaining_bytes, log.streamed_bytes) == (3 << 19, 1 << 19, 64)
    assert log.rows[1] == LogRow("CONV_2D", 4, "More than one subgraph is not supported")
    assert log.mapped == {"CONV_2D": 2}
    assert log.on_cpu == {"CONV_2D": 4, "HARD_SWISH": 1, "CUSTOM": 1}
    assert log.errors == ()
    assert log.to_json()["of"] == 8


def test_the_table_may_stand_in_the_log_file_alone():
    file = "Edge TPU Compiler version 16.0.384591198\nInput: a.tflite\nOutput: b.tflite\n" + TABLE
    log = parse_log(FIGURES + "See the operation log file for individual operation details.\n", table=file)
    assert sum(log.on_cpu.values()) == 6
    assert parse_log("", table=file).version == "16.0.384591198"


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Didn't find op for builtin opcode 'EXP' version '2'. An older version might be supported.",
        "Compilation failed: Compilation failed due to large activation tensors in model.",
        "Internal compiler error. Aborting! ",
        "Invalid model: model.tflite\nModel not quantized",
    ],
)
def test_what_went_wrong_is_found(said):
    log = parse_log(f"Edge TPU Compiler version 16.0.384591198\n{said}\n")
    assert not log.succeeded
    assert log.errors[0] == said.splitlines()[0].strip()
    assert log.cached_bytes is None


@pytest.mark.parametrize(
    "garbage", ["", "\x00\xff" * 50, "A  9999999999999999999  B", "On-chip memory used: lots\n: 4\n"]
)
def test_garbage_is_no_error(garbage):
    log = parse_log(garbage)
    assert (log.succeeded, log.version, log.cached_bytes) == (False, None, None)


@pytest.fixture
def stand_in(tmp_path):
    """STAND-IN for edgetpu_compiler: a program that prints `said`, leaves `made`, and ends with `status`."""

    def write(said="", *, made=None, table=None, status=0, body="", name="stand_in_compiler"):
        content = tmp_path / "made.bin"
        content.write_bytes(made or b"")
        program = tmp_path / name
        lines = [
            f"#!{sys.executable}", "import sys, pathlib, os, time, subprocess",
            "folder = pathlib.Path(sys.argv[sys.argv.index('-o') + 1]); source = pathlib.Path(sys.argv[-1])",
            "assert source.read_bytes()[4:8] == b'TFL3'", body, f"sys.stdout.write({said!r})",
        ]  # fmt: skip
        if made is not None:
            lines.append(f"(folder / 'model_edgetpu.tflite').write_bytes(pathlib.Path({str(content)!r}).read_bytes())")
        if table is not None:
            lines.append(f"(folder / 'model_edgetpu.log').write_text({table!r})")
        program.write_text("\n".join([*lines, f"sys.exit({status})"]))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return program

    return write


def model():
    sketch = Sketch()
    x = sketch.convolution(sketch.input((1, 8, 8, 4)), (1, 8, 8, 8))
    return sketch.data(sketch.add("HARD_SWISH", [x], (1, 8, 8, 8)))


def compiled():
    sketch = Sketch()
    x = sketch.add("edgetpu-custom-op", [sketch.input((1, 8, 8, 4))], (1, 8, 8, 8))
    return sketch.data(sketch.add("HARD_SWISH", [x], (1, 8, 8, 8)))


def table(*rows):
    return "Operator                       Count      Status\n\n" + "".join(
        f"{op:<31}{count:<11}{status}\n" for op, count, status in rows
    )


SWISH = ("HARD_SWISH", 1, "Operation not supported")
CONV = ("CONV_2D", 1, "Mapped to Edge TPU")


def test_the_compiled_file_comes_back_with_what_was_said(stand_in):
    program = stand_in(FIGURES, made=compiled(), table=table(CONV, SWISH))
    result = Compiler(str(program)).compile(model())
    assert result.data == compiled()
    assert result.log.mapped == {"CONV_2D": 1}
    assert result.differences(predict_mapping(parse_model(model()))) == []


def test_what_the_compiler_did_other_than_forecast_is_told(stand_in):
    program = stand_in(FIGURES + table(("CONV_2D", 1, "Operation not supported"), SWISH), made=model())
    result = Compiler(str(program)).compile(model())
    assert result.differences(predict_mapping(parse_model(model()))) == ["CONV_2D: 1 stayed on the CPU, forecast 0"]


def test_custom_operators_are_compared_under_the_compilers_word():
    sketch = Sketch()
    x = sketch.convolution(sketch.input((1, 8, 8, 4)), (1, 8, 8, 8))
    found = predict_mapping(sketch.model(sketch.add("TFLite_Detection_PostProcess", [x], (4,), "float32")))
    log = parse_log(table(CONV, ("CUSTOM", 1, "Operation is working on an unsupported data type")))
    assert Compiled(b"", None, log).differences(found) == []


def test_a_status_other_than_0_is_told_with_the_reason(stand_in):
    program = stand_in("hello\nInternal compiler error. Aborting! \n", status=3)
    with pytest.raises(ConversionError, match=r"status 3: Internal compiler error\. Aborting!") as caught:
        Compiler(str(program)).compile(model())
    assert "--target coral" in caught.value.hint


def test_success_without_a_file_is_no_success(stand_in):
    with pytest.raises(ConversionError, match="made no file: Compilation failed!"):
        Compiler(str(stand_in("Compilation failed!\n"))).compile(model())


def test_silence_is_told(stand_in):
    with pytest.raises(ConversionError, match="it said nothing"):
        Compiler(str(stand_in())).compile(model())


def test_a_file_that_is_none_is_refused(stand_in):
    with pytest.raises(ModelFileError, match="edgetpu_compiler's result is not a sound TFLite model"):
        Compiler(str(stand_in(FIGURES, made=b"garbage"))).compile(model())


def test_a_file_without_what_was_said_is_refused(stand_in):
    with pytest.raises(ConversionError, match="reports 1 mapped operators, but its file has none"):
        Compiler(str(stand_in(FIGURES + table(CONV), made=model()))).compile(model())


def test_one_that_hangs_is_stopped(stand_in):
    with pytest.raises(ConversionError, match=r"did not end within 0\.2 s"):
        Compiler(str(stand_in(body="time.sleep(600)")), deadline_s=0.2).compile(model())


@pytest.fixture
def ends_once(monkeypatch):
    """Let the wait for the compiler end with an error as soon as a file is there, however long that takes."""
    communicate = subprocess.Popen.communicate

    def patch(path, error):
        def waiting(process, *args, timeout):
            if process.args[1] == "rm":
                return communicate(process, *args, timeout=timeout)
            deadline = time.monotonic() + 60
            while not path.is_file() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise error

        monkeypatch.setattr(subprocess.Popen, "communicate", waiting)

    return patch


LATE = subprocess.TimeoutExpired("compiler", 1)


def test_its_children_are_stopped_with_it(stand_in, ends_once, tmp_path):
    mark = tmp_path / "child"
    body = f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n" \
           f"draft = pathlib.Path({str(tmp_path / 'draft')!r}); draft.write_text(str(child.pid))\n" \
           f"draft.rename({str(mark)!r})\ntime.sleep(600)"  # fmt: skip
    ends_once(mark, LATE)
    with pytest.raises(ConversionError, match="did not end within"):
        Compiler(str(stand_in(body=body))).compile(model())
    assert is_gone(int(mark.read_text()))


def is_gone(pid):
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("where", ["edgetpu_compiler", "/nowhere/compiler", "docker:some/image"])
def test_one_that_is_not_there_is_told_with_how_to_get_it(monkeypatch, tmp_path, where):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPartError, match="missing") as caught:
        Compiler(where).compile(model())
    assert caught.value.exit_code == 8
    assert "edgetpu-compiler" in caught.value.hint


def test_one_that_cannot_be_run_is_told(tmp_path):
    program = tmp_path / "compiler"
    program.write_bytes(b"\x7fELF not really")
    program.chmod(0o755)
    with pytest.raises(MissingPartError, match="cannot be run"):
        Compiler(str(program)).compile(model())


def test_a_container_gets_the_folder_and_no_network(stand_in, monkeypatch, tmp_path):
    words = tmp_path / "words"
    body = f"pathlib.Path({str(words)!r}).write_text(' '.join(sys.argv[1:]))"
    stand_in(FIGURES, made=compiled(), table=table(CONV, SWISH), body=body, name="docker")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    result = Compiler("docker:coral/compiler").compile(model())
    assert result.log.version == "16.0.384591198"
    said = words.read_text()
    assert said.startswith("run --rm --name edge-edgetpu-")
    assert "--network none --volume /" in said
    assert "--entrypoint edgetpu_compiler coral/compiler -s -o /" in said


# STAND-IN for docker: "run" starts a container that does not end with its client, "rm" ends the one of that name.
DOCKER = """#!{python}
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path({folder!r})
if sys.argv[1] == "run":
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    container = subprocess.Popen(sleep, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (folder / "draft").write_text(sys.argv[sys.argv.index("--name") + 1] + " " + str(container.pid))
    (folder / "draft").rename(folder / "container")
    time.sleep(600)
name, pid = (folder / "container").read_text().split()
assert sys.argv[1:] == ["rm", "--force", name] and {removes}
os.kill(int(pid), signal.SIGKILL)
"""


@pytest.fixture
def docker(tmp_path, monkeypatch):
    def write(*, removes):
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(DOCKER.format(python=sys.executable, folder=str(tmp_path), removes=removes))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return tmp_path / "container"

    return write


@pytest.mark.parametrize("removes", [True, False])
def test_a_container_that_hangs_is_ended_too_or_its_name_told(docker, ends_once, removes):
    container = docker(removes=removes)
    ends_once(container, LATE)
    with pytest.raises(ConversionError, match="did not end within") as caught:
        Compiler("docker:coral/compiler").compile(model())
    name, pid = container.read_text().split()
    assert (f"docker rm --force {name}" in caught.value.hint) is not removes
    if not removes:
        os.kill(int(pid), signal.SIGKILL)
    assert is_gone(int(pid))


def test_a_container_is_ended_when_the_user_has_enough_of_it(docker, ends_once):
    container = docker(removes=True)
    ends_once(container, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Compiler("docker:coral/compiler").compile(model())
    assert is_gone(int(container.read_text().split()[1]))


def test_the_command_answers_a_missing_compiler_before_it_loads_anything(tmp_path):
    command = [sys.executable, "-m", "edge", "convert", "nothing.keras", "--to", "edgetpu-compiled", "--out", tmp_path]
    done = subprocess.run(
        [*map(str, command), "--calibrate", "digits", "--compiler", "/nowhere/compiler"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 8
    assert "the Edge TPU compiler is missing: /nowhere/compiler" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--to", "int8", "--io", "uint8"), "no recipe leaves a choice"),
        (("--to", "sparse", "--target", "coral"), "runs none of XNNPACK's sparse kernels"),
    ],
)
def test_the_command_answers_what_does_not_go_together(tmp_path, words, told):
    command = [sys.executable, "-m", "edge", "convert", "simplenetv1_5m_m1", "--out", str(tmp_path), *words]
    done = subprocess.run(
        [*command, "--calibrate", "digits", "--samples", "2"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 3
    assert told in done.stderr
