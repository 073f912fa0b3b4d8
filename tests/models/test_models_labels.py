"""Class names: ImageNet's and those of a file."""

from __future__ import annotations

import pytest

from edge.errors import DataError, InputError
from edge.models.labels import imagenet_labels, read_labels


def test_imagenet_names():
    names = imagenet_labels(1000)
    assert len(names) == len([name for name in names if name]) == 1000
    assert (names[0], names[281]) == ("tench", "tabby")
    assert imagenet_labels(1001) == ("background", *names)


def test_no_other_number_of_imagenet_classes():
    with pytest.raises(InputError, match="10 were asked for"):
        imagenet_labels(10)


@pytest.mark.parametrize("text", ["cat\ndog\n", "\ufeffcat\r\ndog", "0  cat\n1  dog\n\n", "0: cat\n1: dog"])
def test_a_file_of_names(tmp_path, text):
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode())
    assert read_labels(path, classes=2) == ("cat", "dog")


def test_names_that_begin_with_numbers_stay(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("1 euro\n2 euro\n")
    assert read_labels(path) == ("1 euro", "2 euro")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"cat\ndog\n", DataError, "has 2 names; the model has 3 classes"),
        (b"cat\n\ndog\n", DataError, "line 2 of the labels file .* is empty"),
        (b"", DataError, "has 0 names"),
        (b"\xff\xfe\x00", InputError, "not UTF-8"),
    ],
)
def test_files_refused(tmp_path, content, error, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_labels(path, classes=3)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_labels(tmp_path / "none.txt")
