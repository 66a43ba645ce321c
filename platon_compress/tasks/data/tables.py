"""Reads labelled rows: text tables, image folders, npz archives, `datasets` names, scikit-learn's digits."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.tasks.data.pictures import as_picture, open_picture, pictures_of
from platon_compress.tasks.data.rows import Origin, Rows
from platon_compress.tasks.data.table_files import Table, read_table
from platon_compress.tasks.data.values import class_labels, text_pairs, texts
from platon_compress.tasks.hub import asked_once, is_fault_of_this_machine, offline_hint, resolve_name

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["Rows", "read_rows", "read_split"]


def read_split(data: "DataSection", split: str, modality: str, seed: int, *, labelled: bool = True) -> Rows:
    """The rows of `split` ("train" or "validation") that a recipe's data section names.

    Texts that are not `labelled` need no label column, and one that is there is not read.
    Raises InputError, in one line, for a missing file, an unknown column or labels that are no classes.
    """
    if data.dataset == "builtin:digits":
        rows = _digits(split, modality)
    elif data.dataset is not None:
        rows = _hub_rows(data, split, modality, labelled)
    else:
        rows = read_rows(Path(str(getattr(data, split))), data, split, modality, labelled=labelled)
    if not len(rows):
        raise InputError(f"the {split} data holds no rows; give a file with at least one example per class")
    return rows.slice(data.train_rows if split == "train" else data.validation_rows, seed)


def read_rows(path: Path, data: "DataSection", split: str, modality: str, *, labelled: bool = True) -> Rows:
    """The rows of one file or image folder."""
    if not path.exists():
        raise InputError(f"data.{split} {str(path)!r} does not exist; give the path of a file or folder")
    if modality == "text":
        return _text_rows(read_table(path, split), data, labelled)
    if path.is_dir():
        return _image_folder(path)
    if path.suffix == ".npz":
        return _npz_rows(path, data, split)
    raise InputError(
        f"data.{split} {path.name!r} is neither a folder of class folders nor an .npz file; give one of them"
    )


def _text_rows(table: Table, data: "DataSection", labelled: bool) -> Rows:
    first = table.column(data.text, "data.text")
    if data.text_pair is None:
        inputs: list[Any] = texts(first, table.origin, data.text)
    else:
        second = table.column(data.text_pair, "data.text_pair")
        inputs = text_pairs(first, second, table.origin, (data.text, data.text_pair))
    return Rows(inputs, _labels(table, data) if labelled else (), table.origin)


def _labels(table: Table, data: "DataSection") -> list[str]:
    values = table.column(data.label, "data.label")
    return class_labels(values, table.origin, table.class_names.get(data.label))


def _hub_rows(data: "DataSection", split: str, modality: str, labelled: bool) -> Rows:
    loaded = _load_dataset(data, data.train_split if split == "train" else data.validation_split)
    wanted = [data.text, data.text_pair] if modality == "text" else [data.image]
    names = getattr((loaded.features or {}).get(data.label), "names", None)
    table = Table(
        {
            name: loaded[name] if name in (*wanted, data.label * labelled) else ()
            for name in loaded.column_names
        },
        Origin(f"{split} split of {data.dataset}"),
        {data.label: names} if names else {},
    )
    if modality == "text":
        return _text_rows(table, data, labelled)
    labels = _labels(table, data)
    return Rows(list(_hub_pictures(table, data.image)), labels, table.origin)


def _load_dataset(data: "DataSection", name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "data.dataset needs the package datasets; pip install 'platon-compress[train]'"
        ) from error
    source = resolve_name(str(data.dataset), "data set")
    try:
        with asked_once(source):
            return datasets.load_dataset(source, data.dataset_config, split=name)
    except Exception as error:  # the hub client raises dozens of types
        if is_fault_of_this_machine(error):
            raise
        raise InputError(
            f"cannot load split {name!r} of dataset {data.dataset!r}: {first_line(error)}{offline_hint(source)}; "
            "check the name, data.dataset_config and the network"
        ) from error


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


def _npz_rows(path: Path, data: "DataSection", split: str) -> Rows:
    name = f"{split} file {path.name}"
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(
                f"{path.name} holds one array without a name; save images and labels with np.savez"
            )
        with archive:
            images = _npz_array(archive, data.image, ("x", "images"), split, path)
            labels = _npz_array(archive, data.label, ("y", "labels"), split, path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot read data.{split} {path.name!r}: {first_line(error)}; mend the file"
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
    parts = (split, *(() if split == "train" else ("val", "test")))
    others = [f"{kinds[0]}_{part}" for part in parts] + [f"{part}_{kinds[1]}" for part in parts]
    for candidate in (name, *others):
        if candidate in archive:
            array = archive[candidate]
            if array.ndim == 0:
                raise InputError(f"{path.name}: {candidate!r} holds one value; give one a row")
            return array
    raise InputError(f"{path.name} holds no array {name!r}; its arrays: {', '.join(archive.files)}")


def _digits(split: str, modality: str) -> Rows:
    """scikit-learn's 1,797 handwritten digits, 8x8; every fifth one is held out for validation."""
    if modality != "image":
        raise InputError("data.dataset builtin:digits holds images; use model.task image-classification")
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
