"""Reads labelled rows: text tables, image folders, npz archives, `datasets` names, scikit-learn's digits."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError, MissingExtraError, first_line

if TYPE_CHECKING:
    import pandas as pd

    from platon_compress.recipe import DataSection

__all__ = ["Rows", "read_rows", "read_split"]

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Rows:
    """Raw examples of one split: `inputs` are texts, pairs of texts, or uint8 images; `labels` are strings.

    Unlabelled rows have no `labels` at all.
    """

    inputs: Sequence[Any]
    labels: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def slice(self, rows: int | None, seed: int) -> "Rows":
        """A random subset of `rows` rows in their first order; all rows when there are not more."""
        if rows is None or rows >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:rows])
        return Rows(
            [self.inputs[i] for i in chosen], [self.labels[i] for i in chosen] if len(self.labels) else ()
        )


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
        return _text_rows(_read_table(path, split), data, f"{split} file {path.name}", labelled)
    if path.is_dir():
        return _image_folder(path)
    if path.suffix == ".npz":
        return _npz_rows(path, data, split)
    raise InputError(
        f"data.{split} {path.name!r}: images come from a folder of class folders or an .npz file"
    )


def _read_table(path: Path, split: str) -> "pd.DataFrame":
    import pandas as pd

    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": lambda p: pd.read_csv(p, keep_default_na=False, dtype=str),
        # GLUE's .tsv files hold bare quote characters inside sentences.
        ".tsv": lambda p: pd.read_csv(p, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False, dtype=str),
        ".json": lambda p: pd.read_json(
            p, dtype=False, lines=not p.read_text("utf-8")[:64].lstrip().startswith("[")
        ),
        ".jsonl": lambda p: pd.read_json(p, dtype=False, lines=True),
        ".parquet": pd.read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"data.{split} {path.name!r} is none of {' '.join(_TABLES)}; convert it to one of them"
        )
    try:
        return reader(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read data.{split} {path.name!r}: {first_line(error)}; mend the file"
        ) from error


def _text_rows(table: "pd.DataFrame", data: "DataSection", where: str, labelled: bool) -> Rows:
    texts = _column(table, data.text, "data.text", where)
    labels = _label_strings(_column(table, data.label, "data.label", where), where) if labelled else []
    if data.text_pair is None:
        return Rows([str(t) for t in texts], labels)
    pairs = _column(table, data.text_pair, "data.text_pair", where)
    return Rows([(str(a), str(b)) for a, b in zip(texts, pairs, strict=True)], labels)


def _column(table: "pd.DataFrame", name: str, key: str, where: str) -> list[Any]:
    if name not in table.columns:
        raise InputError(
            f"{key} is {name!r}, but the {where} has no such column; its columns: "
            f"{', '.join(map(str, table.columns))}"
        )
    return list(table[name])


def _label_strings(labels: Sequence[Any], where: str) -> list[str]:
    """Class names as strings; refuses fractions, which belong to regression."""
    for row, label in enumerate(labels):
        if isinstance(label, float | np.floating) and not float(label).is_integer():
            raise InputError(
                f"label {label!r} in row {row} of the {where} is a number with a fraction; "
                "this tool trains classifiers, so give class names or class numbers"
            )
        if label is None or str(label) == "":
            raise InputError(f"row {row} of the {where} has no label; remove the row or fill it in")
    return [str(int(v)) if isinstance(v, float | np.floating) else str(v) for v in labels]


def _hub_rows(data: "DataSection", split: str, modality: str, labelled: bool) -> Rows:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "data.dataset needs the package datasets; pip install 'platon-compress[train]'"
        ) from error
    name = data.train_split if split == "train" else data.validation_split
    try:
        table = datasets.load_dataset(str(data.dataset), data.dataset_config, split=name)
    except Exception as error:  # the hub client raises dozens of types
        raise InputError(
            f"cannot load split {name!r} of dataset {data.dataset!r}: {first_line(error)}; "
            "check the name, data.dataset_config and the network"
        ) from error
    names = getattr(table.features.get(data.label), "names", None)
    where = f"{split} split of {data.dataset}"
    if modality == "image":
        images = [
            np.asarray(image.convert("RGB"))
            for image in _dataset_column(table, data.image, "data.image", where)
        ]
        labels = _dataset_column(table, data.label, "data.label", where)
        return Rows(images, [names[v] if names else str(v) for v in labels])
    frame = table.to_pandas()
    if names and labelled:
        frame[data.label] = [names[v] for v in frame[data.label]]
    return _text_rows(frame, data, where, labelled)


def _dataset_column(table: Any, name: str, key: str, where: str) -> Any:
    if name not in table.column_names:
        raise InputError(
            f"{key} is {name!r}, but the {where} has no such column; its columns: {', '.join(table.column_names)}"
        )
    return table[name]


def _image_folder(path: Path) -> Rows:
    from PIL import Image, UnidentifiedImageError

    classes = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if len(classes) < 2:
        raise InputError(
            f"image folder {path} has {len(classes)} class folder(s); give one sub-folder per class"
        )
    images, labels = [], []
    for folder in classes:
        for file in sorted(f for f in folder.iterdir() if f.is_file()):
            try:
                with Image.open(file) as image:
                    images.append(np.asarray(image.convert("RGB")))
            except (UnidentifiedImageError, OSError) as error:
                raise InputError(f"{file} is no image that can be read; remove it") from error
            labels.append(folder.name)
    return Rows(images, labels)


def _npz_rows(path: Path, data: "DataSection", split: str) -> Rows:
    try:
        with np.load(path, allow_pickle=False) as archive:
            images = _npz_array(archive, data.image, ("x_" + split, "x_test" * (split != "train")), path)
            labels = _npz_array(archive, data.label, ("y_" + split, "y_test" * (split != "train")), path)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot read data.{split} {path.name!r}: {first_line(error)}; mend the file"
        ) from error
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or len(images) != len(labels):
        raise InputError(
            f"{path.name}: images {images.dtype}{list(images.shape)} with {len(labels)} labels; "
            "needed: uint8 [n, height, width] or [n, height, width, channels] and n labels"
        )
    return Rows(
        list(images if images.ndim == 4 else images[..., None]), _label_strings(labels.tolist(), path.name)
    )


def _npz_array(archive: Any, name: str, others: Sequence[str], path: Path) -> np.ndarray:
    for candidate in (name, *others):
        if candidate and candidate in archive:
            return archive[candidate]
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
    return Rows(list(pixels), [str(v) for v in digits.target[chosen]])
