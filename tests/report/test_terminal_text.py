"""Numbers and paragraphs on a terminal."""

from __future__ import annotations

import pytest

from edge.report.formatting import digits, file_size
from edge.report.terminal.text_layout import shorten, wrap


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0, "0"),
        (0.00312, "0.00312"),
        (0.1, "0.100"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
    ],
)
def test_figures_keep_three_significant_digits(value, text):
    assert digits(value) == text


@pytest.mark.parametrize(
    ("size", "text"), [(None, "unknown"), (1872, "1.9 kB"), (525_598, "0.5 MB"), (53_900_000, "53.9 MB")]
)
def test_sizes_have_the_unit_that_shows_them(size, text):
    assert file_size(size) == text


def test_long_names_keep_both_ends_and_long_texts_their_words():
    name = "Convolution (NHWC, " + "x" * 80 + ") IGEMM"
    assert len(shorten(name, 44)) <= 44
    assert shorten(name, 44).startswith("Convolution (NHWC")
    assert shorten(name, 44).endswith("IGEMM")
    assert shorten("SOFTMAX", 44) == "SOFTMAX"
    lines = wrap("word " * 40, "  - ")
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("    word")
