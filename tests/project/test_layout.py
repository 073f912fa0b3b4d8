"""The walls: what stands at the top, which room imports which, what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = {
    "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile", ".ci", ".gitignore",
    "edge", "converters", "devices", "tests", "firmware_tools",
}  # fmt: skip
ROOMS = ("edge", "converters", "devices", "firmware_tools")
# What travels to a board beside edge.runtime and edge.agent.
FORMATS = {"converters.artifact", "converters.decode", "converters.errors", "converters.files", "converters.tflite"}
# What every part of the host side may use.
HOST = {"converters.errors", "converters.files", "converters.printable"}
# room: what of the project it may import. The longest prefix that matches a module decides.
ALLOWED = {
    "edge": {"edge", "converters", "devices", "firmware_tools"},
    "edge.runtime": {"edge.runtime", *FORMATS},
    "edge.agent": {"edge.agent", "edge.runtime", "devices.messages", *FORMATS},
    "converters": {"converters"},
    "converters.tflite": FORMATS,
    "converters.artifact": FORMATS,
    "devices": {"devices", "firmware_tools", *HOST, "converters.targets", *FORMATS},
    "firmware_tools": {"firmware_tools", *HOST},
}
HEAVY = {"tensorflow", "keras"}
HEAVY_ROOMS = ("converters", "edge.models", "edge.training", "edge.data")
TRAVELLERS = ("edge.runtime", "edge.agent", "devices.messages", *sorted(FORMATS))
TRAVELLING = {"numpy", "ai_edge_litert", "tflite_runtime", "tensorflow", "edge", "converters", "devices"}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module}
    return found


def room_of(module: str) -> str:
    return max((room for room in ALLOWED if within(module, {room})), key=len)


def within(module: str, rooms: set[str] | tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def test_nothing_else_stands_at_the_top():
    assert {Path(name).parts[0] for name in tracked()} <= TOP


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value) if "." in str(value) else "")
def test_imports_run_one_way(module, path):
    ours = {name for name in imports(path) if within(name, ROOMS)}
    strangers = {name for name in ours if not within(name, ALLOWED[room_of(module)])}
    assert not strangers, f"{module} may not import {sorted(strangers)}"


@pytest.mark.parametrize("module", [name for name, _ in modules()])
def test_only_the_rooms_of_keras_import_it(module):
    path = dict(modules())[module]
    heavy = {name for name in imports(path) if within(name, HEAVY)}
    assert not heavy or within(module, HEAVY_ROOMS)


@pytest.mark.parametrize("module", [name for name, _ in modules() if within(name, TRAVELLERS)])
def test_what_travels_to_a_board_needs_only_numpy_and_a_runtime(module):
    roots = {name.split(".")[0] for name in imports(dict(modules())[module])}
    assert roots - set(sys.stdlib_module_names) <= TRAVELLING


def test_every_package_is_listed_for_the_distribution():
    block = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert block
    listed = re.findall(r'"([\w.]+)"', block[1])
    found = {".".join(path.parent.relative_to(ROOT).parts) for room in ROOMS for path in ROOT.glob(f"{room}/**/*.py")}
    assert set(listed) == found


def test_pins_are_by_name_and_version():
    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.match(r"[a-z0-9.-]+==[0-9][0-9a-z.]*(; python_version .*)?$", line), line


def test_test_files_have_names_of_their_own():
    names = [Path(name).name for name in tracked() if Path(name).name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


# Run by a process of its own: each module is imported in a fork, so that none profits from another's imports.
IMPORT_EACH = """
import importlib, os, sys
import click, numpy  # what nearly all of them import; neither prints or loads TensorFlow

for name in sys.argv[1:]:
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(write, 1)
        importlib.import_module(name)
        sys.stdout.flush()
        os._exit(bool({"tensorflow", "keras"} & set(sys.modules)))
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    if status or said:
        print(f"{name}: status {status}, printed {said!r}")
"""


def test_importing_a_module_loads_no_tensorflow_and_prints_nothing():
    names = [name for name, _ in modules() if not name.endswith("__main__") and not within(name, HEAVY_ROOMS)]
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
