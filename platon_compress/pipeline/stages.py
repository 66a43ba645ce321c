"""The stages of a run, one function each: reads what earlier stages left, writes files, returns what it did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.files import write_json
from platon_compress.measure.bench_report import VARIANTS
from platon_compress.pipeline import training
from platon_compress.pipeline.baseline import DATA_OF_TRAINING
from platon_compress.pipeline.choosing import choose_stage, search_stage
from platon_compress.pipeline.costing import measured_plan_config
from platon_compress.pipeline.exporting import export_config, rival_config
from platon_compress.pipeline.oneshot import check_given, prune_once_stage
from platon_compress.pipeline.plan_view import show_plan
from platon_compress.pipeline.stage import Stage
from platon_compress.pipeline.verifying import CHOOSING_EXAMPLES, SMALL_BATCH, verification, verify_stage
from platon_compress.pipeline.words import spoken_factors, spoken_result
from platon_compress.pipeline.workspace import Workspace
from platon_compress.progress import Steps
from platon_compress.recipe import PlanSection, Recipe
from platon_compress.recipe.data import COLUMN_KEYS
from platon_compress.report.words import criterion_words
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.synthetic import example_inputs

__all__ = ["stages_of"]


def _bake(work: Workspace) -> dict[str, Any]:
    from platon_compress.baking import bake

    oneshot, masks = work.recipe.oneshot, None
    target = None if oneshot is None else oneshot.sparsity
    if work.trains:
        checkpoint, masks = work.candidate(work.candidate_folder(work.sparsity))
        # a share of the time says nothing of weights
        target = None if work.prune.counts_time else work.sparsity
    else:
        checkpoint = work.pruned()
        if oneshot is None:
            check_given(work, checkpoint)
    baked = bake(checkpoint.model, masks, target_sparsity=target, values=work.recipe.bake.values)
    checkpoint.model.config.compression_config = {  # type: ignore[union-attr]
        "tool": "platon-compress",
        "format": "zeros",
        "sparsity": round(baked.sparsity, 6),
        "granularity": work.prune.granularity if work.trains else "element",
    }
    with work.folder.new_folder(work.folder.model) as folder:
        checkpoint.save(folder)
        write_json(folder / "bake.json", baked.to_dict())
    work.reporter.say(
        f"  {baked.sparsity:.2%} of {sum(w.shape[0] * w.shape[1] for w in baked.weights):,} weights are zero"
    )
    if baked.skipped:
        name, reason = baked.skipped[0]
        more = f" (and {len(baked.skipped) - 1} more)" if len(baked.skipped) > 1 else ""
        work.reporter.warn(f"{name}: {reason}{more}")
    return baked.to_dict()


def _plan(work: Workspace) -> dict[str, Any]:
    from platon_compress.planning import plan

    planned = plan(work.baked, measured_plan_config(work))
    work.folder.write_json("plan.json", planned.to_dict())
    show_plan(planned, work.reporter)
    if planned.idle is not None and planned.idle.reason:
        work.reporter.say(f"  {planned.idle.reason}")
    return {"counts": planned.counts(), "int8_layers": planned.int8_layers}


def _convert(work: Workspace) -> dict[str, Any]:
    from platon_compress.compressed import write_compressed
    from platon_compress.conversion import convert

    compressed = convert(work.baked, work.plan)
    with work.folder.new_folder(work.folder.compressed) as folder:
        write_compressed(compressed, folder)
        work.checkpoint.save_companions(folder)
    for units in compressed.removed:
        work.reporter.say(f"  {units.group}: {units.before} {units.kind} reduced to {units.after}")
    rounded = f" ({len(compressed.int8)} of them with 8-bit values)" if compressed.int8 else ""
    work.reporter.say(
        f"  {len(compressed.csr)} weights as CSR{rounded}, {len(compressed.removed)} groups shrunk"
    )
    return compressed.to_dict()


def _export(work: Workspace) -> dict[str, Any]:
    from platon_compress.export import export_onnx
    from platon_compress.export.int8 import quantize_int8

    inputs = example_inputs(work.checkpoint)
    others = rival_config(work.recipe)
    tokens, sparse = work.sequence_length(), bool(work.compressed.csr)
    shipped = export_config(work.recipe, tokens=tokens, sparse=sparse)
    models = {"dense": work.dense.model, "pruned": work.baked.model, "compressed": work.compressed}
    results = {}
    examples = verification(work, "validation", CHOOSING_EXAMPLES)
    with (
        work.folder.new_folder(work.folder.onnx) as folder,
        work.reporter.progress("  exporting") as progress,
    ):
        steps = Steps(len(models) + 1, progress)
        for name, model in models.items():
            chosen = shipped if name == "compressed" else others
            unrounded = folder / VARIANTS["compressed_float32"] if name == "compressed" else None
            path = folder / f"{name}.onnx"
            seen = examples.batches if name == "compressed" else ()
            done = export_onnx(model, path, inputs, chosen, unrounded=unrounded, calibration=seen)
            results[name] = done.to_dict()
            steps.advance(f"{name}.onnx written")
        try:
            int8 = quantize_int8(folder / "dense.onnx", folder / "dense-int8.onnx", examples).to_dict()
        except InputError as error:
            int8 = {"unavailable": str(error)}
            work.reporter.warn(str(error))
        steps.advance("int8 settings chosen")
        _save_config(work.checkpoint, folder)
    for name, result in results.items():
        result["path"] = f"onnx/{name}.onnx"
        work.reporter.say(f"  {work.folder.onnx / name}.onnx  {result['size_bytes'] / 1e6:.2f} MB")
        if result["unrounded_bytes"] is not None:
            float32 = work.folder.onnx / VARIANTS["compressed_float32"]
            work.reporter.say(
                f"  {float32}  {result['unrounded_bytes'] / 1e6:.2f} MB, before its weights were rounded to 8 bits"
            )
        if result["equalised"]:
            work.reporter.say(f"  {spoken_factors(result['equalised'])}")
        if result["int8_attention"]:
            work.reporter.say(
                f"  attention in {len(result['int8_attention'])} blocks multiplies 8-bit numbers"
            )
        for table in result["int8_tables"]:
            work.reporter.say(f"  {table} is stored as 8-bit rows")
        for skipped, reason in result["skipped"]:
            work.reporter.warn(f"{name}.onnx: {skipped}: {reason}")
    return {**results, "dense_int8": int8}


def _save_config(checkpoint: Checkpoint, folder: Path) -> None:
    """What optimum's ORTModel classes, sentence-transformers and a tokenizer need beside the ONNX files."""
    config: Any = checkpoint.model.config
    config.save_pretrained(folder)
    checkpoint.save_companions(folder)


def _bench(work: Workspace) -> dict[str, Any]:
    from platon_compress.measure import run_benchmark
    from platon_compress.measure.config import BenchConfig

    section = work.recipe.bench
    config = BenchConfig(
        batch=section.batch,
        tokens=section.tokens or (work.sequence_length(),),
        runs=section.runs,
        threads=section.threads or work.recipe.plan.threads,
        device=section.device,
    )
    with work.reporter.progress("  measuring") as progress:
        report = run_benchmark(work.folder.onnx, config, progress=progress)
    work.folder.write_json("benchmark.json", report.to_dict())
    if report.unavailable:
        work.reporter.warn(report.unavailable)
    return {"unavailable": report.unavailable}


def _report(work: Workspace) -> dict[str, Any]:
    from platon_compress.report import write_report

    result = write_report(work.folder.path)
    return {"verdict": result.verdict}


def _given(work: Workspace) -> dict[str, Any]:
    """For `compress`: the metric of the baseline, where data was given."""
    if not work.recipe.judges:
        work.reporter.say("  no data given: parity on random inputs, no task metric")
        return {}
    from platon_compress.tasks.trainer import evaluate

    with work.reporter.progress("  baseline metric") as progress:
        evaluation = work.task.evaluation(work.test, work.checkpoint, SMALL_BATCH)
        scores = evaluate(work.dense.model, evaluation, progress)
    entry = {**scores.summary(), "examples": evaluation.examples}
    work.reporter.say(f"  {evaluation.examples} examples, baseline {spoken_result(entry, work.task.name)}")
    return entry


_LENGTH = ("plan.tokens", "data.max_length")
# What the export alone does: no form depends on it.
_OF_EXPORT = ("attention", "embeddings", "int8_budget")
_PLAN = tuple(f"plan.{name}" for name in PlanSection.model_fields if name not in _OF_EXPORT)


def _training(recipe: Recipe) -> tuple[str, ...]:
    return ("model", *DATA_OF_TRAINING, "train")


def _of_dense(recipe: Recipe) -> tuple[str, ...]:
    # Without labels the baseline is taught too.
    return (*_training(recipe), "dense", *(() if recipe.has_labels else ("distill",)))


def _of_prune(recipe: Recipe) -> tuple[str, ...]:
    prune = recipe.prune
    measured = prune is not None and (prune.per_millisecond or prune.counts_time)
    # Where the search says how sparse to become, its budget says it.
    searched = ("budget",) if recipe.searches_sparsity else ()
    return (*_training(recipe), "prune", "distill", *searched, *(_PLAN if measured else ()))


def _of_bake(recipe: Recipe) -> tuple[str, ...]:
    chosen = () if recipe.chooses else ("prune.sparsity",)
    return ("bake", "prune.granularity", *chosen)


def _of_examples(recipe: Recipe) -> tuple[str, ...]:
    # Without data the examples are random, as many and as long as the recipe says.
    return ("metric", *(("verify.examples", *_LENGTH) if not recipe.judges else ()))


def _of_export(recipe: Recipe) -> tuple[str, ...]:
    # The settings of int8 are chosen by the validation rows.
    given = ("dense",) if recipe.kind == "compress" else ()
    return (
        "export",
        *(f"plan.{name}" for name in _OF_EXPORT),
        *_LENGTH,
        *DATA_OF_TRAINING,
        *_of_examples(recipe),
        *given,
    )


def _of_verify(recipe: Recipe) -> tuple[str, ...]:
    return ("verify", "data", *_of_examples(recipe))


def _always(*names: str) -> Callable[[Recipe], tuple[str, ...]]:
    return lambda recipe: names


def _prune_title(recipe: Recipe) -> str:
    if recipe.prune is not None and recipe.prune.masks_from is not None:
        return "train again with fixed masks"
    criterion = "platon" if recipe.prune is None else recipe.prune.criterion
    return f"train again, pruning {criterion_words(criterion)}"


def _trained(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a training up to the baked model; those that choose are there where something asks for them."""
    searched, chosen = ("search",) if recipe.searches_sparsity else (), ("choose",) if recipe.chooses else ()
    stages = [
        Stage(name="data", title="read the data", run=training.data, uses=_of_prune),
        Stage(
            name="search", title="search for what meets the budget", run=search_stage,
            uses=_always("model", "budget", "prune.granularity", "prune.family", *_PLAN, "plan.attention", *_LENGTH),
            needs=("data",), outputs=("search.json",),
        ),
        Stage(
            name="dense", title="train the dense baseline", run=training.dense, uses=_of_dense,
            needs=("data",), outputs=("stages/dense",), keeps=True,
        ),
        Stage(
            name="prune", title=_prune_title(recipe), run=training.prune, uses=_of_prune,
            needs=("data", "dense", *searched), outputs=("stages/prune",), keeps=True,
        ),
        Stage(
            name="choose", title="choose among the candidates", run=choose_stage,
            uses=_always("budget", "bake", "prune.sparsity", "plan", "data.max_length", "export"),
            needs=("dense", "prune"), outputs=("family.json",),
        ),
        Stage(
            name="bake", title="bake the masks into the weights", run=_bake, uses=_of_bake, needs=("prune", *chosen),
            outputs=("model",),
        ),
    ]  # fmt: skip
    there = {"search": recipe.searches, "choose": recipe.chooses}
    return tuple(stage for stage in stages if there.get(stage.name, True))


_GIVEN = (
    Stage(
        name="bake", title="bake the masks into the weights", run=_bake, uses=_always("model", "bake"),
        outputs=("model",), keeps=True,
    ),
    Stage(name="data", title="read the data", run=_given, uses=_always("data", "dense"), needs=("bake",)),
)  # fmt: skip


_CALIBRATION = tuple(
    f"data.{key}"
    for key in ("calibration", *COLUMN_KEYS, "max_length", "document_stride")
    if "label" not in key
)
_ONESHOT = (
    Stage(
        name="prune", title="prune without training", run=prune_once_stage,
        uses=_always("model", "oneshot", *_CALIBRATION, "train.seed"),
        outputs=("stages/prune",), keeps=True,
    ),
    Stage(
        name="bake", title="bake the zeros into the weights", run=_bake, uses=_always("bake"), needs=("prune",),
        outputs=("model",),
    ),
    _GIVEN[-1],
)  # fmt: skip


def _after(trains: bool) -> tuple[Stage, ...]:
    """The stages that a training and a foreign checkpoint have in common."""
    baseline = "dense" if trains else "data"
    return (
        Stage(
            name="plan", title="choose a form for each layer", run=_plan, uses=_always(*_PLAN, "data.max_length"),
            needs=("bake",), outputs=("plan.json", "cost_table.json"),
        ),
        Stage(
            name="convert", title="convert the layers", run=_convert, uses=_always(),
            needs=("bake", "plan"), outputs=("compressed",),
        ),
        Stage(
            name="export", title="export to ONNX", run=_export, uses=_of_export,
            needs=(baseline, "bake", "convert"), outputs=("onnx",),
        ),
        Stage(
            name="verify", title="verify parity and the metric", run=verify_stage, uses=_of_verify,
            needs=("bake", "convert", "export"), outputs=("parity.json",),
        ),
        Stage(
            name="bench", title="measure size and latency", run=_bench,
            uses=_always("bench", "plan.threads", *_LENGTH), needs=("export",), outputs=("benchmark.json",),
        ),
        Stage(
            name="report", title="write the report", run=_report, uses=_always(),
            needs=("plan", "verify", "bench"), outputs=("report.md", "report.html"),
        ),
    )  # fmt: skip


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a recipe, in order."""
    if recipe.kind != "compress":
        return (*_trained(recipe), *_timed_first(_after(True), recipe.searches))
    return (*(_GIVEN if recipe.oneshot is None else _ONESHOT), *_after(False))


def _timed_first(stages: tuple[Stage, ...], searches: bool) -> tuple[Stage, ...]:
    """A candidate that is too slow is given up before the test rows have seen it."""
    if not searches:
        return stages
    order = ("plan", "convert", "export", "bench", "verify", "report")
    return tuple(sorted(stages, key=lambda stage: order.index(stage.name)))
