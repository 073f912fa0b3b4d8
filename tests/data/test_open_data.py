"""Every kind of source opens, streams, picks and splits alike; what does not fit is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from converters.artifact.preprocessing import Preprocessing
from edge.data.open_data import available_splits, open_data
from edge.errors import DataError, InputError


def test_class_folders(class_folders, tiny, save_image):
    save_image(class_folders / "bright" / ".hidden.png")
    save_image(class_folders / ".git" / "x.png")
    (class_folders / "bright" / "Thumbs.db").write_text("no image")
    (class_folders / "README.txt").write_text("no image")
    source = open_data(class_folders, preprocessing=tiny)
    assert (source.kind, len(source), source.names, source.classes) == ("class-folders", 18, ("bright", "dark"), 2)
    samples = list(source.samples())
    assert [sample.label for sample in samples] == [0] * 12 + [1] * 6
    assert samples[0].name == "bright/00.png"
    assert samples[0].x[0, 0] == pytest.approx(np.array([200, 210, 220]) / 127.5 - 1, abs=1e-5)
    assert samples[0].x.dtype == np.float32


def test_parts_share_one_numbering(tmp_path, class_folders, tiny):
    folder = tmp_path / "data"
    shutil.copytree(class_folders, folder / "train")
    shutil.copytree(class_folders / "dark", folder / "test" / "dark")  # the test part lacks the first class
    assert available_splits(folder) == ("train", "test")
    train, test = (open_data(folder, preprocessing=tiny, split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (18, 6)
    assert test.names == ("bright", "dark")
    assert {sample.label for sample in test.samples()} == {1}
    assert len(open_data(folder, preprocessing=tiny)) == 18


def test_a_part_that_is_not_there(class_folders, tiny):
    with pytest.raises(DataError, match="has no 'test' part: it is not divided"):
        open_data(class_folders, preprocessing=tiny, split="test")
    with pytest.raises(DataError, match="it is not divided"):
        open_data("digits", preprocessing=tiny, split="test")
    with pytest.raises(DataError, match="got 'dev'"):
        open_data("digits", preprocessing=tiny, split="dev")


def test_imagenet200_by_its_labels_file(shared_data):
    source = open_data(shared_data / "imagenet200", preprocessing=Preprocessing.for_mode("tf", 224, 224, 3))
    assert (source.kind, len(source), source.labels_known, source.classes) == ("labels-csv", 200, True, 996)
    assert source.names is None  # only every fifth class is named
    sample = source.sample(1)
    assert (sample.name, sample.label, sample.x.shape) == ("0005.jpg", 5, (224, 224, 3))


def test_labels_file_with_names_of_all_classes(class_folders, tiny):
    (class_folders / "labels.csv").write_text(
        "file,class_index,name\ndark/00.jpg,1,dark\nbright/00.png,0,bright\n", encoding="utf-8-sig"
    )
    source = open_data(class_folders, preprocessing=tiny)
    assert source.names == ("bright", "dark")
    assert [sample.label for sample in source.samples()] == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,label\na.png,0\n", "has the columns filename, label; needed are file, class_index"),
        ("", "has the columns \\(none\\)"),
        ("file,class_index\n", "lists no images"),
        ("file,class_index\nbright/00.png,first\n", "line 2: class_index must be a whole number from 0, got 'first'"),
        ("file,class_index\nbright/00.png,-1\n", "got '-1'"),
        ("file,class_index\nbright/00.png\n", "got ''"),
        ("file,class_index\ngone.png,0\nbright/00.png,0\n", "lists 1 of 2 images that are not there: gone.png"),
    ],
)
def test_a_bad_labels_file(class_folders, tiny, text, message):
    (class_folders / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_data(class_folders, preprocessing=tiny)


def test_a_labels_file_that_is_no_text(class_folders, tiny):
    (class_folders / "labels.csv").write_bytes(b"file,class_index\n\xff\xfe,0\n")
    with pytest.raises(DataError, match="is not a CSV text in UTF-8"):
        open_data(class_folders, preprocessing=tiny)


def test_plain_images_have_no_labels(class_folders, tiny):
    source = open_data(class_folders / "dark", preprocessing=tiny)
    assert (source.kind, len(source), source.labels_known, source.classes) == ("pictures", 6, False, None)
    assert source.sample(0).label is None
    single = open_data(class_folders / "dark" / "00.jpg", preprocessing=tiny)
    assert (single.kind, len(single), single.sample(0).name) == ("picture", 1, "00.jpg")
    with pytest.raises(DataError, match="has no labels") as caught:
        open_data(class_folders / "dark", preprocessing=tiny, labels_needed=True)
    assert "labels.csv" in caught.value.hint


def test_folders_that_cannot_be_understood(tmp_path, class_folders, tiny, save_image):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no images: looked for .*labels\.csv.*\.webp"):
        open_data(tmp_path / "empty", preprocessing=tiny)
    (class_folders / "middle").mkdir()
    with pytest.raises(DataError, match=r"no images in the class folder\(s\) middle"):
        open_data(class_folders, preprocessing=tiny)
    (class_folders / "middle").rmdir()
    save_image(class_folders / "loose.png")
    with pytest.raises(DataError, match=r"1 images next to them \(loose\.png\)"):
        open_data(class_folders, preprocessing=tiny)


def test_nothing_there_is_answered_with_the_nearest(tmp_path, class_folders, tiny):
    with pytest.raises(InputError, match="there is no data at") as caught:
        open_data(tmp_path / "clases", preprocessing=tiny)
    assert "did you mean classes" in caught.value.hint
    with pytest.raises(InputError) as caught:
        open_data("digit", preprocessing=tiny)
    assert "digits" in caught.value.hint


def test_archives_and_other_files(tmp_path, tiny):
    for name, message in (("a.tar.gz", "unpack the archive"), ("a.txt", "images end in")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError, match="is not a data source") as caught:
            open_data(tmp_path / name, preprocessing=tiny)
        assert message in caught.value.hint


def test_a_broken_image_is_named_when_it_is_read(class_folders, tiny):
    (class_folders / "dark" / "03.jpg").write_bytes(b"\xff\xd8\xff")
    source = open_data(class_folders, preprocessing=tiny)
    with pytest.raises(DataError, match=r"dark/03\.jpg"):
        list(source.samples())


def test_digits_are_real_scans(tiny):
    source = open_data("digits", preprocessing=tiny)
    assert (source.kind, len(source), source.classes, source.names[3]) == ("digits", 1797, 10, "3")
    sample = source.sample(0)
    assert sample.x.shape == (8, 8, 3)
    assert (sample.x[..., 0] == sample.x[..., 2]).all()
    assert sample.x.min() == -1.0
    large = open_data("digits", preprocessing=Preprocessing.for_mode("unit", 32, 32, 1))
    assert large.sample(0).x.shape == (32, 32, 1)


def test_pick_is_balanced_and_the_same_for_a_seed(class_folders, tiny):
    source = open_data(class_folders, preprocessing=tiny)
    picked = source.pick(8, seed=3)
    assert np.bincount(picked.labels).tolist() == [4, 4]
    names = [sample.name for sample in picked.samples()]
    assert names == [sample.name for sample in source.pick(8, seed=3).samples()]
    assert names != [sample.name for sample in source.pick(8, seed=4).samples()]
    assert np.bincount(source.pick(16, seed=0).labels).tolist() == [10, 6]
    assert len(source.pick(100)) == 18
    with pytest.raises(DataError, match="at least one"):
        source.pick(0)


def test_split_is_stratified_complete_and_disjoint(class_folders, tiny):
    source = open_data(class_folders, preprocessing=tiny)
    rest, held = source.split(1 / 3, seed=5)
    assert np.bincount(held.labels).tolist() == [4, 2]
    assert sorted([*rest.indices, *held.indices]) == list(range(18))
    assert source.split(1 / 3, seed=5)[1].digest() == held.digest()
    assert source.split(1 / 3, seed=6)[1].digest() != held.digest()
    for fraction in (0.0, 1.0, -1.0):
        with pytest.raises(DataError, match="between 0 and 1"):
            source.split(fraction)


def test_split_of_digits_keeps_the_proportions(tiny):
    source = open_data("digits", preprocessing=tiny)
    _, held = source.split(0.2)
    shares = np.bincount(held.labels) / np.bincount(source.labels)
    assert len(held) in (359, 360)
    assert shares.min() > 0.18
    assert shares.max() < 0.22


def test_split_never_holds_out_the_only_sample_of_a_class(class_folders, tiny, save_image):
    save_image(class_folders / "alone" / "1.png")
    source = open_data(class_folders, preprocessing=tiny)
    for seed in range(10):
        rest, _ = source.split(0.5, seed=seed)
        assert set(rest.labels) == {0, 1, 2}


def test_digest_follows_content_names_and_choice(class_folders, tiny, save_image):
    source = open_data(class_folders, preprocessing=tiny)
    before = source.digest()
    assert open_data(class_folders, preprocessing=tiny).digest() == before
    assert source.pick(17).digest() != before
    save_image(class_folders / "bright" / "00.png", (1, 2, 3))
    assert source.digest() != before


def test_labels_beyond_the_model_are_refused(class_folders, tiny):
    assert len(open_data(class_folders, preprocessing=tiny, classes=2)) == 18
    with pytest.raises(DataError, match=r"the model has 1 classes \(0\.\.0\), but dark/00\.jpg has label 1"):
        open_data(class_folders, preprocessing=tiny, classes=1)


def test_reading_data_does_not_import_tensorflow():
    code = (
        "import sys; from converters.artifact.preprocessing import Preprocessing;"
        "from edge.data.open_data import open_data;"
        "next(open_data('digits', preprocessing=Preprocessing.for_mode('tf', 8, 8, 3)).samples());"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
