"""Images as people have them: every mode and format, turned, broken, truncated, too large."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from converters.artifact.preprocessing import Preprocessing
from converters.errors import MissingPartError
from converters.optional_packages import import_optional
from edge.data.images import is_image, read_image
from edge.errors import DataError, InputError


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("RGB", (10, 200, 90), "png", (10, 200, 90)),
        ("RGB", (10, 200, 90), "bmp", (10, 200, 90)),
        ("RGB", (10, 200, 90), "gif", (10, 200, 90)),
        ("RGBA", (10, 200, 90, 0), "png", (10, 200, 90)),
        ("RGBA", (10, 200, 90, 128), "webp", (10, 200, 90)),
        ("L", 77, "png", (77, 77, 77)),
        ("LA", (77, 0), "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 40000, "png", (156, 156, 156)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "jpg", (255, 0, 0)),
        ("YCbCr", (128, 128, 128), "jpg", (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, tiny, save_image, mode, color, suffix, expected):
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = read_image(save_image(tmp_path / f"p.{suffix}", color, mode=mode, **options), tiny)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (8, 8, 3)
    assert pixels.reshape(-1, 3) == pytest.approx(np.tile(expected, (64, 1)), abs=3)


def test_palette_with_transparent_bytes(tmp_path, tiny):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 250, 20, 30])
    image.save(tmp_path / "p.png", transparency=bytes([255, 10]))
    assert read_image(tmp_path / "p.png", tiny)[0, 0].tolist() == [250, 20, 30]


def test_a_gray_model_gets_one_channel(tmp_path, save_image):
    path = save_image(tmp_path / "p.png", (255, 255, 255))
    assert read_image(path, Preprocessing.for_mode("unit", 8, 8, 1)).shape == (8, 8, 1)


def test_exif_orientation_is_applied(tmp_path, tiny):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the left side comes to the top
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    turned = read_image(tmp_path / "p.png", tiny)
    assert turned[:4].min() == 255
    assert turned[4:].max() == 0


def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path, tiny, noise):
    pixels = noise(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    assert (read_image(tmp_path / "p.png", tiny) == pixels).all()


def test_crop_cuts_the_centre_and_stretch_keeps_all(tmp_path):
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 255  # the middle third
    Image.fromarray(pixels).save(tmp_path / "p.png")
    cropped = read_image(tmp_path / "p.png", Preprocessing.for_mode("tf", 8, 8, 3))
    stretched = read_image(tmp_path / "p.png", Preprocessing.for_mode("tf", 8, 8, 3, resize="stretch"))
    assert cropped[1:-1, 1:-1].min() == 255
    assert stretched[4, 0].max() == 0
    assert stretched[4, 4].min() > 240


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (101, 77), (7, 900)])
def test_any_image_fits_any_size(size, save_image, tmp_path):
    """The part to cut is computed in floating point: rounding must not put it outside the image."""
    image = save_image(tmp_path / "p.png", (10, 20, 30), size=size)
    for side in range(1, 260):
        assert read_image(image, Preprocessing.for_mode("raw", side, side + 3, 3)).shape == (side, side + 3, 3)


def test_shrinking_is_antialiased(tmp_path, tiny):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png", tiny)[4, 4] == pytest.approx([128] * 3, abs=4)


def test_a_very_long_image_does_not_blow_up(tmp_path, tiny, save_image):
    assert read_image(save_image(tmp_path / "p.png", size=(60_000, 1)), tiny).shape == (8, 8, 3)


def test_real_photographs(shared_data):
    preprocessing = Preprocessing.for_mode("tf", 224, 224, 3)
    for name in ("cat", "grace_hopper", "sunflower"):
        pixels = read_image(shared_data / "images" / f"{name}.bmp", preprocessing)
        assert pixels.shape == (224, 224, 3)
        assert pixels.std() > 30


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_image_is_named(tmp_path, tiny, noise, suffix, kept):
    path = tmp_path / f"p.{suffix}"
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError, match=rf"p\.{suffix}") as caught:
        read_image(path, tiny)
    assert caught.value.hint


def test_a_text_named_like_an_image_is_named(tmp_path, tiny):
    path = tmp_path / "notes.jpg"
    path.write_text("no image")
    with pytest.raises(DataError, match=r"notes\.jpg is not an image"):
        read_image(path, tiny)


@pytest.mark.parametrize("times", [1.5, 3])  # Pillow warns above its limit and fails above twice the limit
def test_a_decompression_bomb_is_refused(tmp_path, tiny, save_image, times):
    height = int(times * Image.MAX_IMAGE_PIXELS / 20_000)
    path = save_image(tmp_path / "bomb.png", 0, size=(20_000, height), mode="1")
    with pytest.raises(DataError, match=r"bomb\.png was refused: decoded, it has more than"):
        read_image(path, tiny)


def test_floating_point_pixels_have_no_stated_range(tmp_path, tiny, save_image):
    with pytest.raises(DataError, match=r"p\.tiff: its pixels are floating-point"):
        read_image(save_image(tmp_path / "p.tiff", 0.5, mode="F"), tiny)


def test_a_missing_image_is_an_input_error(tmp_path, tiny):
    with pytest.raises(InputError, match=r"there is no image .*gone\.png"):
        read_image(tmp_path / "gone.png", tiny)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.PNG", True), ("a.jpeg", True), (".a.png", False), ("Thumbs.db", False), ("png", False)]
)
def test_images_are_recognized_by_name(tmp_path, name, expected):
    assert is_image(tmp_path / name) is expected


def test_a_missing_package_is_reported_with_how_to_install_it():
    with pytest.raises(MissingPartError, match="cooking needs no-such-package") as caught:
        import_optional("no_such_package", "no-such-package", "cooking")
    assert "pip install no-such-package" in caught.value.hint
