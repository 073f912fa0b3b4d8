"""A real measurement, kept as a file, for tests that need one to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.measure.measurement import Measurement
from edge.measure.measurement_files import load_measurements

SAMPLE = Path(__file__).parent / "data" / "mobilenet_v1_0.25_128_quant.json"


@pytest.fixture(scope="session")
def sample_path() -> Path:
    """The file `edge profile` wrote for a real model on a real machine, with tiny windows."""
    return SAMPLE


@pytest.fixture(scope="session")
def sample_measurement(sample_path) -> Measurement:
    """The measurement in it."""
    return load_measurements(sample_path)[0]
