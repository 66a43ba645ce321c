"""What the run's layers cost on this machine: for the plan, and for ranking by score per millisecond."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.files import read_json, write_json
from platon_compress.pipeline.workspace import Workspace
from platon_compress.tasks.synthetic import synthetic_batches

if TYPE_CHECKING:
    import torch

    from platon_compress.measure.calibrate import CalibrationScope
    from platon_compress.planning import PlanConfig
    from platon_compress.pruning.unit_costs import UnitCosts
    from platon_compress.tasks.checkpoint import Checkpoint

__all__ = [
    "COSTS",
    "UNIT_COSTS",
    "calibrate_scope",
    "calibrates",
    "measured_plan_config",
    "plan_config",
    "planned_inputs",
    "ranking_costs",
    "unit_costs",
]

COSTS = "weight_costs.json"
UNIT_COSTS = "unit_costs.json"


def measured_plan_config(work: Workspace) -> "PlanConfig":
    """The deployment that the recipe names, with a cost table measured now unless the recipe says otherwise."""
    from platon_compress.measure.calibrate import calibration_scope

    config = plan_config(work, work.sequence_length())
    if not calibrates(work):
        return config
    table = calibrate_scope(work, calibration_scope(work.baked, config), int8=config.values != "float32")
    return replace(config, cost_table=work.folder.write_json("cost_table.json", table))


def ranking_costs(work: Workspace, checkpoint: "Checkpoint", place: Path) -> dict[str, float] | None:
    """Seconds per weight by shape, where the recipe ranks by them.

    Written down in the folder `place`, so that a resumed run has the same.

    Raises InputError when the cost table knows nothing of a shape.
    """
    section = work.prune
    if not section.per_millisecond:
        return None
    if (place / COSTS).is_file():
        return read_json(place / COSTS, f"remove {place}")
    from platon_compress.measure.calibrate import DEFAULT_DENSITIES, CalibrationScope
    from platon_compress.planning import CostTable, weight_costs
    from platon_compress.selection import select

    config = plan_config(work, work.sequence_length(checkpoint))
    chosen = select(checkpoint.model, targets=section.targets, ignore=section.ignore).values()
    shapes = tuple(sorted({(p.shape[0], p.shape[1]) for p in chosen}))
    if calibrates(work):
        scope = CalibrationScope(
            shapes=shapes,
            densities=DEFAULT_DENSITIES,
            rows=(config.rows,),
            threads=(config.used_threads,),
        )
        table = CostTable.from_dict(calibrate_scope(work, scope, int8=False), source="measured now")
    else:
        table = CostTable.load(config.cost_table)
    costs = weight_costs(
        table, shapes, sparsity=section.target_sparsity, rows=config.rows, threads=config.used_threads
    )
    write_json(place / COSTS, costs)
    return costs


def unit_costs(work: Workspace, checkpoint: "Checkpoint", place: Path) -> "UnitCosts | None":
    """What heads, neurons and layers cost, where the recipe asks for a speed-up; kept in `place` like ranking costs."""
    if not work.prune.counts_time:
        return None
    from platon_compress.pruning.unit_costs import UnitCosts

    if (place / UNIT_COSTS).is_file():
        return UnitCosts.from_dict(read_json(place / UNIT_COSTS, f"remove {place}"))
    from platon_compress.measure.half_blocks import measure_half_blocks
    from platon_compress.pruning.masks.build import couplings_to_prune
    from platon_compress.pruning.pruner import prunable_parameters
    from platon_compress.tasks.training import prune_config

    config = plan_config(work, work.sequence_length(checkpoint))
    pruning = prune_config(work.prune, 1000)
    couplings = couplings_to_prune(checkpoint.model, pruning, prunable_parameters(checkpoint.model, pruning))
    inputs = planned_inputs(work, checkpoint)
    with work.reporter.progress("  measuring half blocks") as progress:
        costs = measure_half_blocks(
            checkpoint.model, inputs, couplings, threads=config.used_threads, progress=progress
        )
    write_json(place / UNIT_COSTS, costs.to_dict())
    return costs


def planned_inputs(work: Workspace, checkpoint: "Checkpoint") -> "dict[str, torch.Tensor]":
    """One random batch of the deployment that the plan is for, without padding."""
    import torch

    batch, tokens = work.recipe.plan.batch, work.sequence_length(checkpoint)
    made = synthetic_batches(checkpoint, examples=batch, tokens=tokens, batch_size=batch)[0]
    inputs = {name: torch.from_numpy(array) for name, array in made.items()}
    if "attention_mask" in inputs:
        inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    return inputs


def plan_config(work: Workspace, tokens: int) -> "PlanConfig":
    """The deployment that the recipe names, with no cost table but a given one."""
    from platon_compress.planning import Form, PlanConfig

    section = work.recipe.plan
    return PlanConfig(
        tokens=tokens,
        batch=section.batch,
        threads=section.threads,
        device=section.device,
        cost_table=Path(section.cost_table) if section.cost_table else None,
        force=Form(section.force) if section.force else None,
        values=section.values,
    )


def calibrates(work: Workspace) -> bool:
    """Whether the recipe's deployment is measured on this machine."""
    section = work.recipe.plan
    return section.calibrate and section.cost_table is None and section.device == "cpu"


def calibrate_scope(work: Workspace, scope: "CalibrationScope", *, int8: bool) -> dict[str, Any]:
    """A cost table of that scope; warns of a busy machine."""
    from platon_compress.measure.calibrate import calibrate

    with work.reporter.progress("  calibrating") as progress:
        table = calibrate(
            scope.shapes,
            scope.densities,
            scope.rows,
            scope.threads,
            block_rows=scope.block_rows,
            int8=int8,
            progress=progress,
        )
    if table["unsettled_cells"]:
        work.reporter.warn(
            f"{table['unsettled_cells']} of {len(table['rows'])} layer timings did not settle because the machine is busy; "
            "repeat this stage when it is idle"
        )
    return table
