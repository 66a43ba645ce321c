"""The sections of a recipe that say what becomes of a pruned model: bake, plan, budget, export, verify, bench."""

from typing import Annotated, Literal

from pydantic import model_validator

from platon_compress.budget import Budget
from platon_compress.limits import MAX_ROWS
from platon_compress.recipe.fields import NUMBER, Section, Several, Text, about, limited

__all__ = ["BakeSection", "BenchSection", "BudgetSection", "ExportSection", "PlanSection", "VerifySection"]


def _check_rows(section: str, batch: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    if max(batch) * max(tokens) > MAX_ROWS:
        raise ValueError(
            f"{section}.batch {max(batch)} times {section}.tokens {max(tokens)} is more than {MAX_ROWS:,} rows; lower one"
        )


class BakeSection(Section):
    """How masks become zeros."""

    values: Literal["float32", "float16"] = about(
        "`float16` rounds the remaining weights, so that the file stores two bytes each.", "float32"
    )


class PlanSection(Section):
    """The deployment that the layers' forms are chosen for."""

    tokens: Annotated[int, limited("plan.tokens"), NUMBER] | None = about(
        "Tokens per example; default: `data.max_length`, at most 128, or the model's number of patches.", None
    )
    batch: Annotated[int, limited("plan.batch"), NUMBER] = about("Examples per batch.", 1)
    threads: Annotated[int, limited("plan.threads"), NUMBER] | None = about(
        "Threads; default: all cores.", None
    )
    device: Literal["cpu", "cuda"] = about("Where the model will run.", "cpu")
    calibrate: bool = about("Time this model's layer shapes on this machine first.", True)
    cost_table: Text | None = about(
        "A cost table from `platon-compress calibrate`, instead of measuring now.", None
    )
    force: Literal["dense", "structured", "csr"] | None = about(
        "One form for every layer that allows it.", None
    )
    values: Literal["float32", "int8", "auto"] = about(
        "How sparse weights are stored and multiplied: `int8`, as 8-bit numbers with a scale per row, which approximate the "
        "model's values; `auto`, as 8-bit numbers where that measures faster.",
        "float32",
    )
    int8_budget: Annotated[float, limited("plan.int8_budget"), NUMBER] | None = about(
        "How much 8-bit values may change the outputs in total, relative to their norm: `0.01` is 1 %. The operators whose "
        "rounding costs most keep floats until the rest is within the budget, measured on up to 64 examples.",
        None,
    )
    attention: Literal["float32", "int8", "auto"] = about(
        "How attention between 8-bit weights is computed: `int8`, with queries, keys, values and probabilities rounded to "
        "8-bit numbers, per token and head; `auto`, `int8` if `plan.tokens` is at least 64 (fewer gain nothing). "
        "Attention between other weights stays in floats.",
        "auto",
    )
    embeddings: Literal["float32", "int8", "auto"] = about(
        "How word embeddings are stored: `int8`, as 8-bit numbers with a scale per row, which approximate the model's "
        "values in a quarter of the bytes; `auto`, `int8` in files with 8-bit weights. Lookup tables of up to 1,000 rows "
        "stay as they are.",
        "auto",
    )

    @model_validator(mode="after")
    def _rows(self) -> "PlanSection":
        _check_rows("plan", (self.batch,), (self.tokens or 1,))
        return self

    @model_validator(mode="after")
    def _has_a_use_for_the_budget(self) -> "PlanSection":
        if self.int8_budget is not None and self.values == "float32":
            raise ValueError("int8_budget is given, but values is float32; take values: int8 or auto")
        return self

    @model_validator(mode="after")
    def _has_sparse_weights(self) -> "PlanSection":
        if self.values != "int8":
            return self
        if self.device == "cuda":
            raise ValueError(
                "values is int8, but on cuda no layer is sparse; take values: float32 or device: cpu"
            )
        if self.force in ("dense", "structured"):
            raise ValueError(
                f"values is int8, but with force: {self.force} no layer is sparse; leave one of them out"
            )
        return self


class BudgetSection(Section):
    """What the exported model may cost at `plan.batch` and `plan.tokens`. Omit the section if there are no limits."""

    max_latency: Text | None = about(
        "Median time of one run, such as `10ms`; without a family, the sparsity is then searched for and replaces "
        "`prune.sparsity`.",
        None,
    )
    min_speedup: Annotated[float, limited("budget.min_speedup"), NUMBER] | None = about(
        "Minimum speed as a multiple of dense; works like `max_latency`.", None
    )
    max_size: Text | None = about("Size of the file, such as `50MB`; works like `max_latency`.", None)
    max_drop: Annotated[float, limited("budget.max_drop"), NUMBER] | None = about(
        "Points that the task's metric may fall below dense, paired on the validation rows.", None
    )

    @model_validator(mode="after")
    def _says_something(self) -> "BudgetSection":
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("it asks for nothing; name max_latency, min_speedup, max_size or max_drop")
        self.limits  # noqa: B018 - a wrong unit is said here
        return self

    @property
    def limits(self) -> Budget:
        """In seconds and bytes."""
        return Budget.of(self.model_dump())


class ExportSection(Section):
    """How the ONNX files are written."""

    opset: Annotated[int, limited("export.opset"), NUMBER] = about("ONNX opset version.", 18)
    exporter: Literal["torchscript", "dynamo"] = about(
        "PyTorch's tracing exporter, or its slower successor.", "torchscript"
    )
    remove_padding: bool = about("Compute only on the valid tokens of a padded batch.", False)


class VerifySection(Section):
    """The parity check."""

    atol: Annotated[float, limited("verify.atol"), NUMBER] = about("Largest allowed output difference.", 1e-4)
    examples: Annotated[int, limited("verify.examples"), NUMBER] = about(
        "Minimum number of examples to compare.", 64
    )
    sensitivity: bool = about(
        "Report for every operator with 8-bit weights what rounding it alone costs, on at least 64 examples.",
        False,
    )


class BenchSection(Section):
    """What is timed: every batch size with every token count."""

    batch: Several[Annotated[int, limited("bench.batch"), NUMBER]] = about("Batch sizes.", (1, 8))
    tokens: Several[Annotated[int, limited("bench.tokens"), NUMBER]] | None = about(
        "Tokens per text; default: as in `plan.tokens`.", None
    )
    runs: Annotated[int, limited("bench.runs"), NUMBER] = about("Timed rounds per setting.", 50)
    threads: Annotated[int, limited("bench.threads"), NUMBER] | None = about(
        "Threads; default: `plan.threads`.", None
    )
    device: Literal["cpu", "cuda"] = about("Where to measure.", "cpu")

    @model_validator(mode="after")
    def _rows(self) -> "BenchSection":
        _check_rows("bench", self.batch, self.tokens or (1,))
        return self
