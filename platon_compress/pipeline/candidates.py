"""What the candidates of a run cost: each as the file that would ship, timed in pairs with dense."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.budget import Figures
from platon_compress.files import write_json
from platon_compress.measure.trial_files import DENSE, figures_of, time_files
from platon_compress.pipeline.costing import calibrate_scope, calibrates, plan_config, planned_inputs
from platon_compress.pipeline.exporting import export_config, rival_config
from platon_compress.pipeline.verifying import CHOOSING_EXAMPLES, SMALL_BATCH
from platon_compress.pipeline.workspace import Workspace
from platon_compress.progress import Steps

if TYPE_CHECKING:
    from platon_compress.baking import BakedModel
    from platon_compress.planning import PlanConfig

__all__ = ["time_candidates"]

_RUNS = 20


def time_candidates(work: Workspace, sparsities: Sequence[float]) -> dict[float, Figures]:
    """Figures by sparsity; those of dense stand under 0.0."""
    from platon_compress.export import export_onnx

    inputs = planned_inputs(work, work.dense)
    with (
        tempfile.TemporaryDirectory(prefix="platon-family-") as place,
        work.reporter.progress("  candidate files") as progress,
    ):
        steps = Steps(len(sparsities) + 3, progress)
        files = {DENSE: Path(place) / "dense.onnx"}
        export_onnx(work.dense.model, files[DENSE], inputs, rival_config(work.recipe))
        steps.advance("dense written")
        config = _config(work, max(sparsities), Path(place))
        steps.advance("layers measured")
        for sparsity in sparsities:
            files[f"{sparsity:g}"] = _file(work, sparsity, config, inputs, Path(place) / f"{sparsity:g}.onnx")
            steps.advance(f"{sparsity:.0%} written")
        samples = time_files(files, inputs, config.used_threads, _RUNS)
        steps.advance("all timed")
        figures = figures_of(files, samples)
    return {0.0: figures.pop(DENSE), **{float(name): value for name, value in figures.items()}}


def _config(work: Workspace, sparsest: float, folder: Path) -> "PlanConfig":
    """The deployment, with a cost table that reaches from the sparsest candidate up."""
    from platon_compress.measure.calibrate import calibration_scope

    config = plan_config(work, work.sequence_length(work.dense))
    if not calibrates(work):
        return config
    scope = calibration_scope(_bake(work, sparsest), config)
    table = calibrate_scope(work, scope, int8=config.values != "float32")
    return replace(config, cost_table=write_json(folder / "cost_table.json", table))


def _bake(work: Workspace, sparsity: float) -> "BakedModel":
    from platon_compress.baking import bake

    checkpoint, masks = work.candidate(work.candidate_folder(sparsity))
    return bake(checkpoint.model, masks, values=work.recipe.bake.values)


def _file(work: Workspace, sparsity: float, config: "PlanConfig", inputs: Any, path: Path) -> Path:
    from platon_compress.conversion import convert
    from platon_compress.export import export_onnx
    from platon_compress.planning import plan

    baked = _bake(work, sparsity)
    compressed = convert(baked, plan(baked, config))
    tokens = work.sequence_length(work.dense)
    shipped = export_config(work.recipe, tokens=tokens, sparse=bool(compressed.csr))
    export_onnx(compressed, path, inputs, shipped, calibration=_examples(work) if compressed.int8 else ())
    return path


def _examples(work: Workspace) -> Sequence[Any]:
    """What the rounding to 8 bits looks at, as in the stage export."""
    part = work.task.part(work.validation, CHOOSING_EXAMPLES)
    return work.task.evaluation(part, work.dense, SMALL_BATCH).batches
