"""Small real models and real scans, made once; conversions are shared because they are slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import repack, small_files  # noqa: F401  (fixtures)

from converters.artifact.record import SourceRecord
from converters.convert import Conversion, Provenance, Variant, convert
from converters.recipes import recipes_named
from converters.samples import SampleSet, gather
from converters.source import SourceModel, from_keras
from converters.source_files import load_source

ALL_RECIPES = ("fp32", "fp16", "dynamic", "int8", "int8-float", "int16x8")


@dataclass(frozen=True)
class Digits:
    """Scans of handwritten digits as 16x16 gray pictures in [-1, 1]."""

    x: np.ndarray
    y: np.ndarray


@pytest.fixture(scope="session")
def digit_scans() -> Digits:
    """Return scikit-learn's 8x8 scans, each pixel doubled."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pictures = data.images.astype(np.float32) / 8 - 1
    return Digits(np.kron(pictures, np.ones((1, 2, 2), np.float32))[..., np.newaxis], data.target)


@pytest.fixture(scope="session")
def digit_classifier(digit_scans: Digits) -> Any:
    """Train a CNN with batch normalization, a depthwise convolution and a squeeze-and-excite branch: above 90 %."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    inputs = keras.Input((16, 16, 1), name="scan")
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(16, 1, activation="hard_sigmoid", name="excite")(gate)
    x = layers.Multiply(name="scale")([x, gate])
    x = layers.Conv2D(32, 3, strides=2, activation="relu", name="conv")(x)
    x = layers.Flatten(name="flatten")(x)
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    model = keras.Model(inputs, outputs, name="digits")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digit_scans.x[:1500], digit_scans.y[:1500], epochs=8, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="session")
def classifier_file(digit_classifier: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the classifier as a .keras file."""
    path = tmp_path_factory.mktemp("source") / "digits.keras"
    digit_classifier.save(path)
    return path


@pytest.fixture(scope="session")
def source_model(classifier_file: Path) -> SourceModel:
    """Load the classifier as `edge convert` does."""
    return load_source(classifier_file)


@pytest.fixture(scope="session")
def held_out(digit_scans: Digits, source_model: SourceModel) -> SampleSet:
    """Return scans the classifier has not seen, with labels."""
    pairs = [([x], int(y)) for x, y in zip(digit_scans.x[1500:1600], digit_scans.y[1500:1600], strict=True)]
    inputs = source_model.with_static_inputs(batch=1, image_size=None)
    return gather(pairs, inputs=inputs, source="held-out digits", seed=0)


@pytest.fixture(scope="session")
def asking(source_model: SourceModel, held_out: SampleSet) -> Callable[..., Conversion]:
    """Return a maker of conversions of the classifier: `asking(folder, "int8", batch=1, ...)`."""

    def make(
        folder: Path, *recipes: str, model: SourceModel | None = None, batch: int = 1, **fields: Any
    ) -> Conversion:
        source = model or source_model
        record = SourceRecord(name=source.name, kind=source.kind, arguments={}, sha256=None, weights=None,
                              weights_sha256=None)  # fmt: skip
        provenance = Provenance(source=record)
        asked = Conversion(
            model=source, inputs=source.with_static_inputs(batch=batch, image_size=None),
            recipes=recipes_named(recipes),
            calibration=held_out, check=held_out, classes=True, provenance=provenance, name=source.name, folder=folder,
        )  # fmt: skip
        return replace(asked, **fields)

    return make


@pytest.fixture(scope="session")
def artifacts(asking: Callable[..., Conversion], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variant]:
    """Convert the classifier by every recipe, once."""
    made = convert(asking(tmp_path_factory.mktemp("artifacts"), *ALL_RECIPES))
    return {artifact.recipe.name: artifact for artifact in made}


@pytest.fixture(scope="session")
def wrapped() -> Callable[..., SourceModel]:
    """Return a function that wraps a Keras model in memory."""
    return lambda model: from_keras(model, name=model.name, kind="keras")
