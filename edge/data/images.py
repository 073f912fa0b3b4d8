"""Decodes image files with Pillow and fits them to a model's input size and colours."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.artifact.preprocessing import Pixels, Preprocessing
from converters.optional_packages import import_optional
from edge.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_FILTERS = threading.Lock()
_BROKEN_HINT = "open it in an image viewer; replace it or take it out of the data"


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix; hidden files are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Decode an image file and fit it to a model's input.

    The first frame of an animation is taken, EXIF orientation is applied, transparency is dropped, 16-bit gray keeps
    its upper 8 bits.

    Returns:
        uint8, height x width x channels of the model; RGB order for colour (`Preprocessing.apply` swaps where needed).

    Raises:
        InputError: there is no such file.
        DataError: the file is no image, is broken or truncated, or would be too large when decoded.
        MissingPartError: Pillow is not installed.
    """
    import_optional("PIL.Image", "pillow", "reading images")
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise InputError(f"there is no image {path}", hint="check the path")
    try:
        with _open(path) as image:
            image.load()
            return fit_pixels(_turn_upright(image), preprocessing)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image that can be read", hint=_BROKEN_HINT) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(
            f"{path} was refused: decoded, it has more than {limit} pixels", hint="scale it down first"
        ) from error
    except DataError as error:
        raise DataError(f"{path}: {error}", hint=error.hint) from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise DataError(f"{path} is broken or truncated: {error}", hint=_BROKEN_HINT) from error


def fit_pixels(image: Image, preprocessing: Preprocessing) -> Pixels:
    """Bring a decoded image to the model's colours and size, by the resize policy of the preprocessing.

    An image that already has the size keeps every pixel; otherwise it is resized bilinearly with antialiasing:
    "crop" covers the target and cuts the centre, "stretch" ignores the proportions.

    Raises:
        DataError: the pixels are floating-point numbers, of unknown range.
    """
    plain = _convert_to_8_bit(image, "L" if preprocessing.channels == 1 else "RGB")
    sized = _resize(plain, preprocessing)
    pixels = np.array(sized, dtype=np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _open(path: Path) -> Image:
    """Read the header only; Pillow's warning about too many pixels becomes an error."""
    from PIL import Image

    with _ignore_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path)


def _turn_upright(image: Image) -> Image:
    from PIL import ImageOps

    # Cameras write unreadable EXIF often enough; the pixels are good all the same.
    with _ignore_warnings(), contextlib.suppress(SyntaxError, ValueError, KeyError, TypeError, OSError, OverflowError):
        return ImageOps.exif_transpose(image)
    return image


@contextlib.contextmanager
def _ignore_warnings() -> Iterator[None]:
    """Python keeps one list of warning filters for all threads, and images are read by several."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _convert_to_8_bit(image: Image, mode: str) -> Image:
    from PIL import Image

    if image.mode == "F":
        raise DataError(
            "its pixels are floating-point numbers of unknown range", hint="save it with 8 bits per channel"
        )
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8)).convert(mode)
    if image.mode == "P":
        return image.convert("RGBA").convert(mode)
    return image.convert(mode)


def _resize(image: Image, preprocessing: Preprocessing) -> Image:
    from PIL import Image

    target = (preprocessing.width, preprocessing.height)
    if image.size == target:
        return image
    if preprocessing.resize == "stretch":
        return image.resize(target, Image.Resampling.BILINEAR)
    # The part of the image that has the target's proportions, centred; resizing only it needs no large middle step.
    ratio = min(image.width / target[0], image.height / target[1])
    width, height = min(target[0] * ratio, image.width), min(target[1] * ratio, image.height)  # rounding adds a bit
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(target, Image.Resampling.BILINEAR, box=(left, top, image.width - left, image.height - top))
