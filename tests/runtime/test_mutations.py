"""Thousands of damaged models are given to `edge run`: each ends as a result or as a message, never as a crash."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mutations import mutants

from edge.cli.main import cli
from edge.runtime import load
from edge.workflows.inference import InferenceSession

IN_PROCESS = 2400
REAL_PROCESSES = 100
SEEDS = (20, 21)
MESSAGES = {4: "refused by verification", 5: "refused: pictures do not fit", 9: "refused or failed in the runtime"}


@pytest.fixture(scope="module")
def victims(shared_data, converted, tmp_path_factory):
    """Real models with something that each runs on."""
    folder = tmp_path_factory.mktemp("victims")
    pairs = shared_data / "edgetpu_pairs"
    paths = [
        pairs / f"{name}.tflite" for name in ("mobilenet_v1_0.25_128_quant", "keras_lstm_mnist_ptq", "split_concat")
    ]
    paths += [converted[name] for name in ("int8", "sparse", "loop", "shapes")]
    found = []
    for path in paths:
        source = folder / f"{path.stem}.npz"
        with load(path) as model:
            np.savez(source, **{info.name: np.zeros(info.shape, info.dtype) for info in model.inputs})
        found.append((path.read_bytes(), source))
    found[0] = (found[0][0], shared_data / "images" / "cat.bmp")
    return found


def damaged(victims, count, seed):
    """Yield kind of damage, damaged model, and what the whole model runs on."""
    models = [data for data, _ in victims]
    for index, (data, source) in enumerate(victims):
        share = count // len(victims) + (index < count % len(victims))
        for kind, mutant in mutants(
            [data, *models[:index], *models[index + 1 :]], share, only_first=True, seed=seed + index
        ):
            yield kind, mutant, source


def outcome(arguments, session):
    """Run the command in this process and return what became of it."""
    crashes = session.crashes
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            cli.main(args=arguments, prog_name="edge", standalone_mode=False, obj=session)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code not in MESSAGES or not str(error):
            raise
        return "child crashed, reported as a message" if session.crashes > crashes else MESSAGES[code]
    return "ran"


@pytest.mark.slow
def test_damaged_models_never_crash_the_command(victims, tmp_path, capsys):
    path = tmp_path / "mutant.tflite"
    counts: Counter[str] = Counter()
    with InferenceSession() as session:
        for _, data, source in damaged(victims, IN_PROCESS, SEEDS[0]):
            path.write_bytes(data)
            counts[outcome(["run", str(path), str(source), "--deadline", "20"], session)] += 1
    with capsys.disabled():
        sys.stdout.write(f"\n{IN_PROCESS} damaged models: {told(counts)}\n")
    assert sum(counts.values()) == IN_PROCESS
    assert counts["refused by verification"] > IN_PROCESS / 3
    assert counts["ran"] > IN_PROCESS / 20  # damage to weights is no damage to structure
    assert counts["child crashed, reported as a message"] <= IN_PROCESS / 200


@pytest.mark.slow
def test_damaged_models_never_crash_the_real_process(victims, tmp_path, capsys):
    def status(number, data, source):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(data)
        command = [sys.executable, "-m", "edge", "run", str(path), str(source), "--deadline", "20"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, *MESSAGES), (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert done.stderr.startswith("error: ")
            return MESSAGES[done.returncode]
        return "ran"

    with ThreadPoolExecutor(2) as pool:
        jobs = [(i, data, source) for i, (_, data, source) in enumerate(damaged(victims, REAL_PROCESSES, SEEDS[1]))]
        counts = Counter(pool.map(lambda job: status(*job), jobs))
    with capsys.disabled():
        sys.stdout.write(f"\n{REAL_PROCESSES} damaged models, a process each: {told(counts)}\n")
    assert sum(counts.values()) == REAL_PROCESSES


def told(counts):
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def test_damage_is_the_same_every_time(shared_data):
    data = Path(shared_data / "edgetpu_pairs" / "split_concat.tflite").read_bytes()
    one, two = (list(mutants([data], 50, seed=3)) for _ in range(2))
    assert one == two
    assert sum(mutant != data for _, mutant in one) > 45
