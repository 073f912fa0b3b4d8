"""Prints the figures that say how well the modules fit together: `python tests/project/structure.py [--list] [--run]`.

Each figure has a limit, and tests/project/test_structure.py holds the code to it. `--list` names what each counts;
`--run` also converts and profiles a small network and counts what that parses and loads (needs QEMU).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge", "converters", "devices", "firmware_tools")
ENTRY_POINTS = ("__init__", "__main__")
# A short module with one importer is worth a file of its own only for a reason that is stated here.
REASONS: dict[str, str] = {
    "edge.cli.devices_setup": "a subcommand with many options has a file of its own, as devices_console has",
    "edge.report.sections.shipping_section": "one section, one module",
    "edge.report.markdown": "one of the renderings of the report, as html/page.py is",
    "converters.targets.sparse_gate": "refuses files; the analysis, which edge profile loads too, does not",
    "devices.solver.setup": "the entrance of the room",
    "devices.releases.parallel": "threads and failures on several boards; knows no command line",
    "firmware_tools.codecs.fnirsi_reports": "a codec: one file per protocol",
    "firmware_tools.codecs.um25c": "a codec: one file per protocol",
}
_PARTICIPLES = frozenset(
    {
        *(
            "told",
            "known",
            "found",
            "said",
            "shown",
            "taken",
            "drawn",
            "kept",
            "given",
            "made",
            "built",
            "held",
            "left",
        ),
        *("chosen", "written", "sent", "met", "begun", "bound", "driven", "spent", "stood", "thought", "won"),
    }
)
_NOT_PARTICIPLES = frozenset({"need", "feed", "seed", "embed", "speed", "shed", "exceed", "proceed", "red"})


@dataclass(frozen=True)
class Figure:
    """One count: what is counted, its limit, whether more is worse, and the places."""

    name: str
    value: float
    limit: float
    places: tuple[str, ...] = ()
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Module:
    """One product module."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """Return its length."""
        return self.text.count("\n")

    @property
    def stem(self) -> str:
        """Return its file's name without the ending."""
        return self.path.stem

    @property
    def room(self) -> str:
        """Return the package it is in."""
        return self.name.rpartition(".")[0]


@functools.cache
def modules() -> dict[str, Module]:
    """Return every product module by its dotted name; a package is its `__init__`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            found[name] = Module(name, path, text, ast.parse(text))
    return found


def product() -> list[Module]:
    """Return the modules that are counted: all but package markers and entry points."""
    return [module for module in modules().values() if module.stem not in ENTRY_POINTS]


def imported_by(module: Module) -> Iterator[str]:
    """Yield the project's modules that one imports."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                target = full if full in modules() else node.module
                if target in modules():
                    yield target


def named_as_text() -> set[str]:
    """Return the modules that a table of "module:attribute" texts refers to."""
    found = set()
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value.partition(":")[0])
    return found & set(modules())


def short_with_one_importer() -> list[str]:
    """Return the modules under 80 lines that only one other imports, without those that have a reason."""
    importers = defaultdict(set)
    for module in modules().values():
        for target in imported_by(module):
            importers[target].add(module.name)
    return sorted(
        f"{module.name} ({module.lines} lines, of {next(iter(importers[module.name]))})"
        for module in product()
        if module.lines < 80 and len(importers[module.name]) == 1
        and module.name not in REASONS and module.name not in named_as_text()
    )  # fmt: skip


def circles() -> list[str]:
    """Return the groups of modules that import each other, wherever the import is written, also for types alone."""
    edges = {name: {target for target in imported_by(module) if target != name} for name, module in modules().items()}
    return [" <-> ".join(sorted(group)) for group in _components(edges) if len(group) > 1]


def _components(edges: dict[str, set[str]]) -> list[set[str]]:
    reach = {name: _reachable(edges, name) for name in edges}
    groups, done = [], set()
    for name in edges:
        if name not in done:
            group = {name} | {other for other in reach[name] if name in reach[other]}
            groups.append(group)
            done |= group
    return groups


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    pending = list(edges[start])
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(edges[name])
    return seen


def names_in_several_rooms() -> list[str]:
    """Return the module names that stand in more than one room, `errors` aside."""
    rooms = defaultdict(set)
    for module in product():
        rooms[module.stem].add(module.room)
    return sorted(f"{name}: {', '.join(sorted(where))}" for name, where in rooms.items()
                  if len(where) > 1 and name != "errors")  # fmt: skip


def classes_defined_twice() -> list[str]:
    """Return the public class names that more than one module defines."""
    where = defaultdict(set)
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].add(module.name)
    return sorted(f"{name}: {', '.join(sorted(places))}" for name, places in where.items() if len(places) > 1)


def functions_named_by_a_participle() -> list[str]:
    """Return the functions whose first word is a participle (`counted`, `_known_files`); properties are not counted."""
    found = []
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_property(node):
                word = node.name.strip("_").split("_")[0]
                if word in _PARTICIPLES or (word.endswith("ed") and word not in _NOT_PARTICIPLES):
                    found.append(f"{module.name}.{node.name}")
    return sorted(found)


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def matches(pattern: str, *, outside: str = "") -> list[str]:
    """Return module:line of every match of a pattern in the product, modules under a prefix left out."""
    found = []
    for module in modules().values():
        if not outside or not module.name.startswith(outside):
            for match in re.finditer(pattern, module.text):
                found.append(f"{module.name}:{module.text.count(chr(10), 0, match.start()) + 1}")
    return found


def test_texts() -> list[str]:
    """Return the texts of all test files."""
    return [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))]


def mocks_per_hundred_tests() -> float:
    """Return how many parts are replaced by stand-ins, per hundred test functions."""
    text = "\n".join(test_texts())
    mocks = len(re.findall(r"monkeypatch\.(setattr|delattr|setitem)\(|\bMagicMock\(|\bmock\.patch", text))
    return 100 * mocks / len(re.findall(r"^\s*(?:async )?def test_", text, re.MULTILINE))


def docstrings_that_ask() -> list[str]:
    """Return the modules whose docstring begins with What, Which or How."""
    return sorted(name for name, module in modules().items()
                  if re.match(r"(What|Which|How)\b", ast.get_docstring(module.tree) or ""))  # fmt: skip


def figures() -> list[Figure]:
    """Count everything."""
    counted = product()
    short = sum(module.lines <= 250 for module in counted)
    listed: list[tuple[str, Callable[[], list[str]], int]] = [
        ("readers of .tflite", lambda: matches(r"GetRootAs|def read_root\("), 1),
        ("writers of .tflite", lambda: matches(r"flatbuffers\.Builder\(|def pack_model\("), 1),
        ("places that know the identifier TFL3", lambda: matches(r"TFL3", outside="converters.tflite"), 0),
        ("short modules with one importer and no reason", short_with_one_importer, 0),
        ("modules above 300 lines", lambda: [m.name for m in counted if m.lines > 300], 0),
        ("class names defined twice", classes_defined_twice, 8),
        ("module names used in several rooms", names_in_several_rooms, 20),
        ("functions named by a participle", functions_named_by_a_participle, 30),
        ("import circles", circles, 0),
        ("dict[str, Any] and Mapping[str, Any]", lambda: matches(r"\b(?:dict|Mapping)\[str, Any\]"), 120),
        ("getattr(error, 'hint')", lambda: matches(r"getattr\([^)]*\"(?:hint|exit_code)\""), 0),
        ("docstrings of modules that begin with a question word", docstrings_that_ask, 0),
    ]
    return [
        Figure("product modules", len(counted), 360),
        *(Figure(name, len(found), limit, tuple(found)) for name, count, limit in listed for found in [count()]),
        Figure("modules of at most 250 lines, percent", 100 * short / len(counted), 95, at_least=True),
        Figure("mocks per 100 tests", mocks_per_hundred_tests(), 2),
    ]


# Run by a process of its own: a command of `edge`, counting how often each .tflite file is parsed.
COUNTED = """
import hashlib, json, sys
from pathlib import Path
from converters.tflite import flatbuffer

parsed, read_root = [], flatbuffer.read_root

def read_and_count(data, *more):
    parsed.append(hashlib.sha256(data).hexdigest())
    return read_root(data, *more)

flatbuffer.read_root = read_and_count
from edge.cli.main import main

try:
    main(sys.argv[2:])
finally:
    packages = ("edge", "converters", "devices", "firmware_tools")
    ours = [name for name in sys.modules if name.partition(".")[0] in packages]
    Path(sys.argv[1]).write_text(json.dumps({"parsed": parsed, "modules": len(ours)}))
"""
NETWORK = """
import keras, numpy
keras.Sequential([
    keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(4),
]).save("network.keras")
numpy.savez("inputs.npz", x=numpy.random.default_rng(0).uniform(0, 1, (40, 16, 16, 3)).astype("float32"))
"""
CONVERT = (
    "convert",
    "network.keras",
    "--to",
    "int8",
    "--preprocess",
    "unit",
    "--calibrate",
    "inputs.npz",
    "--out",
    ".",
)
PROFILE = ("profile", "network-int8.tflite", "--on", "emulated-pi4")


def run_figures() -> list[Figure]:
    """Convert a small network and profile it on an emulated board, and count what both commands parse and load."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _python(folder, NETWORK)
        converted, result = _count(folder, CONVERT)
        profiled, _ = _count(folder, PROFILE)
        return [
            Figure("times edge convert parses its result", converted["parsed"].count(result), 1),
            Figure("times edge profile parses its model", profiled["parsed"].count(result), 1),
            Figure("modules that edge profile loads", profiled["modules"], 110),
        ]


def _count(folder: Path, command: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    _python(folder, COUNTED, "counts.json", *command)
    model = (folder / "network-int8.tflite").read_bytes()
    return json.loads((folder / "counts.json").read_text()), hashlib.sha256(model).hexdigest()


def _python(folder: Path, code: str, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def main() -> int:
    """Print every figure with its limit; return 1 where one is not kept."""
    listing = "--list" in sys.argv[1:]
    counted = figures() + (run_figures() if "--run" in sys.argv[1:] else [])
    for figure in counted:
        sign = ">=" if figure.at_least else "<="
        state = "" if figure.holds else "   NOT KEPT"
        print(f"{figure.name:<55} {figure.value:7.4g}  {sign} {figure.limit:g}{state}")
        for place in figure.places if listing else ():
            print(f"    {place}")
    return 0 if all(figure.holds for figure in counted) else 1


if __name__ == "__main__":
    sys.exit(main())
