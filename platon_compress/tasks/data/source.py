"""Where the rows of a split lie: a file, or a data set of the hub, opened as a table of columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.tasks.data.rows import Origin
from platon_compress.tasks.data.table_files import TEXTS, Table, read_table
from platon_compress.tasks.hub import asked_once, is_fault_of_this_machine, offline_hint, resolve_name

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """The rows of `split` ("train", "validation" or "test") that a recipe's data section names, for a task.

    labelled: whether labels are read; unlabelled rows need no such column, and one that is there is left alone.
    """

    data: "DataSection"
    split: str
    task: str
    labelled: bool = True

    @property
    def path(self) -> Path:
        """The file or folder of the split. Raises InputError where there is none."""
        given = getattr(self.data, self.split)
        if given is None:
            raise InputError(f"data.{self.split} is not given; give the path of a file or folder")
        path = Path(str(given))
        if not path.exists():
            raise InputError(f"data.{self.split} {given!r} does not exist; give the path of a file or folder")
        if not path.is_file() and not path.is_dir():  # it would be waited for, or never end
            raise InputError(
                f"data.{self.split} {given!r} is a pipe or a device; write the rows to a file and give its path"
            )
        return path

    @property
    def in_files(self) -> bool:
        """Whether the rows come from a file or folder."""
        return self.data.dataset is None

    @property
    def limit(self) -> int | None:
        """How many rows are kept."""
        return {"train": self.data.train_rows, "validation": self.data.validation_rows}.get(self.split)

    def column(self, key: str) -> str | None:
        """The column that the recipe's `key` names, or the one that the task takes for granted."""
        return self.data.column(key, self.task)

    def named(self, key: str) -> str:
        """The same where the task cannot do without."""
        return str(self.column(key))

    def values(self, table: Table, key: str) -> Sequence[Any]:
        """The values under the column of `key`. Raises InputError where there is no such column."""
        return table.column(self.named(key), f"data.{key}")

    def has(self, table: Table, key: str) -> bool:
        """Whether there are values for an optional column: one that is taken for granted may be missing.

        Raises InputError where the recipe names a column that is not there.
        """
        if getattr(self.data, key) is not None:
            table.column(self.named(key), f"data.{key}")
        return self.column(key) in table.columns

    def table(self, *more: str, others: Sequence[str] = ()) -> Table:
        """The columns of the file or data set.

        more: columns that are read beside those that keys name. others: endings that the task reads by itself.
        """
        if self.in_files:
            table = read_table(self.path, self.split, others)
            return table.called(self.named("text")) if self.path.suffix.lower() == TEXTS else table
        keys = ("text", "text_pair", "image", "negative", "group", *("label",) * self.labelled)
        wanted = {self.column(key) for key in keys} | set(more)
        return self._hub_table(wanted | set(self.data.label_columns if self.labelled else ()))

    def _hub_table(self, wanted: set[str | None]) -> Table:
        name = getattr(self.data, f"{self.split}_split")
        if name is None:
            raise InputError(f"data.{self.split}_split is not given; name a split of {self.data.dataset}")
        loaded = _load_dataset(self.data, name)
        names = {column: _names(feature) for column, feature in (loaded.features or {}).items()}
        return Table(
            {column: loaded[column] if column in wanted else () for column in loaded.column_names},
            Origin(f"{self.split} split of {self.data.dataset}"),
            {column: found for column, found in names.items() if found},
        )


def _names(feature: Any) -> Sequence[str] | None:
    """The names behind the numbers of a `ClassLabel`, or of lists of them."""
    while (inner := getattr(feature, "feature", None)) is not None:
        feature = inner
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    return getattr(feature, "names", None)


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
