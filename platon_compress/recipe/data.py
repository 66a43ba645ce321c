"""The data section of a recipe, and which of its keys each task uses, with the columns that a task takes for granted."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import model_validator

from platon_compress.recipe.fields import NUMBER, Section, Text, Texts, about, limited

__all__ = [
    "COLUMN_KEYS",
    "DATASET_KEYS",
    "DATA_KEYS",
    "FILE_KEYS",
    "TRAINABLE_TASKS",
    "DataSection",
    "Problem",
    "unused_data_keys",
]

Problem = Literal["single-label", "multi-label", "regression"]

# By task, the keys that name a column, each with the column that is read where the recipe names none; None: no column.
_COLUMNS: Mapping[str, Mapping[str, str | None]] = {
    "text-classification": {"text": "text", "text_pair": None, "label": "label"},
    "token-classification": {"text": "tokens", "label": "ner_tags"},
    "question-answering": {"text": "question", "text_pair": "context", "label": "answers", "group": None},
    "sentence-similarity": {"text": "text", "text_pair": "text_pair", "label": "label", "negative": None},
    "text-ranking": {"text": "query", "text_pair": "passage", "label": "label", "group": None},
    "image-classification": {"image": "image", "label": "label"},
}
_OF_TEXTS = ("max_length",)
# By task, what it uses beside its columns and the sources of the rows, which all tasks share.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "text-classification": (*_OF_TEXTS, "problem", "label_columns"),
    "token-classification": (*_OF_TEXTS, "document_stride"),
    "question-answering": (*_OF_TEXTS, "document_stride"),
    "sentence-similarity": _OF_TEXTS,
    "text-ranking": _OF_TEXTS,
    "image-classification": (),
}
TRAINABLE_TASKS = tuple(_COLUMNS)
COLUMN_KEYS = ("text", "text_pair", "image", "label", "label_columns", "negative", "group")
_SPLITS = ("train", "validation", "test")
FILE_KEYS = (*_SPLITS, "calibration")
_SPLIT_KEYS = tuple(f"{key}_split" for key in _SPLITS)
_SLICE_KEYS = ("train_rows", "validation_rows")
DATASET_KEYS = ("dataset", "dataset_config", *_SPLIT_KEYS, *_SLICE_KEYS, *COLUMN_KEYS)
"""What describes a data set of the hub, and goes with it where files are named instead."""
DATA_KEYS: Mapping[str, tuple[str, ...]] = {
    task: (*FILE_KEYS, "dataset", "dataset_config", *_SPLIT_KEYS, *_SLICE_KEYS, *columns, *_OTHERS[task])
    for task, columns in _COLUMNS.items()
}
"""By task, every key of the data section that it uses."""


def _default(key: str) -> str:
    """What the key stands for where a recipe leaves it out, task by task."""
    by_column: dict[str, list[str]] = {}
    for task, columns in _COLUMNS.items():
        if columns.get(key) is not None:
            by_column.setdefault(str(columns[key]), []).append(task)
    return "; ".join(f"`{column}` ({', '.join(tasks)})" for column, tasks in by_column.items())


class DataSection(Section):
    """Where the examples come from: `train` and `validation`, or `dataset`. A task refuses keys it does not use."""

    train: Text | None = about(
        "Training rows: a file (.csv .tsv .json .jsonl .parquet; .conll for token-classification, SQuAD's .json for "
        "question-answering), an .npz file, or a folder of images with one subfolder per class. Relative paths start "
        "at the current folder.",
        None,
    )
    validation: Text | None = about("Validation rows, like `train`.", None)
    test: Text | None = about(
        "Test rows, like `train`: used only for the final measurements, never to choose anything.", None
    )
    calibration: Text | None = about(
        "For `compress` with a `oneshot` section: a few hundred rows, like `train`; labels are ignored. Plain texts may be "
        "a .txt file with one per line.",
        None,
    )
    dataset: Text | None = about(
        "A Hugging Face `datasets` name instead of files; `builtin:digits` stands for scikit-learn's handwritten digits.",
        None,
    )
    dataset_config: Text | None = about("The configuration of `dataset`, such as `sst2` for GLUE.", None)
    train_split: Text = about("The split of `dataset` to train on.", "train")
    validation_split: Text = about("The split of `dataset` to measure the metric on.", "validation")
    test_split: Text | None = about(
        "The split of `dataset` for the final measurements, like `test`; default: none.", None
    )
    text: Text | None = about(
        f"Column of the texts, questions, queries, or lists of words; default: {_default('text')}.",
        None,
    )
    text_pair: Text | None = about(
        "Column of the second texts: second sentences, passages, contexts, or the positives of triples; default: "
        f"{_default('text_pair')}; none for text-classification.",
        None,
    )
    image: Text | None = about(f"Column of the images of `dataset`; default: {_default('image')}.", None)
    label: Text | None = about(
        f"Column of the labels, scores, tags or answers; default: {_default('label')}.", None
    )
    label_columns: Texts = about(
        "With `problem: multi-label`: columns of 0 and 1, one per class, instead of `label`.", ()
    )
    negative: Text | None = about(
        "Column of texts unlike `text`, alongside the positives in `text_pair` (sentence-similarity).",
        None,
    )
    group: Text | None = about(
        "Column that groups rows: by the query of a passage (text-ranking; default: the query text) or by the document of a "
        "question (question-answering; default: the `title`, or the context).",
        None,
    )
    problem: Problem = about(
        "What text-classification learns: one class per row, any number of classes, or a number.",
        "single-label",
    )
    max_length: Annotated[int, limited("data.max_length"), NUMBER] | None = about(
        "Texts are truncated to this many tokens; question-answering and token-classification read longer ones in windows. "
        "Default: 128 (384 for question-answering), capped at the model's number of positions.",
        None,
    )
    document_stride: Annotated[int, limited("data.document_stride"), NUMBER] | None = about(
        "Tokens shared by consecutive windows of a long text; default: 128, at most a third of `max_length`.",
        None,
    )
    train_rows: Annotated[int, limited("data.train_rows"), NUMBER] | None = about(
        "Keep a random subset of this many training rows (drawn with `train.seed`); default: all. Text-ranking keeps whole "
        "queries.",
        None,
    )
    validation_rows: Annotated[int, limited("data.validation_rows"), NUMBER] | None = about(
        "The same for the validation rows.", None
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "DataSection":
        stride, length = self.document_stride, self.max_length
        if stride is not None and length is not None and stride >= length:
            raise ValueError(
                f"document_stride {stride} is not below max_length {length}, so the windows of a long text would not move "
                "on; lower it"
            )
        if self.label_columns and self.problem != "multi-label":
            raise ValueError(
                f"label_columns belong to problem: multi-label, but problem is {self.problem}; leave one out"
            )
        if self.label_columns and self.label is not None:
            raise ValueError("label and label_columns are both given; leave one out")
        return self

    @property
    def has_test(self) -> bool:
        """Whether there are rows that choose nothing."""
        return self.test is not None or self.test_split is not None

    @property
    def has_validation(self) -> bool:
        """Whether there are rows to take the metric on."""
        return self.validation is not None or self.dataset is not None

    @property
    def judged_splits(self) -> tuple[str, ...]:
        """The splits that metrics are taken on."""
        return ("validation", "test") if self.has_test else ("validation",)

    def column(self, key: str, task: str) -> str | None:
        """The column that `key` names, or the one that the task takes for granted."""
        given: str | None = getattr(self, key)
        return default_column(key, task) if given is None else given

    def check_sources(self) -> None:
        """Raises ValueError unless the rows of a training come from files, or from a data set."""
        files = {f"data.{key}": getattr(self, key) for key in FILE_KEYS}
        given = [key for key, value in files.items() if value is not None]
        if self.dataset is not None and given:
            raise ValueError(f"data.dataset and {given[0]} are both given; leave one out")
        if self.dataset is None and self.test_split is not None:
            raise ValueError("data.test_split is a split of data.dataset, which is not given; leave it out")
        if self.dataset is None and not given:
            raise ValueError(
                "the data section names no rows; give data.train with data.validation, or data.dataset"
            )
        needed = ("data.train", "data.validation")
        missing = [key for key in needed if files[key] is None]
        if self.dataset is None and missing:
            raise ValueError(f"{given[0]} is given without {' and '.join(missing)}; give that too")


def default_column(key: str, task: str) -> str | None:
    """The column that a task takes for granted; None for a key that names no column, or none by itself."""
    return _COLUMNS[task].get(key)


def unused_data_keys(data: DataSection, task: str) -> list[str]:
    """The keys that are given although `task` does not use them; none for a task that reads no data."""
    used = DATA_KEYS.get(task)
    if used is None:
        return []
    fields: Mapping[str, Any] = DataSection.model_fields
    return [key for key, field in fields.items() if key not in used and getattr(data, key) != field.default]
