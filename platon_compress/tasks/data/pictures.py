"""Pictures of any file type as uint8 arrays [height, width, channels], the way a viewer shows them.

16-bit values are scaled by the range of their type (0..65535 to 0..255), the same for every file; floating-point and
32-bit pixels say nothing of their range and are refused.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError, first_line
from platon_compress.tasks.hub import is_fault_of_this_machine

__all__ = ["as_picture", "open_picture", "pictures_of", "with_channels"]

_GREY = np.array([0.299, 0.587, 0.114])  # the usual weights of red, green and blue (ITU-R 601)


def open_picture(path: Path) -> np.ndarray:
    """The RGB picture in `path`, turned as its camera notes say. Raises InputError, naming the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # PIL warns at 90 million pixels and refuses at twice as many: both are no input of an encoder.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return as_picture(image, str(path))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is too large: {first_line(error)}; scale it down or remove it") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no image that can be read; remove it") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # PIL's decoders raise all of them
        if isinstance(error, InputError) or is_fault_of_this_machine(error):
            raise
        raise InputError(f"{path} is no image that can be read ({first_line(error)}); remove it") from error


def as_picture(image: Any, place: str) -> np.ndarray:
    """A PIL image as uint8 [height, width, 3]. Raises InputError, naming `place`, for pixels of unknown range."""
    from PIL import ImageOps

    # A PNG has at most 16 bits, also where an older Pillow opens it as 32-bit integers.
    deep = image.mode.startswith("I;16") or (image.mode == "I" and getattr(image, "format", None) == "PNG")
    image = ImageOps.exif_transpose(image)
    if deep:
        grey = _from_16_bit(np.asarray(image))
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise InputError(f"{place} holds {kind} pixels of unknown range; save it with 8 or 16 bits")
    return np.asarray(image.convert("RGB"))


def with_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """`picture` [height, width, 1, 3 or 4] with the channels that a model takes: grey repeated, colour weighed.

    A fourth channel (transparency) is left out; a number of channels that is neither stays as it is.
    """
    picture = picture[..., :3] if picture.shape[-1] == 4 and channels != 4 else picture
    if picture.shape[-1] == channels:
        return picture
    if picture.shape[-1] == 1:
        return np.repeat(picture, channels, axis=-1)
    if picture.shape[-1] == 3 and channels == 1:
        return np.round(picture @ _GREY).astype(np.uint8)[..., None]
    return picture


def pictures_of(images: np.ndarray, place: str) -> list[np.ndarray]:
    """An array of pictures [n, height, width], [n, height, width, channels] or [n, channels, height, width].

    Raises InputError for another shape, or a type without a known range.
    """
    shown, counts = f"{images.dtype}{list(images.shape)}", (1, 3, 4)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[-1] not in counts and images.shape[1] in counts:
        images = np.moveaxis(images, 1, -1)
    if images.ndim != 4 or images.shape[-1] not in counts or images.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{place} holds {shown}; needed: uint8 or uint16 [n, height, width], "
            "[n, height, width, channels] or [n, channels, height, width]"
        )
    return list(images if images.dtype == np.uint8 else _from_16_bit(images))


def _from_16_bit(values: np.ndarray) -> np.ndarray:
    return np.round(values.astype(np.float64) / 257).astype(np.uint8)
