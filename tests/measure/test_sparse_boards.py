"""The sparse recipes proven on emulated boards: small MobileNetV2s, converted and profiled as a user does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from converters.capture_output import capture_output
from converters.recipes import recipes_named
from devices.emulated.build_cache import DEBIAN_PACKAGES
from devices.emulated.device import create_emulated_device
from devices.emulated.qemu import find_qemu
from devices.emulated.runtime_choice import set_runtime
from devices.errors import PreparationError
from devices.solver.errors import WheelError
from edge.measure.measurement import Measurement
from edge.measure.plan import Plan, quick
from edge.measure.profiling import profile, profile_on
from edge.measure.sparse_verdict import sparse_alarm
from edge.workflows.conversion import ConvertRequest, convert_source

SPARSE = ("sparse", "sparse-fp16", "sparse-int8")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def board(require_part, tmp_path_factory):
    """Return an emulated board by name; choices of runtimes are this module's own."""
    for program in ("qemu-aarch64", "mmdebstrap", "gcc"):
        if shutil.which(program) is None:
            require_part(program, f"apt install {DEBIAN_PACKAGES[program]}")
    try:
        create_emulated_device("emulated-pi4").prepare()
    except (PreparationError, WheelError) as error:
        require_part("packages and wheels for aarch64", str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))

        def of(name, runtime="ai-edge-litert==2.1.6"):
            set_runtime(name, runtime, find_qemu())
            return create_emulated_device(name)

        yield of


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """MobileNetV2 pruned to 80 % in blocks of 2, padded symmetrically by three recipes, and as Keras pads it by one."""
    import keras

    from edge.models import build
    from edge.training.pruning import prune_magnitude

    folder = tmp_path_factory.mktemp("pruned")
    made = {}
    with capture_output():
        for padding, recipes in (("symmetric", SPARSE), ("same", ("sparse",))):
            keras.utils.set_random_seed(5)
            model = build("mobilenet_v2", alpha=0.35, image_size=96, classes=10, padding=padding)
            prune_magnitude(model, 0.8, 2)
            model.save(folder / f"{padding}.keras")
            request = ConvertRequest(
                source=str(folder / f"{padding}.keras"), recipes=recipes_named(recipes), folder=folder, force=True
            )
            made |= {f"{padding} {each.recipe.name}": each.path for each in convert_source(request)}
    return made


@pytest.fixture(scope="module")
def on_pi4(files, board) -> dict[str, Measurement]:
    found = profile_on([board("emulated-pi4")], list(files.values()), quick(Plan()))
    found.check()
    return dict(zip(files, found.measurements, strict=True))


@pytest.mark.parametrize("recipe", SPARSE)
def test_every_1x1_convolution_of_each_recipe_ran_sparse_as_predicted(recipe, on_pi4):
    found = on_pi4[f"symmetric {recipe}"]
    assert (found.sparse_kernels.ran, found.sparse_kernels.of) == (34, 34)
    verdict = found.sparse_verdict
    assert (verdict.agrees, verdict.proof, verdict.text) == (True, "kernel names", "sparse kernels ran: 34 of 34")
    assert (verdict.predicted.target, verdict.predicted.runtime) == ("pi4", "ai-edge-litert==2.1.6")
    assert sum(each.share for each in found.instructions.kernels if each.family == "spmm") > 0.2


def test_all_three_execute_the_same(on_pi4):
    counts = [on_pi4[f"symmetric {recipe}"].instructions.per_inference for recipe in SPARSE]
    assert counts == pytest.approx([np.mean(counts)] * 3, rel=0.002)
    assert max(counts) < 0.8 * on_pi4["same sparse"].instructions.per_inference


def test_keras_own_padding_runs_none_and_the_verdict_names_it(on_pi4):
    found = on_pi4["same sparse"]
    assert (found.sparse_kernels.ran, found.sparse_kernels.of) == (0, 34)
    assert found.sparse_verdict.agrees is True
    assert found.sparse_verdict.text.startswith("sparse kernels ran: none, because operator 0 (CONV_2D) is the first")
    assert "pads (0,1)" in found.sparse_verdict.text
    assert not any(each.family == "spmm" for each in found.instructions.kernels)


@pytest.mark.parametrize(
    ("name", "ran", "text"),
    [
        ("emulated-pi4", False, "sparse kernels ran: none, because tflite-runtime 2.14.0 asks for fp16 arithmetic"),
        ("emulated-pi5", True, "of the instructions); of how many convolutions is unknown here"),
    ],
    ids=["pi4", "pi5"],
)
def test_a_runtime_without_a_profiler_is_proven_by_its_instructions(name, ran, text, files, board):
    device = board(name, "tflite-runtime==2.14.0")
    found = profile(files["symmetric sparse-int8"], device, quick(Plan()))
    assert found.sparse_kernels is None
    verdict = found.sparse_verdict
    assert (verdict.agrees, verdict.any_ran, verdict.proof) == (True, ran, "instructions")
    assert text in verdict.text
    assert verdict.predicted.ran == (34 if ran else 0)
    assert sparse_alarm(found) is None
