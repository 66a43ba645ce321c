"""A grid as its file says it: rows of a table, each a recipe at some sparsities, with some seeds, beside some controls.

    title: what the table is called
    rows:
      token-classification:
        recipe: token-classification     # one that ships, by its name, or a whole recipe
        changes: {data: {train: "{data}/wnut17/train.conll"}, train: {epochs: 8}}
        model: MiniLM-L6                 # as the table calls it
        data: WNUT-17
        sparsity: [0.8]
        seeds: [1, 2]
        controls: [untrained, taught]

A cell is a row at one sparsity with one seed. `{data}/` stands for the folder that the command line names, so that a
grid holds no path of a machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from platon_compress.errors import InputError, shown
from platon_compress.recipe import Recipe
from platon_compress.recipe.fields import LISTED, Section, Several
from platon_compress.recipe.loading import parse_recipe, shipped_recipe
from platon_compress.recipe.mistakes import explain
from platon_compress.yaml_file import read_yaml

__all__ = ["Cell", "Control", "Grid", "Row", "Setup", "chosen", "read_grid"]

Control = Literal["untrained", "taught", "every_second_layer", "every_second_layer_int8", "bm25"]
_PLACE = "{data}/"
_START = "benchmarks/grids holds some to start from"
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=80)]


class Row(Section):
    """One row of the table for each of its sparsities.

    also: metrics to show beside the one that the task is judged by. controls: "untrained" is the model before any
    training, "taught" the dense model with the same steps and the same teacher, "every_second_layer" the same of half its
    layers, "every_second_layer_int8" that one in int8, "bm25" the ranking without a model. With granularity structured a
    sparsity is the share of the time that goes: 0.5 for a model twice as fast. baseline: the row whose dense model this one
    takes: for rows that differ in how they prune or are taught alone. Its controls are its own, but for those of the same
    training. repeats: the row, as GRID/ROW, that this one is with other seeds.
    """

    recipe: str | dict[str, Any]
    changes: dict[str, Any] = Field(default_factory=dict)
    model: str
    data: str
    sparsity: Several[float]
    seeds: Several[int] = (1,)
    also: Annotated[tuple[str, ...], LISTED] = ()
    controls: Annotated[tuple[Control, ...], LISTED] = ("untrained",)
    baseline: str | None = None
    repeats: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")] | None = None

    @model_validator(mode="after")
    def _no_cell_twice(self) -> "Row":
        for key in ("sparsity", "seeds", "controls"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} names a value twice; keep one")
        return self

    def raw_recipe(self) -> dict[str, Any]:
        """The recipe with its changes, before any cell's own. Raises InputError for a recipe that is not there."""
        own = read_yaml(shipped_recipe(self.recipe)) if isinstance(self.recipe, str) else self.recipe
        return _merged(own, self.changes)


class Grid(Section):
    """Rows by name. `name`, the file's stem, is where the cells lie and what the result is called.

    common: what all rows have, unless a row says otherwise.
    """

    common: dict[str, Any] = Field(default_factory=dict, exclude=True)
    title: Annotated[str, Field(min_length=1)]
    rows: Annotated[dict[_Name, Row], Field(min_length=1)]
    name: str = Field(default="", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _with_what_is_common(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        common, rows = raw.get("common"), raw.get("rows")
        if not isinstance(common, Mapping) or not isinstance(rows, Mapping):
            return raw
        return {
            **raw,
            "rows": {name: _merged(common, row or {}, keep_null=True) for name, row in rows.items()},
        }

    @model_validator(mode="after")
    def _baselines_are_there(self) -> "Grid":
        for name, row in self.rows.items():
            if row.baseline is None:
                continue
            lender = self.rows.get(row.baseline)
            if lender is None or lender.baseline is not None or set(row.seeds) - set(lender.seeds):
                raise ValueError(
                    f"baseline of {name} is {shown(row.baseline)}; name a row that trains its own, with the same seeds"
                )
        return self

    def cells(self) -> Iterator["Cell"]:
        """Every seed of a row before the next row, every sparsity of a seed before the next seed."""
        for name, row in self.rows.items():
            lender = row.baseline or name
            for seed in row.seeds:
                first = Cell(lender, self.rows[lender], self.rows[lender].sparsity[0], seed)
                for sparsity in row.sparsity:
                    yield Cell(name, row, sparsity, seed, lent=first)


@dataclass(frozen=True)
class Cell:
    """One run of the product."""

    row_name: str
    row: Row
    sparsity: float
    seed: int
    lent: "Cell | None" = None

    @property
    def name(self) -> str:
        """`question-answering-80-s1`: row, per cent of zeros, seed."""
        return f"{self.row_name}-{100 * self.sparsity:g}-s{self.seed}"

    @property
    def group(self) -> str:
        """What the cells of a row and seed have in common: the controls, which depend on the teacher."""
        return f"{self.row_name}-s{self.seed}"

    @property
    def first(self) -> "Cell":
        """The cell that trains the baseline, of this row or the one that lends its own."""
        return self.lent or self

    def described(self) -> dict[str, Any]:
        """The recipe as the grid has it, without what depends on the machine."""
        raw = self.row.raw_recipe()
        target: dict[str, Any] = {"sparsity": self.sparsity}
        if raw.get("prune", {}).get("granularity") == "structured":
            target = {"sparsity": None, "speedup": round(1 / (1 - self.sparsity), 6)}
        return _merged(raw, {"train": {"seed": self.seed}, "prune": target})


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the command line says: where data lies, where runs go, how many threads, bfloat16 or not."""

    data: tuple[Path, ...]
    runs: Path
    threads: int
    bf16: bool = False

    def folder(self, grid: Grid, cell: Cell) -> Path:
        """The cell's run folder."""
        return self.runs / grid.name / cell.name

    def controls(self, grid: Grid, cell: Cell) -> Path:
        """The folder of the controls of the cell's group."""
        return self.runs / grid.name / "controls" / cell.group

    def recipe(self, grid: Grid, cell: Cell) -> Recipe:
        """The cell's recipe for this machine. Raises InputError for a wrong one, or data that is in no folder."""
        here: dict[str, Any] = {"plan": {"threads": self.threads}}
        if self.bf16:
            here["train"] = {"bf16": True}
        if cell.name != cell.first.name:
            here["dense"] = str(self.folder(grid, cell.first))
        raw = _merged(cell.described(), here)
        return parse_recipe(_placed(raw, self.data), f"{grid.name}, {cell.name}")


def read_grid(path: Path) -> Grid:
    """The grid in a YAML file. Raises InputError in one line."""
    try:
        return Grid.model_validate({**read_yaml(path, "grid", _START), "name": path.stem})
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error


def chosen(grid: Grid, pattern: str | None) -> list[Cell]:
    """The cells whose name fits a pattern of the shell (several: with commas); all without one.

    Raises InputError where none does.
    """
    cells = list(grid.cells())
    if pattern is None:
        return cells
    parts = pattern.split(",")
    found = [cell for cell in cells if any(fnmatchcase(cell.name, part) for part in parts)]
    if not found:
        raise InputError(f"--cells {shown(pattern)} fits none of the {len(cells)} cells; --list names them")
    return found


def _merged(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, keep_null: bool = False
) -> dict[str, Any]:
    """`base` with `changes` in it, section by section; null takes a key away, or stays, to do so in what comes after."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None and not keep_null:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            inner = merged.get(key)
            merged[key] = _merged(inner if isinstance(inner, Mapping) else {}, value, keep_null=keep_null)
        else:
            merged[key] = value
    return merged


def _placed(value: Any, folders: tuple[Path, ...]) -> Any:
    """`value` with every `{data}/...` as the path below the first folder that holds it."""
    if isinstance(value, Mapping):
        return {key: _placed(inner, folders) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_placed(inner, folders) for inner in value]
    if not isinstance(value, str) or not value.startswith(_PLACE):
        return value
    name = value.removeprefix(_PLACE)
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    if found is None:
        places = ", ".join(map(str, folders)) or "none was named"
        raise InputError(f"no folder of --data ({places}) holds {name}; name the one that does with --data")
    return str(found)
