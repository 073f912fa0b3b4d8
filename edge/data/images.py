"""Decode pictures of any kind to the pixels a model takes; the one place where Pillow is used for that."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.data.packages import require_package
from edge.errors import DataError, InputError
from edge.runtime.preprocessing import Pixels, Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_FILTERS = threading.Lock()
_BROKEN_HINT = "open it in a picture viewer; replace it or take it out of the data"


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture; hidden files are not."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def read_picture(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Decode a picture file and fit it to a model's input.

    The first frame of an animation is taken, EXIF orientation is applied, transparency is dropped, 16-bit gray keeps
    its upper 8 bits.

    Returns:
        uint8, height x width x channels of the model; RGB order for colour (`Preprocessing.apply` swaps where needed).

    Raises:
        InputError: there is no such file.
        DataError: the file is no picture, is broken or truncated, or would be too large when decoded.
        MissingPartError: Pillow is not installed.
    """
    require_package("PIL.Image", "pillow", "reading pictures")
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise InputError(f"there is no picture {path}", hint="check the path")
    try:
        with _opened(path) as picture:
            picture.load()
            return fit_pixels(_upright(picture), preprocessing)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture that can be read", hint=_BROKEN_HINT) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(
            f"{path} was refused: decoded, it has more than {limit} pixels", hint="scale it down first"
        ) from error
    except DataError as error:
        raise DataError(f"{path}: {error}", hint=error.hint) from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise DataError(f"{path} is broken or truncated: {error}", hint=_BROKEN_HINT) from error


def fit_pixels(picture: Image, preprocessing: Preprocessing) -> Pixels:
    """Bring a decoded picture to the model's colours and size, by the resize policy of the preprocessing.

    A picture that already has the size keeps every pixel; otherwise it is resized bilinearly with antialiasing:
    "crop" covers the target and cuts the centre, "stretch" ignores the proportions.

    Raises:
        DataError: the pixels are floating-point numbers, whose range nobody stated.
    """
    plain = _eight_bit(picture, "L" if preprocessing.channels == 1 else "RGB")
    sized = _resized(plain, preprocessing)
    pixels = np.array(sized, dtype=np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _opened(path: Path) -> Image:
    """Read the header only; Pillow's warning of a picture beyond its limit of pixels is raised."""
    from PIL import Image

    with _warnings_ignored():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path)


def _upright(picture: Image) -> Image:
    from PIL import ImageOps

    # Cameras write unreadable EXIF often enough; the pixels are good all the same.
    with _warnings_ignored(), contextlib.suppress(SyntaxError, ValueError, KeyError, TypeError, OSError, OverflowError):
        return ImageOps.exif_transpose(picture)
    return picture


@contextlib.contextmanager
def _warnings_ignored() -> Iterator[None]:
    """Python keeps one list of warning filters for all threads, and pictures are read by several."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _eight_bit(picture: Image, mode: str) -> Image:
    from PIL import Image

    if picture.mode == "F":
        raise DataError(
            "its pixels are floating-point numbers of unknown range", hint="save it with 8 bits per channel"
        )
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(np.int64)
        return Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8)).convert(mode)
    if picture.mode == "P":
        return picture.convert("RGBA").convert(mode)
    return picture.convert(mode)


def _resized(picture: Image, preprocessing: Preprocessing) -> Image:
    from PIL import Image

    target = (preprocessing.width, preprocessing.height)
    if picture.size == target:
        return picture
    if preprocessing.resize == "stretch":
        return picture.resize(target, Image.Resampling.BILINEAR)
    # The part of the picture that has the target's proportions, centred; resizing only it needs no large middle step.
    ratio = min(picture.width / target[0], picture.height / target[1])
    width, height = min(target[0] * ratio, picture.width), min(target[1] * ratio, picture.height)  # rounding adds a bit
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    return picture.resize(
        target, Image.Resampling.BILINEAR, box=(left, top, picture.width - left, picture.height - top)
    )
