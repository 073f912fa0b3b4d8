"""A running agent, and small real models for it."""

from __future__ import annotations

import pytest

from devices.local import LocalDevice
from edge.agent.client import AgentClient


@pytest.fixture(scope="session")
def small_model(shared_data):
    """A classifier of 128 x 128 pictures that takes half a millisecond."""
    return str(shared_data / "edgetpu_pairs" / "mobilenet_v1_0.25_128_quant.tflite")


@pytest.fixture
def agent():
    """A fresh agent on this machine."""
    with AgentClient.on(LocalDevice()) as client:
        yield client
