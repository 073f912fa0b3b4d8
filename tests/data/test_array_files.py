"""NumPy files: pixels or preprocessed floats, mapped rather than loaded, and wrong scales refused."""

from __future__ import annotations

import numpy as np
import pytest

from converters.artifact.preprocessing import Preprocessing
from edge.data.open_data import available_splits, open_data
from edge.errors import DataError


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npy_of_pixels_is_scaled_here(tmp_path, tiny, noise):
    pixels = noise(5, 8, 8, 3)
    np.save(tmp_path / "x.npy", pixels)
    source = open_data(tmp_path / "x.npy", preprocessing=tiny)
    assert (source.kind, len(source), source.labels_known) == ("npy", 5, False)
    assert isinstance(source.origin.array, np.memmap)
    assert source.sample(2).x == pytest.approx(pixels[2] / 127.5 - 1, abs=1e-5)
    assert source.sample(2).name == "row 2"


@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels"), ("x_train", "y_train")])
def test_npz_with_labels(tmp_path, tiny, noise, keys):
    path = saved(tmp_path / "d.npz", **{keys[0]: noise(4, 8, 8, 3), keys[1]: np.array([[0], [2], [1], [0]])})
    source = open_data(path, preprocessing=tiny)
    assert [sample.label for sample in source.samples()] == [0, 2, 1, 0]
    assert source.classes == 3


def test_npz_stored_plainly_is_mapped_and_compressed_is_read(tmp_path, tiny, noise):
    pixels = np.asfortranarray(noise(4, 8, 8, 3))
    plain = open_data(saved(tmp_path / "p.npz", x=pixels), preprocessing=tiny)
    np.savez_compressed(tmp_path / "c.npz", x=pixels)
    packed = open_data(tmp_path / "c.npz", preprocessing=tiny)
    assert isinstance(plain.origin.array, np.memmap)
    assert not isinstance(packed.origin.array, np.memmap)
    for index in range(4):
        expected = pixels[index] / 127.5 - 1
        assert plain.sample(index).x == pytest.approx(expected, abs=1e-5)
        assert packed.sample(index).x == pytest.approx(expected, abs=1e-5)


def test_npz_in_parts(tmp_path, tiny, noise):
    path = saved(tmp_path / "d.npz", x_train=noise(4, 8, 8, 3), y_train=np.arange(4), x_test=noise(2, 8, 8, 3),
                 y_test=np.arange(2))  # fmt: skip
    assert available_splits(path) == ("train", "test")
    assert len(open_data(path, preprocessing=tiny, split="test")) == 2
    assert len(open_data(path, preprocessing=tiny)) == 4


def test_one_hot_labels_and_names(tmp_path, tiny, noise):
    path = saved(tmp_path / "d.npz", x=noise(3, 8, 8, 3), y=np.eye(3)[[2, 0, 1]], names=np.array(["a", "b", "c"]))
    source = open_data(path, preprocessing=tiny)
    assert source.labels.tolist() == [2, 0, 1]
    assert source.names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.5, 1, 2]), "labels must be class indices"),
        (np.array(["a", "b", "c"]), "labels must be class indices"),
        (np.zeros((3, 4)), "labels must be class indices"),
        (np.array([0, 1]), "3 inputs but 2 labels"),
        (np.array([0, -1, 1]), "start at 0, got -1"),
    ],
)
def test_labels_that_are_none(tmp_path, tiny, noise, labels, message):
    with pytest.raises(DataError, match=message):
        open_data(saved(tmp_path / "d.npz", x=noise(3, 8, 8, 3), y=labels), preprocessing=tiny)


def test_fewer_names_than_labels(tmp_path, tiny, noise):
    path = saved(tmp_path / "d.npz", x=noise(3, 8, 8, 3), y=np.arange(3), names=np.array(["a", "b"]))
    with pytest.raises(DataError, match="2 names, but the largest label is 2"):
        open_data(path, preprocessing=tiny)


def test_unknown_keys_are_listed(tmp_path, tiny, noise):
    with pytest.raises(DataError, match="holds data, target; looked for x_train and y_train"):
        open_data(saved(tmp_path / "d.npz", data=noise(3, 8, 8, 3), target=np.arange(3)), preprocessing=tiny)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 16, 16, 3), "first axis counts"),
        ((8, 8, 3), "first axis counts"),
        ((4, 3, 8, 8), "transpose"),
        ((4, 8, 8, 4), "first axis counts"),
    ],
)
def test_a_wrong_shape_is_refused_with_both_shapes(tmp_path, tiny, noise, shape, message):
    np.save(tmp_path / "x.npy", noise(*shape))
    with pytest.raises(DataError, match=r"takes rows of shape \(8, 8, 3\), got an array of shape") as caught:
        open_data(tmp_path / "x.npy", preprocessing=tiny)
    assert message in caught.value.hint


def test_gray_pixels_fit_colour_models_but_gray_floats_do_not(tmp_path, tiny, noise):
    np.save(tmp_path / "x.npy", noise(4, 8, 8))
    assert open_data(tmp_path / "x.npy", preprocessing=tiny).sample(0).x.shape == (8, 8, 3)
    np.save(tmp_path / "f.npy", noise(4, 8, 8) / 127.5 - 1)
    with pytest.raises(DataError, match="takes rows of shape"):
        open_data(tmp_path / "f.npy", preprocessing=tiny)
    gray = Preprocessing.for_mode("tf", 8, 8, 1)
    assert open_data(tmp_path / "f.npy", preprocessing=gray).sample(0).x.shape == (8, 8, 1)


def test_preprocessed_floats_are_taken_as_they_are(tmp_path, tiny, noise):
    floats = (noise(4, 8, 8, 3) / 127.5 - 1).astype(np.float64)
    np.save(tmp_path / "x.npy", floats)
    assert open_data(tmp_path / "x.npy", preprocessing=tiny).sample(1).x == pytest.approx(floats[1], abs=1e-6)


@pytest.mark.parametrize(
    ("mode", "low", "high"), [("tf", 0, 255), ("tf", 0, 1), ("unit", -1, 1), ("raw", 0, 1), ("torch", 0, 255)]
)
def test_floats_of_another_scale_are_refused(tmp_path, noise, mode, low, high):
    np.save(tmp_path / "x.npy", noise(16, 8, 8, 3) / 255.0 * (high - low) + low)
    with pytest.raises(DataError, match=f"mode '{mode}' gives .* but these span") as caught:
        open_data(tmp_path / "x.npy", preprocessing=Preprocessing.for_mode(mode, 8, 8, 3))
    assert "uint8" in caught.value.hint


def test_a_single_bad_row_is_named_when_it_is_read(tmp_path, tiny, noise):
    floats = noise(1000, 8, 8, 3) / 127.5 - 1
    floats[501, 0, 0, 0] = np.nan
    np.save(tmp_path / "x.npy", floats)
    source = open_data(tmp_path / "x.npy", preprocessing=tiny)
    with pytest.raises(DataError, match=r"row 501: .* 1 values that are no finite numbers"):
        source.sample(501)


def test_other_types_and_damaged_files(tmp_path, tiny, noise):
    np.save(tmp_path / "i.npy", noise(3, 8, 8, 3).astype(np.int64))
    with pytest.raises(DataError, match="uint8 pixels or preprocessed floats, got int64"):
        open_data(tmp_path / "i.npy", preprocessing=tiny)
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "e.npy", noise(0, 8, 8, 3))
    with pytest.raises(DataError, match="has no rows"):
        open_data(tmp_path / "e.npy", preprocessing=tiny)
    (tmp_path / "t.npy").write_bytes((tmp_path / "i.npy").read_bytes()[:200])
    (tmp_path / "t.npz").write_bytes(b"PK\x03\x04 not a zip")
    saved(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    for name in ("o.npy", "t.npy", "t.npz", "o.npz"):
        with pytest.raises(DataError, match=f"{name} is not a NumPy file that can be read"):
            open_data(tmp_path / name, preprocessing=tiny)
