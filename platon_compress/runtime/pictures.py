"""Images to pixel arrays, as the image processor of preprocessor_config.json does it.

Resizing is Pillow's on 8-bit pixels, as in transformers' own Pillow processors: equal pixels. Its torchvision ("Fast")
processors round differently while they resize; the pixels then differ by 1/255 at most, before they are normalised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.progress import Progress
from platon_compress.runtime.batches import Engine, Feed
from platon_compress.runtime.folder import ModelFolder
from platon_compress.runtime.numbers import Floats
from platon_compress.runtime.predict import Predictions, first_rows, predictions

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageProcessor", "classify", "open_processor"]

_KNOWN = ("ViT", "DeiT", "Bit", "CLIP", "Siglip")  # resize, crop, rescale, normalise, and nothing else
_FILE = "preprocessor_config.json"
_CURE = "save the image processor again"


@dataclass(frozen=True, kw_only=True)
class ImageProcessor:
    """The steps that are switched on, in this order: resize, crop in the middle, rescale, normalise.

    height, width: size after resizing, or shortest_edge: the shorter side's. None: not resized. crop: (height, width)
    or None. scale: factor of the 8-bit values. mean, std: one per channel, or None.
    """

    height: int | None = None
    width: int | None = None
    shortest_edge: int | None = None
    resample: int = 2
    crop: tuple[int, int] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def pixels(self, image: "Image") -> Floats:
        """float32 [3, height, width] of an RGB image."""
        values = np.asarray(self._resized(image))
        if self.crop is not None:
            values = _cropped(values, *self.crop)
        values = values.astype(np.float32)
        if self.scale is not None:
            values *= np.float32(self.scale)
        if self.mean is not None and self.std is not None:
            values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _resized(self, image: "Image") -> "Image":
        if self.shortest_edge is not None:
            short, long = sorted(image.size)
            other = int(self.shortest_edge * long / short)
            narrow = image.width <= image.height
            size = (self.shortest_edge, other) if narrow else (other, self.shortest_edge)
        elif self.width is not None and self.height is not None:
            size = (self.width, self.height)
        else:
            return image
        return image.resize(size, resample=self.resample)  # type: ignore[arg-type]


def open_processor(folder: ModelFolder) -> ImageProcessor:
    """Raises InputError without preprocessor_config.json, and for processors that do more than the steps above."""
    settings = folder.settings(_FILE)
    if not settings:
        raise InputError(f"{folder.path} holds no {_FILE}; {_CURE} with save_pretrained")
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "none")
    if (
        kind.removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
        not in _KNOWN
    ):
        raise InputError(
            f"the image processor {kind} is not supported; known are those of {', '.join(_KNOWN)}, use transformers"
        )
    try:
        return ImageProcessor(**_resize(settings), **_crop(settings), **_values(settings))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{_FILE} does not fit a {kind} ({first_line(error)}); {_CURE}") from error


def classify(
    folder: ModelFolder,
    engine: Engine,
    processor: ImageProcessor,
    images: Sequence[Any],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Predictions:
    """Of every image: a path, a Pillow image, or uint8 [height, width, 3]. Raises InputError for anything else."""
    if isinstance(images, str | Path | np.ndarray) or not isinstance(images, Sequence):
        raise InputError(f"images must be a list, got a {type(images).__name__}; write [image] for one")
    make = partial(_feed, next(iter(engine.inputs.items())), processor)
    numbered = list(enumerate(images))
    rows = engine.run(numbered, make, first_rows, batch_size=batch_size, progress=progress)
    return predictions(folder, rows)


def _feed(pixels: tuple[str, Any], processor: ImageProcessor, images: Sequence[tuple[int, Any]]) -> Feed:
    name, kind = pixels
    values = [processor.pixels(_opened(number, image)) for number, image in images]
    if len({value.shape for value in values}) > 1:
        raise InputError("images of different sizes do not fit one batch; give batch_size=1")
    return {name: np.stack(values).astype(kind)}


def _opened(number: int, image: Any) -> "Image":
    """Turned as its EXIF data says, in RGB, as transformers' pipelines open it."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError(
            "images need Pillow, which is not installed; run `pip install 'platon-compress[runtime]'`"
        ) from error
    try:
        if isinstance(image, str | Path):
            image = Image.open(image)
        elif isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise InputError(
            f"image {number} cannot be read: {first_line(error)}; give a picture file"
        ) from error


def _resize(settings: dict[str, Any]) -> dict[str, Any]:
    if not settings.get("do_resize", True):
        return {}
    size = settings["size"]
    sides = ("height", "width", "shortest_edge")
    if isinstance(size, int):
        square = settings.get("image_processor_type", "").startswith(("ViT", "DeiT", "Siglip")) or not _crops(
            settings
        )
        found = {"height": size, "width": size} if square else {"shortest_edge": size}
    else:
        found = {side: int(size[side]) for side in sides if size.get(side) is not None}
    if set(found) not in ({"height", "width"}, {"shortest_edge"}):
        raise ValueError(f"size {size}")
    return {**found, "resample": int(settings.get("resample", 2))}


def _crops(settings: dict[str, Any]) -> bool:
    return bool(settings.get("do_center_crop", False))


def _crop(settings: dict[str, Any]) -> dict[str, Any]:
    if not _crops(settings):
        return {}
    size = settings["crop_size"]
    return {"crop": (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))}


def _values(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if settings.get("do_rescale", True):
        found["scale"] = float(settings.get("rescale_factor", 1 / 255))
    if settings.get("do_normalize", True):
        found["mean"] = tuple(float(value) for value in settings["image_mean"])
        found["std"] = tuple(float(value) for value in settings["image_std"])
    return found


def _cropped(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle [height, width] of [h, w, 3]; black around an image that is smaller."""
    missing = [max(0, wanted - have) for wanted, have in zip((height, width), values.shape[:2], strict=True)]
    around = [(-(-gap // 2), gap // 2) for gap in missing]
    padded = np.pad(values, (*around, (0, 0)))
    top, left = ((have - wanted) // 2 for have, wanted in zip(padded.shape[:2], (height, width), strict=True))
    return padded[top : top + height, left : left + width]
