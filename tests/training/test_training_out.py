"""Where the result cannot be written, the training does not begin."""

from __future__ import annotations

import pytest

from converters.errors import WriteError
from edge.training.training_loop import train
from edge.training.training_settings import TrainingSettings


def test_a_file_in_the_place_of_the_folder_is_found_before_the_work(tmp_path):
    (tmp_path / "taken").write_text("not a folder")
    with pytest.raises(WriteError, match="taken is no folder"):
        train(TrainingSettings(model="no such model", data="no such data", out=tmp_path / "taken" / "x.keras"))
