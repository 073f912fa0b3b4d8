"""`edge doctor` on this machine, and in environments put together from real packages."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edge.doctor import host as machine
from edge.doctor.diagnosis import JOBS, diagnose
from edge.doctor.packages import normalize, read_requirements, release, within

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENT = ROOT / "tests" / "measure" / "data" / "mobilenet_v1_0.25_128_quant.json"
PI_4 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid

processor\t: 1
Features\t: fp asimd evtstrm crc32 cpuid

Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
REQUIRES = (
    "numpy>=1.23",
    "tensorflow<2.22,>=2.21; extra == 'host'",
    "tflite-runtime==2.14.0; python_version < '3.12' and extra == 'tflite-runtime'",
)


@pytest.fixture
def environment(tmp_path):
    """A folder of packages: click and NumPy are this environment's own; others are added as recorded by pip."""
    for name in ("click", "numpy"):
        home = Path(importlib.util.find_spec(name).submodule_search_locations[0])
        for path in (home, *home.parent.glob(f"{name}-*.dist-info"), *home.parent.glob(f"{name}.libs")):
            (tmp_path / path.name).symlink_to(path)
    record(tmp_path, "edge-convert", "0.1.0", requires=REQUIRES)
    return tmp_path


def record(folder, name, version, *, module=None, requires=()):
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {item}" for item in requires)]) + "\n")
    if module:
        (folder / module).mkdir(exist_ok=True)
        (folder / module / "__init__.py").write_text("raise AssertionError('doctor imported this')\n")


def doctor(folder, *arguments, env=None):
    return edge(folder, "doctor", *arguments, env=env)


def edge(folder, *arguments, env=None):
    """Run a command with nothing on the path but the checkout, the standard library and one folder."""
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]; from edge.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],
        capture_output=True, text=True, check=False, env=env or {"PATH": "/usr/bin:/bin"}, cwd=folder,
    )  # fmt: skip


def findings(done):
    return {item["name"]: item for item in json.loads(done.stdout)["findings"]}


def test_here_everything_is_ready_and_tensorflow_stays_out():
    code = (
        "import sys; from edge.cli.main import run; status = run(['doctor', '--json']);"
        "assert not {'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules), 'imported'; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["schema"] == "edge-doctor/1"
    assert {job: facts["ready"] for job, facts in value["jobs"].items()} == dict.fromkeys(JOBS, True)


def test_every_finding_says_why_and_what_to_do():
    for item in diagnose().findings:
        assert item.state in {"ok", "missing", "problem"}
        assert item.name
        assert item.detail
        assert item.why
        assert item.state != "ok" or item.how is None


def test_the_text_fits_a_terminal():
    done = subprocess.run([sys.executable, "-m", "edge", "doctor"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "python"
    assert "  ok      numpy: " in done.stdout
    # Paths have no place to break.
    assert all(len(line) <= 80 or "/" in line for line in lines)


def test_missing_parts_are_named_with_how_to_get_them(environment):
    done = doctor(environment)
    assert done.returncode == 8
    assert "missing tensorflow: not installed" in done.stdout
    assert "-> pip install 'edge-convert[host]'" in done.stdout
    assert "cannot convert, run, profile, report here" in done.stderr
    assert "a TFLite runtime" in done.stderr
    assert "hint: " in done.stderr


def test_programs_are_optional_and_say_what_for_and_how_to_get_them(environment):
    record(environment, "ai-edge-litert", "2.1.6", module="ai_edge_litert")
    record(environment, "pillow", "11.0", module="PIL")
    (environment / "bin").mkdir()
    done = doctor(environment, "--job", "run", env={"PATH": str(environment / "bin")})
    assert done.returncode == 0, done.stderr
    assert "\nprograms, each optional\n" in done.stdout
    told = findings(doctor(environment, "--json", env={"PATH": str(environment / "bin")}))
    for name, words in {
        "gcc": ("emulated boards", "apt install gcc libc6-dev"),
        "avr-gcc": ("firmware", "apt install gcc-avr avr-libc"),
        "avrdude": ("power meter", "apt install avrdude"),
        "edgetpu_compiler": (
            "edgetpu-compiled",
            "apt install edgetpu-compiler, on x86-64, from Google",
        ),
    }.items():
        assert told[name]["section"] == "programs"
        assert words[0] in told[name]["why"]
        assert words[1] in (told[name]["how"] or words[1]), name
    assert told["edgetpu_compiler"]["how"] or machine.program("edgetpu_compiler")


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["devices"], "platformdirs"),
        (["report", str(MEASUREMENT), "--out", "page.html"], "markupsafe"),
        (["convert", "mobilenet_v2", "--to", "fp32", "--out", "models"], "keras"),
    ],
    ids=["devices", "report", "convert"],
)
def test_a_command_whose_package_is_missing_names_it(environment, arguments, package):
    done = edge(environment, *arguments)
    assert done.returncode == 8, done.stderr
    assert f"error: this needs the package {package}, which is not installed" in done.stderr
    assert "hint: pip install 'edge-convert[host]'" in done.stderr
    assert not (environment / "page.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("firmware", "info", "--port", "/dev/null"),
        ("devices", "console", "--port", "/dev/null"),
        ("meter", "read", "csv:/dev/null"),
    ],
    ids=lambda each: each[0],
)
def test_a_serial_line_without_pyserial_is_a_missing_part(environment, arguments):
    done = edge(environment, *arguments)
    assert done.returncode == 8, done.stderr
    assert done.stderr == "error: serial lines need pyserial\nhint: pip install 'edge-convert[host]'\n"


def test_without_rich_a_terminal_shows_no_bar_and_no_error(environment):
    code = (
        f"import sys; sys.path[:0] = [{str(environment)!r}, {str(ROOT)!r}]\n"
        "from edge.cli.output import progress\n"
        "assert sys.stderr.isatty()\n"
        "with progress('waiting', 3) as advance:\n"
        "    advance(1, 'one')\n"
    )
    terminal, stderr = pty.openpty()
    try:
        done = subprocess.run([sys.executable, "-S", "-c", code], stderr=stderr, timeout=60, check=False)
        os.write(stderr, b"end")
        assert os.read(terminal, 4096) == b"end"
    finally:
        os.close(terminal)
        os.close(stderr)
    assert done.returncode == 0


def test_a_board_is_judged_by_its_jobs(environment):
    record(environment, "ai-edge-litert", "2.1.6", module="ai_edge_litert")
    record(environment, "pillow", "11.0", module="PIL")
    assert doctor(environment, "--job", "run", "--job", "profile").returncode == 0
    done = doctor(environment, "--job", "convert", "--json")
    assert done.returncode == 8
    assert "tensorflow" in json.loads(done.stdout)["jobs"]["convert"]["blocked_by"]


def test_a_version_outside_the_range_is_a_problem(environment):
    record(environment, "tensorflow", "2.15.0", module="tensorflow")
    found = findings(doctor(environment, "--json"))["tensorflow"]
    assert found["state"] == "problem"
    assert "2.15.0 is outside <2.22,>=2.21" in found["detail"]
    assert found["how"] == "pip install 'edge-convert[host]'"


def test_a_package_recorded_without_its_module_is_a_problem(environment):
    record(environment, "jinja2", "3.1.6")
    found = findings(doctor(environment, "--json"))["jinja2"]
    assert found["state"] == "problem"
    assert "its module jinja2 is not there" in found["detail"]


def test_tflite_runtime_and_numpy_2_do_not_go_together(environment):
    record(environment, "tflite-runtime", "2.14.0", module="tflite_runtime")
    done = doctor(environment, "--job", "run", "--json")
    found = findings(done)["tflite-runtime and numpy"]
    assert found["state"] == "problem"
    assert "numpy<2" in found["how"]
    assert done.returncode == 8


@pytest.mark.parametrize(("variable", "value"), [("TF_USE_LEGACY_KERAS", "1"), ("KERAS_BACKEND", "torch")])
def test_settings_that_break_conversion_are_found(environment, variable, value):
    done = doctor(environment, "--json", env={"PATH": "/usr/bin:/bin", variable: value})
    assert findings(done)[variable]["how"] == f"unset {variable}"


def test_a_runtime_library_that_cannot_be_loaded_is_told(environment):
    record(environment, "ai-edge-litert", "2.1.6", module="ai_edge_litert")
    profiler = findings(doctor(environment, "--json"))["kernel profiler"]
    assert "has no libLiteRt.so" in profiler["detail"]
    (environment / "ai_edge_litert" / "libLiteRt.so").write_bytes(b"no library")
    profiler = findings(doctor(environment, "--json"))["kernel profiler"]
    assert profiler["state"] == "problem"
    assert "cannot be loaded" in profiler["detail"]


def test_the_profiler_here_has_every_function():
    found = machine.kernel_profiler()
    assert (found.available, found.reason) == (True, None)


def test_processor_facts_come_from_the_kernel(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(PI_4)
    cpu = machine.processor(cpuinfo)
    assert cpu.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert (cpu.has("asimd"), cpu.has("asimddp")) == (True, False)
    unknown = machine.processor(tmp_path / "absent")
    assert unknown.features is None
    assert unknown.has("avx") is None
    assert machine.memory_bytes(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("version", "version_range", "inside"),
    [
        ("2.21.0", ">=2.21,<2.22", True),
        ("2.22.0", ">=2.21,<2.22", False),
        ("2.21", "==2.21.0", True),
        ("3.0.0rc1", ">=3", True),
        ("1.0", "", True),
        ("1.0", "~=1.0", None),
    ],
)
def test_version_ranges(version, version_range, inside):
    assert within(version, version_range) is inside


def test_names_and_releases():
    assert normalize("Vl_Convert.python") == "vl-convert-python"
    assert release("1.9.0.post1") == (1, 9, 0)
    assert release("unknown") == ()
    assert read_requirements()["tensorflow"].extra == "host"
    assert read_requirements()["numpy"].extra is None
