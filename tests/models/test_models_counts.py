"""Parameters and multiply-adds of every registered architecture, to the unit, against published figures."""

from __future__ import annotations

import keras
import pytest
from keras import layers

from edge.errors import InputError
from edge.models import build, specs
from edge.models.layer_counts import SparseCounts, count, sparse_counts
from edge.training.pruning import prunable_layers


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.name)
def test_the_facts_of_an_entry_are_those_of_the_built_model(spec):
    model = build(spec.name)
    counts = count(model)
    assert model.name == spec.name or spec.name == "mobilenet_v2"
    assert model.input_shape == (None, spec.image_size, spec.image_size, 3)
    assert model.output_shape == (None, spec.classes)
    assert counts.parameters == model.count_params() == spec.parameters
    assert (counts.trainable, counts.fused, counts.macs) == (spec.trainable, spec.fused, spec.macs)
    assert counts.trainable == sum(variable.shape.num_elements() for variable in model.trainable_weights)


# alpha: weights, trainable, Keras total, fused, MACs at 224 pixels and 1000 classes
MOBILENET_V2 = {
    1.4: (6_060_840, 6_108_776, 6_156_712, 6_084_808, 582_195_824),
    1.3: (5_342_536, 5_386_792, 5_431_048, 5_364_664, 509_374_560),
    1.0: (3_470_760, 3_504_872, 3_538_984, 3_487_816, 300_774_272),
    0.75: (2_609_784, 2_636_424, 2_663_064, 2_623_104, 209_069_792),
    0.5: (1_950_136, 1_968_680, 1_987_224, 1_959_408, 97_131_840),
    0.35: (1_663_048, 1_677_128, 1_691_208, 1_670_088, 59_285_808),
}


@pytest.mark.parametrize("alpha", MOBILENET_V2)
def test_mobilenet_v2_widths(alpha):
    found = count(build("mobilenet_v2", alpha=alpha))
    assert (found.weights, found.trainable, found.parameters, found.fused, found.macs) == MOBILENET_V2[alpha]


# alpha: fused, MACs, channels of stem, rows and last convolution
OTHER_WIDTHS = {
    0.8: (2_778_528, 222_482_464, (24, 16, 24, 24, 48, 80, 128, 256, 1280)),
    1.15: (4_399_232, 444_241_488, (40, 24, 32, 40, 72, 112, 184, 368, 1472)),
    1.8: (9_330_896, 922_865_824, (56, 32, 40, 56, 112, 176, 288, 576, 2304)),
    2.0: (11_223_976, 1_137_428_224, (64, 32, 48, 64, 128, 192, 320, 640, 2560)),
}


@pytest.mark.parametrize("alpha", OTHER_WIDTHS)
def test_mobilenet_v2_widths_of_sparse_models(alpha):
    model = build("mobilenet_v2", alpha=alpha, padding="symmetric")
    counts = count(model)
    rows = [f"block_{last}_project" if last else "expanded_conv_project" for last in (0, 2, 5, 9, 12, 15, 16)]
    channels = tuple(model.get_layer(name).filters for name in ("Conv1", *rows, "Conv_1"))
    assert (counts.fused, counts.macs, channels) == OTHER_WIDTHS[alpha]


# alpha: fused, MACs
MOBILENET_V1 = {
    0.75: (2_577_352, 325_400_448),
    1.0: (4_221_032, 568_740_352),
    1.4: (7_656_176, 1_094_373_002),
}


@pytest.mark.parametrize("alpha", MOBILENET_V1)
def test_mobilenet_v1_widths(alpha):
    for padding in ("same", "symmetric"):
        counts = count(build("mobilenet_v1", alpha=alpha, padding=padding))
        assert (counts.fused, counts.macs) == MOBILENET_V1[alpha]


def test_efficientnet_lite0_is_b0_without_its_squeeze_and_excite_branches():
    ours = count(build("efficientnet_lite0", padding="symmetric"))
    b0 = keras.applications.EfficientNetB0(weights=None)
    kept = [layer for layer in count(b0).layers if "_se_" not in layer.name and layer.kind != "Normalization"]
    assert [(layer.kind, layer.parameters, layer.macs) for layer in ours.layers] == [
        (layer.kind, layer.parameters, layer.macs) for layer in kept
    ]


# sparsity of the 1x1 convolutions, non-zeros with one bias per channel, MACs that remain
SPARSE = {
    ("mobilenet_v1", 0.75): (0.9, 987_938, 52_282_445),
    ("mobilenet_v1", 1.0): (0.9, 1_395_406, 83_197_235),
    ("mobilenet_v1", 1.4): (0.9, 2_127_243, 145_932_427),
    ("mobilenet_v2", 0.8): (0.85, 1_561_926, 56_447_571),
    ("mobilenet_v2", 1.0): (0.85, 1_681_845, 73_025_408),
    ("mobilenet_v2", 1.15): (0.85, 1_993_610, 101_791_856),
    ("mobilenet_v2", 1.4): (0.85, 2_534_990, 127_806_986),
    ("mobilenet_v2", 1.8): (0.8, 3_827_818, 230_998_995),
    ("mobilenet_v2", 2.0): (0.85, 4_000_091, 226_432_768),
}


@pytest.mark.parametrize(("name", "alpha"), SPARSE)
def test_nonzeros_and_macs_of_sparse_models(name, alpha):
    sparsity, nonzeros, macs = SPARSE[name, alpha]
    model = build(name, alpha=alpha, padding="symmetric")
    shares = {layer.name: sparsity for layer in prunable_layers(model)}
    assert sparse_counts(count(model), shares) == SparseCounts(nonzeros, macs)


def test_nonzeros_of_an_unknown_cost_are_unknown():
    inputs = layers.Input((4, 8))
    model = keras.Model(inputs, layers.Dense(3)(layers.MultiHeadAttention(2, 4)(inputs, inputs)))
    assert sparse_counts(count(model), {}) is None


# alpha: millions of MACs at 192, 160, 128, 96 pixels, printed without decimals
@pytest.mark.parametrize(
    ("alpha", "millions"),
    [(1.0, (221, 154, 99, 56)), (0.75, (153, 107, 69, 39)), (0.5, (71, 50, 32, 18)), (0.35, (43, 30, 20, 11))],
)
def test_mobilenet_v2_resolutions(alpha, millions):
    found = [count(build("mobilenet_v2", alpha=alpha, image_size=side)).macs for side in (192, 160, 128, 96)]
    assert all(abs(macs / 1e6 - printed) < 1 for macs, printed in zip(found, millions, strict=True)), found


# trainable, MACs of each part of MobileNetV2 1.0 at 224 pixels
BLOCKS = {
    "Conv1": (928, 10_838_016),
    "expanded_conv": (896, 10_035_200),
    "block_1": (5_136, 29_202_432),
    "block_2": (8_832, 25_740_288),
    "block_3": (10_000, 15_466_752),
    **dict.fromkeys(("block_4", "block_5"), (14_848, 10_988_544)),
    "block_6": (21_056, 7_564_032),
    **dict.fromkeys(("block_7", "block_8", "block_9"), (54_272, 10_311_168)),
    "block_10": (66_624, 12_719_616),
    **dict.fromkeys(("block_11", "block_12"), (118_272, 22_692_096)),
    "block_13": (155_264, 15_607_872),
    **dict.fromkeys(("block_14", "block_15"), (320_000, 15_476_160)),
    "block_16": (473_920, 23_002_560),
    "Conv_1": (412_160, 20_070_400),
    "predictions": (1_281_000, 1_280_000),
}


def test_mobilenet_v2_block_by_block():
    found = dict.fromkeys(BLOCKS, (0, 0))
    for layer in count(build("mobilenet_v2")).layers:
        name = layer.name.removeprefix("bn_")
        part = next(part for part in BLOCKS if name == part or name.startswith(part + "_"))
        found[part] = (found[part][0] + layer.trainable, found[part][1] + layer.macs)
    assert found == BLOCKS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("simplenet_cifar_5m", (5_521_508, 5_530_596, 5_512_420, 652_174_336)),
        ("simplenet_cifar_310k", (318_212, 320_068, 316_356, 55_793_920)),
    ],
)
def test_simplenet_with_100_classes(name, expected):
    found = count(build(name, classes=100))
    assert (found.trainable, found.parameters, found.fused, found.macs) == expected


def test_a_layer_used_twice_counts_its_values_once():
    inputs = layers.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    found = count(keras.Model(inputs, shared(shared(inputs))))
    assert (found.parameters, found.macs) == (84, 2 * 8 * 8 * 81)


def test_other_kinds_of_convolution():
    model = keras.Sequential(
        [
            layers.Input((8, 8, 4)),
            layers.SeparableConv2D(6, 3, strides=2, padding="same"),
            layers.Conv2DTranspose(5, 2, strides=2),
            layers.Conv2D(10, 3, groups=5, dilation_rate=2),
        ]
    )
    separable, transposed, grouped = count(model).layers
    assert separable.macs == 4 * 4 * (3 * 3 * 4 + 4 * 6)
    assert separable.fused == (9 * 4 + 4) + (4 * 6 + 6)
    assert transposed.macs == 4 * 4 * (2 * 2 * 6 * 5)
    assert grouped.macs == 4 * 4 * (3 * 3 * 1 * 10)


def test_what_is_not_understood_is_unknown_not_zero():
    inputs = layers.Input((4, 8))
    model = keras.Model(inputs, layers.Dense(3)(layers.MultiHeadAttention(2, 4)(inputs, inputs)))
    counts = count(model)
    assert counts.macs is None
    assert counts.fused is None
    assert counts.parameters == model.count_params()
    assert [layer.macs for layer in counts.layers] == [None, 4 * 8 * 3]


def test_open_sizes_are_refused_by_layer_name():
    inputs = layers.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="first")(inputs))
    with pytest.raises(InputError, match="'first'"):
        count(model)


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(InputError, match="Own without a static graph"):
        count(Own())
