"""Reads labelled pictures: image folders, npz archives, `datasets` names, scikit-learn's digits."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.tasks.data.pictures import as_picture, open_picture, pictures_of
from platon_compress.tasks.data.rows import Origin, Rows
from platon_compress.tasks.data.source import Source
from platon_compress.tasks.data.table_files import Table
from platon_compress.tasks.data.values import class_labels

__all__ = ["DIGITS", "image_rows"]

DIGITS = "builtin:digits"


def image_rows(source: Source) -> Rows:
    """Pictures with one class each; unlabelled ones may lie in one folder.

    Raises InputError for other files, and for pictures that cannot be read.
    """
    if source.data.dataset == DIGITS:
        return _digits(source.split)
    if not source.in_files:
        return _hub_rows(source)
    path = source.path
    if path.is_dir():
        return _image_folder(path) if source.labelled else _pictures_below(path)
    if path.suffix == ".npz":
        return _npz_rows(path, source)
    raise InputError(
        f"data.{source.split} {path.name!r} is neither a folder of class folders nor an .npz file; give one of them"
    )


def _hub_rows(source: Source) -> Rows:
    table = source.table()
    labels: list[str] = []
    if source.labelled:
        names = table.class_names.get(source.named("label"))
        labels = class_labels(source.values(table, "label"), table.origin, names)
    return Rows(list(_hub_pictures(table, source.named("image"))), labels, table.origin)


def _hub_pictures(table: Table, column: str) -> Iterator[np.ndarray]:
    """Every picture as it is decoded, so that one at a time is held beside its array."""
    images = iter(table.column(column, "data.image"))
    for index in range(len(table.column(column, "data.image"))):
        place = table.origin.place(index)
        try:
            image = next(images)
        except Exception as error:  # PIL's decoders raise many types, and `datasets` passes them on
            raise InputError(
                f"the picture in {place} cannot be read: {first_line(error)}; remove it"
            ) from error
        if not hasattr(image, "convert"):
            raise InputError(
                f"{place} holds {'no picture' if image is None else 'a ' + type(image).__name__} under {column}; "
                "name the column of the pictures with data.image"
            )
        yield as_picture(image, place)


def _image_folder(path: Path) -> Rows:
    classes = sorted(folder for folder in _visible(path) if folder.is_dir())
    if len(classes) < 2:
        raise InputError(
            f"image folder {path} has {len(classes)} class folder(s); give one sub-folder per class"
        )
    files = [file for folder in classes for file in _class_files(folder)]
    labels = [file.parent.name for file in files]
    return Rows([open_picture(file) for file in files], labels, Origin(f"image folder {path}", files=files))


def _pictures_below(path: Path) -> Rows:
    """Every file of a folder and of those in it, in the order of their paths."""
    files = [Path(file) for file in sorted(map(str, _files_below(path)))]
    return Rows([open_picture(file) for file in files], (), Origin(f"image folder {path}", files=files))


def _files_below(folder: Path) -> Iterator[Path]:
    for entry in _visible(folder):
        yield from _files_below(entry) if entry.is_dir() else (entry,)


def _class_files(folder: Path) -> list[Path]:
    """The pictures of one class. A folder inside could be a class, a split or a leftover: it is not guessed."""
    entries = sorted(_visible(folder))
    if inner := next((entry for entry in entries if entry.is_dir()), None):
        raise InputError(
            f"class folder {folder} holds the folder {inner.name!r}; put the pictures of a class into its folder itself"
        )
    if not entries:
        raise InputError(f"class folder {folder} holds no pictures; add some, or remove it")
    return entries


def _visible(folder: Path) -> Iterator[Path]:
    """What a person put there: not .ipynb_checkpoints, .DS_Store, or what macOS packs beside the files of an archive."""
    return (e for e in folder.iterdir() if not e.name.startswith(".") and e.name != "__MACOSX")


def _npz_rows(path: Path, source: Source) -> Rows:
    split = source.split
    name = f"{split} file {path.name}"
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(
                f"{path.name} holds one array without a name; save images and labels with np.savez"
            )
        with archive:
            images = _npz_array(archive, source.named("image"), ("x", "images"), split, path)
            if not source.labelled:
                return Rows(pictures_of(images, path.name), (), Origin(name))
            labels = _npz_array(archive, source.named("label"), ("y", "labels"), split, path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot read data.{split} {path.name!r}: {first_line(error)}; fix the file"
        ) from error
    if len(images) != len(labels):
        raise InputError(
            f"{path.name} holds {len(images)} images, but {len(labels)} labels; give one label each"
        )
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    origin = Origin(name)
    return Rows(pictures_of(images, path.name), class_labels(labels.tolist(), origin), origin)


def _npz_array(archive: Any, name: str, kinds: tuple[str, str], split: str, path: Path) -> np.ndarray:
    """The array called `name`, or as Keras (x_train) and MedMNIST (train_images) call theirs."""
    parts = ("train",) if split in ("train", "calibration") else (split, "val", "test")
    others = [f"{kinds[0]}_{part}" for part in parts] + [f"{part}_{kinds[1]}" for part in parts]
    for candidate in (name, *others):
        if candidate in archive:
            array = archive[candidate]
            if array.ndim == 0:
                raise InputError(f"{path.name}: {candidate!r} holds one value; give one a row")
            return array
    raise InputError(f"{path.name} holds no array {name!r}; its arrays: {', '.join(archive.files)}")


def _digits(split: str) -> Rows:
    """scikit-learn's 1,797 handwritten digits, 8x8; every fifth one is held out for validation."""
    if split == "test":
        raise InputError(f"data.dataset {DIGITS} has no test split; leave data.test_split out")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError(
            "the digits come with scikit-learn, which is not installed; pip install 'platon-compress[demo]'"
        ) from error
    digits = load_digits()
    held_out = np.arange(len(digits.target)) % 5 == 0
    chosen = held_out if split == "validation" else ~held_out
    pixels = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)[..., None]
    return Rows(
        list(pixels),
        [str(v) for v in digits.target[chosen]],
        Origin(f"{split} part of scikit-learn's digits"),
    )
