"""Real models on emulated boards: instructions that repeat, kernels by name, no time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import devices.solver
from converters.errors import ModelFileError
from devices.contract import Completed, Exit
from devices.emulated.build_cache import DEBIAN_PACKAGES
from devices.emulated.device import create_emulated_device
from devices.emulated.instruction_counts import CountedWindow
from devices.emulated.qemu import find_qemu
from devices.emulated.runtime_choice import set_runtime
from devices.errors import CountError, PreparationError
from devices.messages.model_jobs import ModelSetup
from devices.solver.errors import WheelError
from edge.agent.messages import MarkedRequest
from edge.errors import InputError
from edge.measure import instructions
from edge.measure.instructions import InstructionCount, count_instructions
from edge.measure.kernel_names import Role, role_of
from edge.measure.measurement import Measurement, RuntimeRef
from edge.measure.measurement_files import measurement_from_json
from edge.measure.plan import Plan, quick
from edge.measure.profiling import profile
from edge.report.terminal.measurement_lines import summary
from edge.runtime.errors import CrashedError, RuntimeMissingError


@pytest.fixture(scope="module")
def model(shared_data):
    return shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="module")
def parts(require_part):
    for program in ("qemu-aarch64", "mmdebstrap", "gcc"):
        if shutil.which(program) is None:
            require_part(program, f"apt install {DEBIAN_PACKAGES[program]}")
    try:
        create_emulated_device("emulated-pi4").prepare()
    except (PreparationError, WheelError) as error:
        require_part("packages and wheels for aarch64", str(error))


@pytest.fixture(scope="module")
def own_choices(parts, tmp_path_factory):
    """No choice of a runtime but this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def pi4(model, own_choices, told) -> Measurement:
    return profile(model, create_emulated_device("emulated-pi4"), Plan(), on_step=told.append)


@pytest.fixture(scope="module")
def tiny() -> Path:
    """An int8 model of some thousand instructions."""
    return Path(devices.solver.__file__).with_name("data") / "check-int8.tflite"


def test_instructions_are_stated_with_their_spread_and_nothing_as_time(pi4):
    assert pi4.instructions.per_inference > 5e6
    assert pi4.instructions.spread <= 0.005
    assert pi4.instructions.estimates >= 2
    assert pi4.validity.valid
    assert (pi4.latency_ms, pi4.latency_all_cores_ms, pi4.energy, pi4.memory.peak_rss_bytes) == (None,) * 4
    assert (pi4.windows, pi4.load_ms, pi4.first_ms, pi4.threads) == ((), None, None, 1)
    assert any("emulated milliseconds mean nothing" in note for note in pi4.notes)
    assert any("energy is null" in note for note in pi4.notes)


def test_kernels_are_named_without_times(pi4):
    assert pi4.kernels_reason is None
    assert any("IGEMM" in each.name or "GEMM" in each.name for each in pi4.kernels)
    assert {each.time_us for each in (*pi4.kernels, *pi4.operators)} == {None}
    assert pi4.kernel_profile.invoke_us is None
    assert (pi4.sparse_kernels.ran, pi4.sparse_kernels.of) == (0, 14)


def test_instructions_are_attributed_to_kernels(pi4):
    listed = pi4.instructions.kernels
    assert sum(each.share for each in listed) == pytest.approx(1, abs=0.005)
    assert sum(each.per_inference for each in listed) == pytest.approx(pi4.instructions.per_inference, rel=0.005)
    assert {"gemm", "dwconv"} < {each.family for each in listed}
    assert sum(each.share for each in listed if "_ukernel" in each.name) > 0.9


def test_a_pi_5_needs_fewer_for_8_bits_and_another_kernel_shows_why(tiny, own_choices):
    old, new = (
        count_instructions(create_emulated_device(name), str(tiny), runtime=None, budget_s=0).instructions()
        for name in ("emulated-zero2w", "emulated-pi5")
    )
    assert new.per_inference < 0.9 * old.per_inference
    assert max(old.spread, new.spread) <= 0.005
    for found, has in ((old, False), (new, True)):
        assert any("neondot" in each.name for each in found.kernels) is has


def test_a_second_count_is_the_same(pi4, model):
    again = count_instructions(create_emulated_device("emulated-pi4"), str(model), runtime=None, budget_s=0)
    assert again.instructions().per_inference == pytest.approx(pi4.instructions.per_inference, rel=0.001)
    assert len(again.windows) == 3


def test_the_json_comes_back(pi4):
    assert measurement_from_json(json.loads(json.dumps(pi4.to_json()))) == pi4
    assert pi4.to_json()["device"]["facts"]["kind"] == "emulated"


def test_the_text_fits_80_columns(pi4):
    text = summary(pi4)
    assert max(map(len, text.splitlines())) <= 80
    assert "emulated-pi4 (Raspberry Pi 4 Model B (emulated by" in text
    for words in ("instructions per inference: 7,", "count", "_ukernel", "calls", "VALID", "memory: unknown"):
        assert words in text
    for words in ("time (us)", "latency (ms)", "governor"):
        assert words not in text


def test_steps_are_told(pi4, told):
    assert told == ["facts", "instructions", "kernels"]
    assert len(told) <= replace(Plan(), kernels=False, all_cores=False).steps


def test_another_runtime_has_no_profiler_but_its_kernels_are_counted(tiny, own_choices):
    device = create_emulated_device("emulated-pi3")
    set_runtime(device.name, "tflite-runtime==2.14.0", find_qemu())
    found = profile(tiny, device, quick(Plan()))
    assert (found.runtime.name, found.runtime.version) == ("tflite-runtime", "2.14.0")
    assert (found.kernels, found.sparse_kernels) == (None, None)
    assert "has no kernel profiler" in found.kernels_reason
    assert found.validity.valid
    assert {"ruy", "gemmlowp", "tflite"} & {each.family for each in found.instructions.kernels}


def test_where_qemu_takes_no_plugins_kernels_are_named_and_the_rest_is_refused(
    tiny, own_choices, tmp_path, monkeypatch
):
    qemu = tmp_path / "qemu-aarch64"
    qemu.write_text(f'#!/bin/sh\n[ "$1" = -help ] || exec {shutil.which("qemu-aarch64")} "$@"\n')
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    device = create_emulated_device("emulated-pi4")
    found = profile(tiny, device, Plan())
    assert found.instructions is None
    assert found.kernels
    assert "was built without plugins, so it counts no instructions" in found.validity.reasons[0]
    assert not found.validity.valid
    with pytest.raises(CountError, match="was built without plugins"):
        profile(tiny, device, replace(Plan(), kernels=False))


@pytest.mark.parametrize(("asked", "option"), [({"threads": 4}, "--threads"), ({"cpus": (0,)}, "--cpus")])
def test_what_only_a_board_shows_is_refused(model, asked, option):
    with pytest.raises(InputError, match="asked for") as caught:
        profile(model, create_emulated_device("emulated-pi4"), replace(Plan(), **asked))
    assert option in caught.value.hint


def test_errors_of_the_board_arrive_as_they_are(tiny, own_choices, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tiny.read_bytes()[:1000])
    device = create_emulated_device("emulated-pi4")
    with pytest.raises(ModelFileError):
        count_instructions(device, str(damaged), runtime=None, budget_s=0)
    with pytest.raises(RuntimeMissingError):
        count_instructions(device, str(tiny), runtime="tflite-runtime", budget_s=0)


def test_a_crash_while_counting_names_the_signal(model, own_choices, monkeypatch):
    # A program that crashes as native code does stands in for the real one: no model is known that does it everywhere.
    monkeypatch.setattr(instructions, "_PROGRAM", "import ctypes; ctypes.string_at(0)")
    with pytest.raises(CrashedError, match="died with SIGSEGV while its instructions were counted") as caught:
        count_instructions(create_emulated_device("emulated-pi4"), str(model), runtime=None, budget_s=0)
    assert "Segmentation fault" in caught.value.hint


def test_a_program_that_fails_is_told_with_its_last_words():
    done = Completed(("python3",), Exit(3), b"", b"Traceback\nImportError: no\n")
    with pytest.raises(Exception, match="ended with status 3") as caught:
        instructions._result(MarkedRequest(ModelSetup("model.tflite")), done)
    assert "ImportError: no" in caught.value.hint


def count_of(*totals: int, threads: int = 1) -> InstructionCount:
    """Return a count of windows of 1, 2, 1, ... inferences."""
    windows = tuple(CountedWindow(number, total, {16: total}, threads) for number, total in enumerate(totals, 1))
    lengths = tuple(1 + index % 2 for index in range(len(totals)))
    return InstructionCount(RuntimeRef("ai-edge-litert", "2.1.6"), windows, lengths, ())


def test_the_difference_of_two_lengths_leaves_no_cost_of_a_window():
    found = count_of(1100, 2100, 1100, 2100).instructions()
    assert (found.per_inference, found.spread, found.estimates) == (1000, 0, 3)
    assert [(each.family, each.per_inference, each.share) for each in found.kernels] == [("system libraries", 1000, 1)]


def test_a_sparse_kernel_is_listed_however_little_it_does():
    sparse, dense, rest = (Role(f"xnn_f32_{name}_ukernel", name) for name in ("spmm", "gemm", "vadd"))
    listed = instructions._kernels({dense: 999_000.0, rest: 400.0, sparse: 300.0}, 1e6)
    assert [(each.family, each.per_inference) for each in listed] == [
        ("gemm", 999_000), ("spmm", 300), ("other functions", 400),
    ]  # fmt: skip


def test_counts_that_do_not_repeat_are_invalid():
    assert count_of(100_000, 200_000, 100_400).verdict().valid
    verdict = count_of(100_000, 200_000, 101_000).verdict()
    assert not verdict.valid
    assert verdict.reasons == ("the counts of several run lengths differ by 1.01%, at most 0.5% is allowed",)


def test_counts_of_several_threads_are_invalid():
    assert "2 threads ran" in count_of(100, 200, 100, threads=2).verdict().reasons[0]


@pytest.mark.parametrize(
    ("file", "symbol", "role"),
    [
        ("libpywrap_litert_common.so", "xnn_f32_gemm_minmax_ukernel_7x8__asm_aarch64_neonfma_ld128_2", "gemm"),
        ("libpywrap_litert_common.so", "xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_9p16c__neonv8_mla8_ld64", "dwconv"),
        ("libpywrap_litert_common.so", "xnn_f32_spmm_minmax_ukernel_32x1__aarch64_neonfma", "spmm"),
        ("libpywrap_litert_common.so", "xnn_f32_conv_hwc2chw_ukernel_3x3s2p1c3x4__aarch64_neonfma_2x2", "conv_hwc2chw"),
        ("libpywrap_litert_common.so", "xnn_qd8_f32_qc8w_gemm_minmax_ukernel_4x16c4__neondot", "gemm"),
        ("libpywrap_litert_common.so", "xnn_x32_transposec_ukernel__4x4_multi_mov_zip_neon", "transposec"),
        ("libpywrap_litert_common.so", "xnn_xx_pad_ukernel_p16__neon_u16", "pad"),
        ("libpywrap_litert_common.so", "xnn_compute_gemm", "XNNPACK, around its kernels"),
        ("libpywrap_litert_common.so", "pthreadpool_parallelize_1d", "thread pool"),
        ("libpywrap_litert_common.so", "memmove_or_so", "libpywrap_litert_common.so"),
        ("libc.so.6", "malloc", "system libraries"),
        ("python3.11", "_PyEval_EvalFrameDefault", "Python"),
    ],
)
def test_families_of_functions(file, symbol, role):
    assert role_of(file, symbol).family == role


@pytest.mark.parametrize(
    ("symbol", "name", "family"),
    [
        ("_ZNK8gemmlowp39NEON_64bit_GEMM_Int8Operands_LhsNonzero3RunEPimmPKhS3_mm",
         "gemmlowp::NEON_64bit_GEMM_Int8Operands_LhsNonzero::Run", "gemmlowp"),
        ("_ZN6tflite13optimized_ops6Im2colIaEEvRKNS_10ConvParamsE", "tflite::optimized_ops::Im2col", "tflite"),
        ("_ZN12_GLOBAL__N_113unary_ukernelIiEEvm", "(anonymous)::unary_ukernel", "(anonymous)"),
        ("_ZL4loopv", "loop", "x_tflite.so"),
        ("_ZSt9terminatev", "_ZSt9terminatev", "x_tflite.so"),
    ],
)  # fmt: skip
def test_names_of_cplusplus_functions(symbol, name, family):
    assert role_of("x_tflite.so", symbol) == Role(name, family)


COUNT_MODULES = """
import atexit, sys
from converters.tflite import reader

parsed, parse = [], reader.parse_model
reader.parse_model = lambda *given, **named: parsed.append(given) or parse(*given, **named)
ours = {"edge", "converters", "devices", "firmware_tools"}
atexit.register(lambda: print(len([name for name in sys.modules if name.split(".")[0] in ours]), len(parsed)))

from edge.cli.main import run
sys.exit(run(["profile", *sys.argv[1:]]))
"""


def test_the_command_loads_few_modules_and_parses_the_model_once(tiny, own_choices, tmp_path):
    words = (str(tiny), "--on", "emulated-pi4", "--quick", "--out", str(tmp_path / "out.json"))
    done = subprocess.run([sys.executable, "-c", COUNT_MODULES, *words], capture_output=True, text=True, check=True)
    modules, parsed = map(int, done.stdout.splitlines()[-1].split())
    assert json.loads((tmp_path / "out.json").read_text())["sparse_verdict"]["agrees"] is not False
    assert modules <= 110
    assert parsed == 1
