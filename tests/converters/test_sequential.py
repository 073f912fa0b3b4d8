"""A Sequential model, as most people write their first CNN, saved and loaded again: it was never called."""

from __future__ import annotations

import keras
import numpy as np

from converters.source_files import load_source


def test_a_sequential_file_predicts_as_the_model_did(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    model.save(tmp_path / "small.keras")
    inputs = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    source = load_source(tmp_path / "small.keras")
    np.testing.assert_allclose(source.predict([inputs])[0], model(inputs), rtol=1e-5)
