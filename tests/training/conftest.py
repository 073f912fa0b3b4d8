"""Small real data for the tests of this room."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge.runtime.preprocessing import Preprocessing


@pytest.fixture
def tiny():
    """The preprocessing of a model with 8x8 colour inputs."""
    return Preprocessing.for_mode("tf", 8, 8, 3)


@pytest.fixture
def save_picture():
    """A function that writes a one-coloured picture and returns its path."""

    def save(path, color=(10, 200, 90), size=(8, 8), mode="RGB", **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, color).save(path, **options)
        return path

    return save


@pytest.fixture
def class_folders(tmp_path, save_picture):
    """A folder of two classes: 12 bright and 6 dark pictures."""
    folder = tmp_path / "classes"
    for index in range(12):
        save_picture(folder / "bright" / f"{index:02}.png", (200 + index, 210, 220))
    for index in range(6):
        save_picture(folder / "dark" / f"{index:02}.jpg", (10 + index, 20, 30))
    return folder


@pytest.fixture
def noise():
    """A function giving uint8 noise of a shape."""
    return lambda *shape: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A classifier of 8x8 pictures into ten classes, with everything that has a state: batch norm, dropout."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.8),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("models") / "tiny.keras"
    model.save(path)
    return path
