"""Inputs that could only mislead are refused, each with what was asked, got and available."""

from __future__ import annotations

import numpy as np
import pytest

from converters.errors import CalibrationError
from converters.freezing import Port
from converters.samples import draw_samples, gather

PORT = Port(name="scan", shape=(1, 4, 4, 1), dtype="float32")


def pictures(count, shape=(4, 4, 1)):
    generator = np.random.default_rng(5)
    return [([generator.uniform(-1, 1, shape).astype(np.float32)], index) for index in range(count)]


def gathered(samples):
    return gather(samples, inputs=[PORT], source="scans.npy", seed=3)


def test_gathered_samples_keep_labels_seed_and_a_digest_of_their_content():
    first, again, other = gathered(pictures(5)), gathered(pictures(5)), gathered(pictures(6))
    assert first.labels.tolist() == [0, 1, 2, 3, 4]
    assert first.record == again.record
    assert first.digest != other.digest
    assert first.record.seed == 3


def test_batches_have_one_size_and_repeat_the_last_sample():
    batches = list(gathered(pictures(5)).batches(2))
    assert [inputs[0].shape for inputs in batches] == [(2, 4, 4, 1)] * 3
    np.testing.assert_array_equal(batches[-1][0][0], batches[-1][0][1])


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "scans.npy holds no samples"),
        (pictures(2, (8, 8, 1)), r"input 'scan' takes \[4, 4, 1\], sample 0 of scans.npy has \[8, 8, 1\]"),
        ([([np.full((4, 4, 1), np.nan, np.float32)], None)], "NaN or infinity"),
        ([([np.full((4, 4, 1), np.inf, np.float32)], None)], "NaN or infinity"),
        (
            [([np.full((4, 4, 1), level, np.float32)], None) for level in (0, 1)],
            "every sample of scans.npy is constant",
        ),
        ([([np.zeros((4, 4, 1)), np.zeros(2)], None)], "has 1 inputs .* has 2"),
    ],
)
def test_unusable_samples_are_refused(samples, words):
    with pytest.raises(CalibrationError, match=words) as caught:
        gathered(samples)
    assert caught.value.exit_code == 5
    assert caught.value.hint


def test_drawn_inputs_say_that_they_are_not_real():
    data = draw_samples([PORT], value_range=(0, 255), count=3, seed=1)
    assert data.real is False
    assert data.source == "drawn uniformly from 0 to 255"
    assert 0 <= data.inputs[0].min() < data.inputs[0].max() <= 255
