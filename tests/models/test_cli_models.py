"""`edge models` as a process."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import sys
from edge.cli.main import run
status = run(["models", *sys.argv[1:]])
loaded = [name for name in ("tensorflow", "keras", "numpy") if name in sys.modules]
sys.exit(f"loaded {loaded}" if loaded else status)
"""


def _run(*arguments):
    return subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=False)


def test_the_table_needs_no_tensorflow():
    done = _run()
    assert (done.returncode, done.stderr) == (0, "")
    header, first, *rest = done.stdout.splitlines()
    assert header.split()[:4] == ["name", "parameters", "MACs", "input"]
    assert first.split()[:7] == ["mobilenet_v2", "3,538,984", "300,774,272", "224x224x3", "1000", "71.80", "%"]
    assert len(rest) == 13


def test_json_has_every_fact():
    done = _run("--json")
    assert (done.returncode, done.stderr) == (0, "")
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert len(entries) == 14
    small = entries["simplenet_cifar_310k"]
    assert small["input"] == [32, 32, 3]
    assert small["published"]["top1_percent"] == 91.98
    assert "Caffe original" in small["published"]["source"]
    assert "125.3" in small["preprocessing"]["note"]
    assert small["arguments"] == {"image_size": 32, "classes": 10, "dropout": 0.0}
