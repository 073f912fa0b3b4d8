"""The recipes edgetpu and edgetpu-compiled: from Keras to files that the forecast maps whole, every value unchanged."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from sketch import Sketch

from converters.convert import convert
from converters.edgetpu import predict_mapping
from converters.edgetpu.compiler import Compiler
from converters.edgetpu.gate import require_mapped
from converters.edgetpu.operator_view import LIMIT, TYPE
from converters.edgetpu.passes import adapt_to_compiler
from converters.errors import ConversionError
from converters.freezing import freeze
from converters.lowering import Lowering
from converters.recipes import recipe_named
from converters.samples import SampleSet
from converters.source import from_keras
from converters.tflite.reader import parse_model
from converters.variant_comparison import HostModel

ZOO = {
    "mobilenet_v1": {"image_size": 96, "padding": "same"},
    "mobilenet_v2": {"image_size": 96, "padding": "symmetric"},
    "efficientnet_lite0": {"image_size": 96, "padding": "symmetric"},
    "simplenetv1_5m_m1": {"image_size": 32},
}


def lowering(model, name="model"):
    source = from_keras(model, name=name, kind="file")
    inputs = source.with_static_inputs(batch=1, image_size=None)
    pictures = np.random.default_rng(1).uniform(-1, 1, (4, *inputs[0].shape[1:])).astype(np.float32)
    samples = SampleSet(source="drawn", seed=1, inputs=(pictures,), labels=None, real=False)
    frozen = freeze(source.call, inputs=inputs, output_names=source.output_names)
    return Lowering(frozen, samples=samples)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), ZOO.items())
def test_the_models_of_the_toolkit_are_mapped_whole(name, arguments):
    from edge.models import build

    lowered = lowering(build(name, classes=10, **arguments), name)
    for interface in ("uint8", "int8"):
        model = lowered.lower(replace(recipe_named("edgetpu"), interface=interface))
        found = predict_mapping(model)
        assert found.fully_mapped, [(each.op, each.reason) for each in found.on_cpu]
        assert not any(each.reason for each in found.operators), "none with a doubt either"
        ends = {model.main.tensors[index].dtype for index in (*model.main.inputs, *model.main.outputs)}
        assert ends == {interface}


@pytest.mark.slow
def test_keras_own_mobilenet_is_mapped_as_a_public_log_says():
    """The counts of f0cal/google-coral#20, but for 5 PADs that are fused today; float ends stay on the CPU."""
    import keras

    lowered = lowering(keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3)))
    found = predict_mapping(lowered.lower(replace(recipe_named("edgetpu"), interface="float32")))
    mapped = Counter(each.op for each in found.operators if each.runs_on == "edgetpu")
    logged = {"ADD": 10, "CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert mapped == logged
    assert [(each.op, each.status) for each in found.on_cpu] == [("QUANTIZE", LIMIT), ("DEQUANTIZE", TYPE)]


@pytest.fixture(scope="module")
def fused():
    """A model whose activations TensorFlow fuses into pools and transposed convolutions; int8, without the passes."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 16, 3))
    x = layers.ReLU()(layers.MaxPooling2D()(layers.Conv2D(8, 3, padding="same", bias_initializer="normal")(inputs)))
    x = layers.ReLU(6.0)(layers.Concatenate()([x, layers.Conv2D(8, 1)(x)]))
    x = layers.ReLU()(layers.AveragePooling2D(2)(x))
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu", bias_initializer="normal")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="relu6", use_bias=False)(x)
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    lowered = lowering(keras.Model(inputs, outputs))
    plain = replace(recipe_named("edgetpu"), lowering="int8")
    return lowered.lower(plain).content, lowered.lower(recipe_named("edgetpu")).content


def test_fused_activations_come_out_and_all_is_mapped(fused):
    before, after = (parse_model(data) for data in fused)
    assert predict_mapping(before).mapped < len(before.main.operators)
    assert predict_mapping(after).fully_mapped
    wanted = {"AVERAGE_POOL_2D", "MAX_POOL_2D", "TRANSPOSE_CONV"}
    assert {op.options.activation for op in after.main.operators if op.name in wanted} <= {None, "NONE"}
    assert "MAX_POOL_2D" in {op.name for op in before.main.operators if op.options.activation == "RELU"}


def test_the_passes_change_no_value(fused):
    before = fused[0]
    after = adapt_to_compiler(parse_model(before)).content
    assert after != before
    runs = [HostModel(data, preserve=True) for data in (before, after)]
    ends = [{end.name: end.index for end in parse_model(data).main.tensors} for data in (before, after)]
    generator = np.random.default_rng(5)
    for _ in range(20):
        picture = [generator.uniform(-2, 2, (1, 16, 16, 3)).astype(np.float32)]
        np.testing.assert_array_equal(*(run.run(picture)[0] for run in runs))
        for name in set(ends[0]) & set(ends[1]):
            left, right = (run.value(end[name]) for run, end in zip(runs, ends, strict=True))
            np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("activation", [1, 3])
@pytest.mark.parametrize("biased", [True, False])
def test_an_activation_in_a_transposed_convolution_comes_out(activation, biased):
    """TRANSPOSE_CONV 4 is the version with a fused activation; the compiler reads up to 3."""
    sketch = Sketch()
    kernel = np.random.default_rng(2).integers(-100, 100, (4, 3, 3, 8))
    inputs = [
        sketch.constant([1, 16, 16, 4]),
        sketch.constant(kernel, "int8", scales=(0.01,)),
        sketch.input((1, 8, 8, 8)),
    ]
    inputs += [sketch.constant([700, -700, 0, 90], scales=())] if biased else []
    options = {"strideW": 2, "strideH": 2, "fusedActivationFunction": activation}
    out = sketch.add("TRANSPOSE_CONV", inputs, (1, 16, 16, 4), version=4, options=("TransposeConvOptions", options))
    if biased:
        bias = sketch._graph.tensors[inputs[3]]
        bias.quantization = schema.QuantizationParametersT()
        bias.quantization.scale, bias.quantization.zeroPoint = np.array([0.005], np.float32), np.zeros(1, np.int64)
    before = sketch.data(out)
    after = adapt_to_compiler(parse_model(before)).content
    assert predict_mapping(parse_model(before)).failures
    assert [(op.name, op.version) for op in parse_model(after).main.operators] == [
        ("TRANSPOSE_CONV", 3 if biased else 2), ("RELU" if activation == 1 else "RELU6", 2),
    ]  # fmt: skip
    assert predict_mapping(parse_model(after)).fully_mapped
    runs = [HostModel(data, preserve=True) for data in (before, after)]
    for seed in range(5):
        picture = [np.random.default_rng(seed).uniform(-60, 60, (1, 8, 8, 8)).astype(np.float32)]
        results = [run.run(picture)[0] for run in runs]
        assert len(np.unique(results[0])) > 2
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("groups", "version"), [(1, 3), (2, 6)])
def test_a_convolution_gets_back_the_version_it_uses(groups, version):
    sketch = Sketch()
    kernel = sketch.weights((8, 3, 3, 8 // groups))
    inputs = [sketch.input((1, 8, 8, 8)), kernel, sketch.constant([0] * 8)]
    options = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    out = sketch.add("CONV_2D", inputs, (1, 8, 8, 8), version=6, options=("Conv2DOptions", options))
    model = adapt_to_compiler(sketch.model(out))
    assert model.main.operators[0].version == version
    assert predict_mapping(model).fully_mapped == (groups == 1)


@pytest.mark.parametrize(("keep", "scales", "version"), [(False, 1, 4), (True, 1, 5), (False, 4, 12)])
def test_a_dense_layer_gets_back_the_version_it_uses(keep, scales, version):
    sketch = Sketch()
    kernel = sketch.weights((4, 8), scales=[0.5] * scales)
    inputs = [sketch.input((1, 8)), kernel, sketch.constant([0] * 4)]
    options = ("FullyConnectedOptions", {"keepNumDims": keep})
    out = sketch.add("FULLY_CONNECTED", inputs, (1, 4), version=12, options=options)
    assert adapt_to_compiler(sketch.model(out)).main.operators[0].version == version


def test_a_file_that_needs_nothing_is_left_as_it_is():
    sketch = Sketch()
    model = sketch.model(sketch.convolution(sketch.input((1, 8, 8, 4)), (1, 8, 8, 8)))
    assert adapt_to_compiler(model) is model


def test_what_stays_on_the_cpu_is_said_and_what_maps_nothing_refused():
    said = []
    sketch = Sketch()
    x = sketch.convolution(sketch.input((1, 8, 8, 4)), (1, 8, 8, 8))
    x = sketch.add("HARD_SWISH", [x], (1, 8, 8, 8))
    some = sketch.model(sketch.convolution(x, (1, 8, 8, 8)))
    require = require_mapped(notify=said.append)
    assert require(some).mapped == 1
    assert require(some).mapped == 1
    assert said[0] == "2 of 3 operators will stay on the CPU: 1 HARD_SWISH, 2 CONV_2D"
    assert "ReLU6" in said[1]
    assert len(said) == 2, "said once, though asked twice"

    sketch = Sketch()
    none = sketch.model(sketch.add("HARD_SWISH", [sketch.input((1, 8, 8, 4))], (1, 8, 8, 4)))
    with pytest.raises(ConversionError, match="operator 0 \\(HARD_SWISH\\) has no counterpart") as caught:
        require(none)
    assert "--force" in caught.value.hint
    assert require_mapped(force=True)(none).mapped == 0


@pytest.fixture(scope="module")
def compiled_by_a_stand_in(asking, tmp_path_factory):
    """STAND-IN for the compiler: copies a file of one edgetpu-custom-op, and says all were mapped."""
    folder = tmp_path_factory.mktemp("stand-in")
    sketch = Sketch()
    x = sketch.add("edgetpu-custom-op", [sketch.input((1, 16, 16, 1), "uint8")], (1, 10), "uint8")
    (folder / "made.bin").write_bytes(sketch.data(x))
    program = folder / "stand_in_compiler"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\nout = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        f"(out / 'model_edgetpu.tflite').write_bytes(pathlib.Path({str(folder / 'made.bin')!r}).read_bytes())\n"
        "print('Edge TPU Compiler version 16.0.384591198\\nModel compiled successfully in 5 ms.\\n')\n"
        "print('CONV_2D                        3          Mapped to Edge TPU')\n"
    )
    program.chmod(0o755)
    asked = asking(tmp_path_factory.mktemp("coral"), "edgetpu", "edgetpu-compiled")
    return {each.recipe.name: each for each in convert(replace(asked, compiler=Compiler(str(program))))}


@pytest.mark.slow
def test_an_artifact_for_the_edge_tpu_is_checked_and_tells_its_forecast(compiled_by_a_stand_in):
    artifact = compiled_by_a_stand_in["edgetpu"]
    value = json.loads(artifact.json_path.read_text())
    assert (value["inputs"][0]["dtype"], value["outputs"][0]["dtype"]) == ("uint8", "uint8")
    assert value["parity"]["accuracy"]["correct"] >= value["parity"]["accuracy"]["reference_correct"] - 3
    assert value["edgetpu"]["of"] == len(parse_model(artifact.data).main.operators)
    assert value["edgetpu"]["mapped"] + len(value["edgetpu"]["on_cpu"]) == value["edgetpu"]["of"]
    assert value["edgetpu"]["compiler"] == "16.0.384591198"


@pytest.mark.slow
def test_a_compiled_artifact_carries_the_parity_of_what_was_compiled_and_the_log(compiled_by_a_stand_in):
    source, artifact = compiled_by_a_stand_in["edgetpu"], compiled_by_a_stand_in["edgetpu-compiled"]
    assert parse_model(artifact.path.read_bytes()).is_edgetpu_compiled
    value = json.loads(artifact.json_path.read_text())
    assert value["parity"] == json.loads(source.json_path.read_text())["parity"]
    assert value["edgetpu"]["mapped"] == 3
    assert value["edgetpu"]["forecast"]["of"] == len(parse_model(source.data).main.operators)
    assert value["inputs"][0]["shape"] == [1, 16, 16, 1]
