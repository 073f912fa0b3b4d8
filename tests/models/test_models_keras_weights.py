"""Weights from Keras' own files and the word `imagenet`, including what happens without a network."""

from __future__ import annotations

import socket
import zipfile

import keras
import numpy as np
import pytest

from edge.errors import InputError
from edge.models import arguments_of, build
from edge.models.pretrained import fetch, find_pretrained
from edge.models.weights import load_weights

SMALL = {"alpha": 0.35, "image_size": 96}


@pytest.mark.parametrize("name", ["saved.keras", "saved.weights.h5", "saved.h5", "renamed.h5", "legacy.weights.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_keras_files(tmp_path, small, trained, name):
    small_cnn, shaken, _ = small
    path = tmp_path / name
    if name == "renamed.h5":
        trained.save_weights(tmp_path / "first.weights.h5")
        (tmp_path / "first.weights.h5").rename(path)
    elif name == "legacy.weights.h5":
        trained.save(tmp_path / "first.h5")
        (tmp_path / "first.h5").rename(path)
    else:
        (trained.save_weights if name == "saved.weights.h5" else trained.save)(path)
    model = shaken(small_cnn(), seed=9)
    report = load_weights(model, path)
    for ours, theirs in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (report.kind, report.tensors) == (path.suffix[1:], len(model.weights))
    assert report.quantization is None
    assert report.notes == ()


@pytest.mark.parametrize("suffix", ["keras", "weights.h5", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("options", [{"classes": 6}, {"width": 16}])
def test_a_file_of_another_architecture_leaves_the_model_as_it_was(tmp_path, small, trained, suffix, options):
    small_cnn, shaken, _ = small
    path = tmp_path / f"saved.{suffix}"
    (trained.save_weights if suffix == "weights.h5" else trained.save)(path)
    model = shaken(small_cnn(**options), seed=9)
    before = model.get_weights()
    with pytest.raises(InputError, match="could not be put into 'small_cnn'"):
        load_weights(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layers_the_model_has_not_are_not_passed_over(tmp_path, small, trained):
    longer = keras.Model(trained.input, keras.layers.Dense(3)(trained.output))
    longer.save(tmp_path / "longer.keras")
    with pytest.raises(InputError, match=r"the file holds 759 values, the model 741"):
        load_weights(small[0](), tmp_path / "longer.keras")


def test_a_file_of_a_model_with_another_name_is_noted(tmp_path, small):
    theirs = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=4, name="theirs")
    theirs.save(tmp_path / "theirs.keras")
    ours = build("mobilenet_v2", **SMALL, classes=4, padding="symmetric")
    report = load_weights(ours, tmp_path / "theirs.keras")
    assert "'theirs'" in report.notes[0]
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["text.keras", "text.h5", "empty.keras"])
def test_files_that_are_not_what_they_are_called(tmp_path, small, name):
    path = tmp_path / name
    path.write_text("not a model")
    if name == "empty.keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "nothing")
    with pytest.raises(InputError, match=f"{name} could not be put into 'small_cnn'"):
        load_weights(small[0](), path)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("simplenetv1_5m_m1", {}, "keras.applications, which has no simplenetv1_5m_m1"),
        ("mobilenet_v2", {"alpha": 0.6}, r"no mobilenet_v2 weights for alpha 0\.6; it has 0\.35"),
        ("mobilenet_v2", {"classes": 1001}, "have 1000 classes; the model has 1001"),
    ],
)
def test_weights_keras_applications_does_not_have(name, arguments, message):
    with pytest.raises(InputError, match=message):
        find_pretrained(name, arguments_of(name, **arguments))


def test_the_file_keras_applications_would_take(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    stem = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
    for size, name in ((160, f"{stem}_1.0_160.h5"), (200, f"{stem}_1.0_224.h5")):
        file = find_pretrained("mobilenet_v2", arguments_of("mobilenet_v2", image_size=size, padding="symmetric"))
        assert file.name == name
        assert file.path == tmp_path / "models" / name
        assert len(file.notes) == (1 if size == 160 else 2)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_file_in_the_cache_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    theirs = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None)
    file = find_pretrained("mobilenet_v2", arguments_of("mobilenet_v2", **SMALL))
    file.path.parent.mkdir()
    theirs.save(file.path)
    ours = build("mobilenet_v2", **SMALL)
    report = load_weights(ours, "imagenet", name="mobilenet_v2", arguments=SMALL)
    assert (report.kind, report.path, report.classes) == ("imagenet", file.path, 1000)
    np.testing.assert_array_equal(ours.get_layer("predictions").kernel, theirs.get_layer("predictions").kernel)


def test_imagenet_needs_to_know_the_model(small):
    with pytest.raises(InputError, match="for models built by name"):
        load_weights(small[0](), "imagenet")
    with pytest.raises(InputError) as caught:
        load_weights(small[0](), "ImageNet")
    assert caught.value.hint == "write `imagenet`"


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """A weights file whose server is behind a proxy that does not answer; the proxy's socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        for variable in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(variable, address)
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        yield find_pretrained("mobilenet_v2", arguments_of("mobilenet_v2")), server


def _is_told_how_to_get_it_by_hand(error, file):
    assert file.name in str(error)
    assert "could not be downloaded" in str(error)
    assert file.url in error.hint
    assert str(file.path.parent) in error.hint
    assert "--weights FILE" in error.hint
    assert not file.path.exists()


def test_a_network_that_refuses(unreachable):
    file, server = unreachable
    server.close()
    with pytest.raises(InputError, match="refused") as caught:
        fetch(file)
    _is_told_how_to_get_it_by_hand(caught.value, file)


def test_a_network_that_swallows_everything_does_not_hang(unreachable):
    file, _ = unreachable
    with pytest.raises(InputError, match=r"no byte came|timed out") as caught:
        fetch(file, stall_s=0.3)
    _is_told_how_to_get_it_by_hand(caught.value, file)
