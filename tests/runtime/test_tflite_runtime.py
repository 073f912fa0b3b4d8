"""tflite-runtime 2.14.0 in an environment of its own: NumPy before 2, Python 3.11 or older, nothing else."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edge.runtime import load

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-tflite"
PACKAGES = ("tflite-runtime==2.14.0", "numpy<2")
SCRIPT = """
import json, sys
import numpy as np
from edge.runtime import load
from edge.runtime.errors import RuntimeFault

model, source, target = sys.argv[1:]
try:
    with load(model, runtime="tflite-runtime", threads=2) as loaded:
        outputs = loaded.run(*np.load(source).values())
        np.savez(target, *outputs)
        said = {"name": loaded.runtime.name, "version": loaded.runtime.version}
        said["inputs"] = [info.to_json() for info in loaded.inputs]
        said["outputs"] = [info.to_json() for info in loaded.outputs]
except RuntimeFault as error:
    said = {"error": type(error).__name__, "message": str(error)}
said["numpy"] = np.__version__
print(json.dumps(said))
"""


def old_python():
    """Return a Python from 3.10 to 3.11 that runs, or None."""
    names = [sys.executable] if sys.version_info < (3, 12) else []
    for name in [*names, "python3.11", "python3.10"]:
        if shutil.which(name) and not subprocess.run([name, "-c", "import ensurepip"], capture_output=True).returncode:
            return name
    return None


@pytest.fixture(scope="session")
def old_environment(require_part):
    """The Python of the environment; it is made once and kept beside the checkout's own."""
    lock = Path(tempfile.gettempdir()) / f"edge-venv-tflite-{os.getuid()}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        python, complete = FOLDER / "bin" / "python", FOLDER / "complete"
        if not complete.exists():
            make_environment(require_part, python)
            complete.touch()
    return python


def make_environment(require_part, python):
    base = old_python()
    if base is None:
        require_part("Python 3.10 or 3.11", "tflite-runtime 2.14.0 has wheels up to 3.11; apt install python3.11-venv")
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([base, "-m", "venv", FOLDER], check=True, capture_output=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        require_part("tflite-runtime 2.14.0 from the package index", last)


def run_there(python, model, arrays, folder):
    """Run a model in that environment; return what it said and the outputs."""
    np.savez(folder / "in.npz", *arrays)
    done = subprocess.run(
        [python, "-c", SCRIPT, model, folder / "in.npz", folder / "out.npz"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return said, [] if "error" in said else list(np.load(folder / "out.npz").values())


@pytest.mark.slow
def test_a_real_8_bit_model_gives_what_litert_gives(old_environment, shared_data, tmp_path):
    model = shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    pixels = np.load(picture(shared_data, tmp_path))
    said, (there,) = run_there(old_environment, model, [pixels], tmp_path)
    assert (said["name"], said["version"]) == ("tflite-runtime", "2.14.0")
    assert said["numpy"].startswith("1.")
    with load(model) as here:
        (ours,) = here.run(pixels)
        assert said["inputs"] == [info.to_json() for info in here.inputs]
        assert said["outputs"] == [info.to_json() for info in here.outputs]
    assert there.dtype == ours.dtype
    assert int(there.argmax()) == int(ours.argmax()) == 286  # an Egyptian cat
    # Other kernels, other rounding: a few steps of 1/256.
    assert int(np.abs(there.astype(int) - ours.astype(int)).max()) <= 16


def picture(shared_data, folder):
    from converters.artifact.preprocessing import Preprocessing
    from edge.data.images import read_image

    pixels = read_image(shared_data / "images" / "cat.bmp", Preprocessing.for_mode("raw", 224, 224, 3))
    np.save(folder / "cat.npy", pixels[np.newaxis])
    return folder / "cat.npy"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fp32", "fp16", "int8", "sparse", "loop"])
def test_what_the_converter_makes_runs_there_too(old_environment, converted, name, tmp_path):
    with load(converted[name]) as here:
        rng = np.random.default_rng(0)
        arrays = [info.quantize(rng.uniform(-1, 1, info.shape)) for info in here.inputs]
        ours = here.predict(*(info.dequantize(array) for info, array in zip(here.inputs, arrays, strict=True)))
        outputs = here.outputs
    _, there = run_there(old_environment, converted[name], arrays, tmp_path)
    for info, one, two in zip(outputs, ours, there, strict=True):
        np.testing.assert_allclose(info.dequantize(two), one, atol=0.02 if name == "int8" else 1e-3)


@pytest.mark.slow
def test_what_it_cannot_run_is_an_error_of_ours(old_environment, converted, tmp_path):
    with load(converted["dynamic"]) as here:
        arrays = [np.zeros(info.shape, info.dtype) for info in here.inputs]
    said, _ = run_there(old_environment, converted["dynamic"], arrays, tmp_path)
    assert said["error"] == "InferenceError"
    assert "tflite-runtime 2.14.0 refuses the model" in said["message"]


DELEGATES = """
import json, sys
import numpy as np
from edge.runtime import load
from edge.runtime.errors import RuntimeFault

model, *delegates = sys.argv[1:]
said = []
for delegate in delegates:
    try:
        with load(model, runtime="tflite-runtime", delegates=[delegate] if delegate else []) as loaded:
            inputs = [np.zeros(info.shape, info.dtype) for info in loaded.inputs]
            said.append(sorted({int(value) for output in loaded.run(*inputs) for value in np.unique(output)}))
    except RuntimeFault as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


@pytest.mark.slow
def test_external_delegates_load_there_too(old_environment, shared_data, require_part, tmp_path):
    """The same library through the older runtime: it claims a compiled operator, refuses, and is missed."""
    if shutil.which("gcc") is None:
        require_part("a C compiler", "apt install gcc")
    library = tmp_path / "libstand_in.so"
    source = ROOT / "tests" / "coral" / "stand_in.c"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    model = shared_data / "edgetpu_pairs" / "split_concat_edgetpu.tflite"
    delegates = [f"{library};fill=9", f"{library};refuse=no device", f"{library};fail=invoke", "/no/library.so", ""]
    done = subprocess.run(
        [old_environment, "-c", DELEGATES, model, *delegates],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    filled, refused, failed, missed, without = json.loads(done.stdout)
    assert filled == [9]
    assert refused.startswith("DelegateError: tflite-runtime cannot load the delegate")
    assert refused.endswith(": no device")
    assert failed.startswith("InferenceError: tflite-runtime 2.14.0 failed")
    assert "told to fail" in failed
    assert missed.startswith("DelegateError: tflite-runtime cannot load the delegate /no/library.so")
    assert "the file was not run" in without
