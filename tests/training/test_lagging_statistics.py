"""Epochs are judged by the network as it is, though its moving averages remember another for a thousand steps."""

from __future__ import annotations

import keras
import pytest

from edge.training.recalibration import lags
from edge.training.training_loop import TrainingCallbacks, train
from edge.training.training_settings import TrainingSettings


def network(momentum):
    """Two convolutions, normalized; new weights."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=momentum)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def test_a_short_training_with_mobilenet_s_momentum_is_judged_fairly(tmp_path):
    network(0.999).save(tmp_path / "slow.keras")
    epochs = []
    settings = TrainingSettings(
        model=str(tmp_path / "slow.keras"), data="digits", out=tmp_path / "m.keras", mode="tf", epochs=3, limit=600,
        learning_rate=0.01,
    )  # fmt: skip
    train(settings, TrainingCallbacks(on_epoch=epochs.append))
    assert epochs[-1].val_loss < epochs[-1].loss + 0.5, [(epoch.loss, epoch.val_loss) for epoch in epochs]


@pytest.mark.parametrize(
    ("momentum", "steps", "lagging"), [(0.999, 4600, True), (0.999, 4700, False), (0.9, 50, False)]
)
def test_when_moving_averages_lag(momentum, steps, lagging):
    assert lags(network(momentum), steps) is lagging
