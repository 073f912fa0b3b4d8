"""Lists the built-in models: one record each, with published figures, their sources, and exact counts.

A new model is one record here and the module with its layers, which is imported only when the model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Argument = int | float | str


@dataclass(frozen=True)
class ModelSpec:
    """The facts of a model that are known without building it. Counts are for the default arguments.

    Attributes:
        name: the name for `build`.
        target: "module:attribute" of the function that builds it; called with `variant` and all of `defaults`.
        defaults: every accepted argument with its default value.
        parameters: Keras' count: kernels, biases and four values per batch-normalized channel.
        trainable: the same without moving means and variances.
        fused: one kernel and one bias per layer, batch normalization folded: what an artifact stores.
        macs: multiply-adds of convolutions and dense layers for one picture.
        mode: preprocessing mode of keras.applications ("tf": [-1, 1]; "torch": ImageNet mean and deviation).
        dataset: the data that the published figure was measured on.
        top1_percent: published top-1 accuracy, None where none is published.
        top1_source: where that figure is published.
        source: paper and repository of the architecture.
        keras_weights: whether keras.applications offers trained weights.
        preprocessing_note: how the source's own preprocessing differs from `mode`.
    """

    name: str
    target: str
    defaults: Mapping[str, Argument]
    parameters: int
    trainable: int
    fused: int
    macs: int
    mode: str
    dataset: str
    source: str
    top1_percent: float | None = None
    top1_source: str | None = None
    keras_weights: bool = False
    preprocessing_note: str | None = None
    variant: Mapping[str, Argument] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments `build` accepts for this model."""
        return tuple(self.defaults)

    @property
    def classes(self) -> int:
        """The default number of classes."""
        return int(self.defaults["classes"])

    @property
    def image_size(self) -> int:
        """The default height and width, pixels."""
        return int(self.defaults["image_size"])


_SIMPLENET = "arXiv 1608.06037; layout of github.com/Coderx7/SimpleNet_Pytorch"
_CIFAR_NOTE = "the source normalizes per channel: (pixel - (125.3, 123.0, 113.9)) / (63.0, 62.1, 66.7)"
# name: parameters (Keras), trainable, fused, MACs, ImageNet top-1 in percent
_SIMPLENET_IMAGENET = {
    "simplenetv1_small_m1_05": (1_511_336, 1_506_792, 1_502_248, 340_923_392, 61.122),
    "simplenetv1_small_m2_05": (1_511_336, 1_506_792, 1_502_248, 427_627_520, 61.67),
    "simplenetv1_small_m1_075": (3_294_088, 3_287_272, 3_280_456, 758_853_120, 67.784),
    "simplenetv1_small_m2_075": (3_294_088, 3_287_272, 3_280_456, 953_937_408, 68.506),
    "simplenetv1_5m_m1": (5_761_896, 5_752_808, 5_743_720, 1_341_761_536, 71.548),
    "simplenetv1_5m_m2": (5_761_896, 5_752_808, 5_743_720, 1_688_578_048, 72.03),
    "simplenetv1_9m_m1": (9_520_744, 9_508_968, 9_497_192, 2_774_249_984, 73.792),
    "simplenetv1_9m_m2": (9_520_744, 9_508_968, 9_497_192, 3_554_587_136, 74.23),
}
# name: parameters (Keras), trainable, fused, MACs, CIFAR-10 top-1 in percent, source of the latter
_SIMPLENET_CIFAR = {
    "simplenet_cifar_5m": (
        5_507_466, 5_498_378, 5_489_290, 652_151_296, 95.32,
        "github.com/Coderx7/SimpleNet, the Caffe original (batch normalization on layers 1-10 only)",
    ),
    "simplenet_cifar_5m_extra_pool": (
        5_507_466, 5_498_378, 5_489_290, 631_507_456, 95.51, "github.com/Coderx7/SimpleNet_Pytorch, README and log",
    ),
    "simplenet_cifar_310k": (
        314_218, 312_362, 310_506, 55_788_160, 91.98,
        "github.com/Coderx7/SimpleNet, the Caffe original (batch normalization on layers 1-10 only)",
    ),
}  # fmt: skip


def _cifar(name: str) -> ModelSpec:
    parameters, trainable, fused, macs, top1, top1_source = _SIMPLENET_CIFAR[name]
    return ModelSpec(
        name=name,
        target="edge.models.simplenet:simplenet_cifar",
        variant={"name": name},
        defaults={"image_size": 32, "classes": 10, "dropout": 0.0},
        parameters=parameters,
        trainable=trainable,
        fused=fused,
        macs=macs,
        mode="tf",
        dataset="CIFAR-10",
        top1_percent=top1,
        top1_source=top1_source,
        source=_SIMPLENET,
        preprocessing_note=_CIFAR_NOTE,
    )


def _imagenet(name: str) -> ModelSpec:
    parameters, trainable, fused, macs, top1 = _SIMPLENET_IMAGENET[name]
    return ModelSpec(
        name=name,
        target="edge.models.simplenet:simplenet_imagenet",
        variant={"name": name},
        defaults={"image_size": 224, "classes": 1000, "padding": "symmetric", "dropout": 0.0},
        parameters=parameters,
        trainable=trainable,
        fused=fused,
        macs=macs,
        mode="torch",
        dataset="ImageNet",
        top1_percent=top1,
        top1_source="github.com/Coderx7/SimpleNet_Pytorch, results-imagenet.csv (224 px, bicubic, crop 0.875)",
        source=_SIMPLENET,
    )


BUILT_IN: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="mobilenet_v2",
        target="edge.models.mobilenet:mobilenet_v2",
        defaults={"alpha": 1.0, "image_size": 224, "classes": 1000, "padding": "same"},
        parameters=3_538_984,
        trainable=3_504_872,
        fused=3_487_816,
        macs=300_774_272,
        mode="tf",
        dataset="ImageNet",
        top1_percent=71.8,
        top1_source="github.com/tensorflow/models, research/slim/nets/mobilenet README (1.0, 224 px)",
        source="arXiv 1801.04381; layout of keras.applications",
        keras_weights=True,
    ),
    ModelSpec(
        name="mobilenet_v1",
        target="edge.models.mobilenet:mobilenet_v1",
        defaults={"alpha": 1.0, "image_size": 224, "classes": 1000, "padding": "same"},
        parameters=4_253_864,
        trainable=4_231_976,
        fused=4_221_032,
        macs=568_740_352,
        mode="tf",
        dataset="ImageNet",
        top1_percent=70.9,
        top1_source="github.com/tensorflow/models, research/slim/nets/mobilenet_v1.md (1.0, 224 px)",
        source="arXiv 1704.04861",
    ),
    ModelSpec(
        name="efficientnet_lite0",
        target="edge.models.efficientnet_lite:efficientnet_lite0",
        defaults={"image_size": 224, "classes": 1000, "padding": "same", "dropout": 0.2},
        parameters=4_694_024,
        trainable=4_652_008,
        fused=4_631_000,
        macs=385_187_552,
        mode="tf",
        dataset="ImageNet",
        top1_percent=75.1,
        top1_source="github.com/tensorflow/tpu, models/official/efficientnet/lite README (float, 224 px)",
        source="arXiv 1905.11946; layout of github.com/tensorflow/tpu, models/official/efficientnet/lite",
        preprocessing_note="the source uses (pixel - 127) / 128",
    ),
    *(_cifar(name) for name in _SIMPLENET_CIFAR),
    *(_imagenet(name) for name in _SIMPLENET_IMAGENET),
)
