"""The YAML recipe of a run: model, data, train, prune, plan, verify, bench. Unknown keys are refused."""

from platon_compress.recipe.loading import load_recipe, parse_recipe, shipped_recipe, trusting
from platon_compress.recipe.schema import (
    TRAINABLE_TASKS,
    BakeSection,
    BenchSection,
    DataSection,
    DistillSection,
    ExportSection,
    ModelSection,
    OneShotSection,
    PlanSection,
    PruneSection,
    Recipe,
    TrainSection,
    VerifySection,
)

__all__ = [
    "TRAINABLE_TASKS",
    "BakeSection",
    "BenchSection",
    "DataSection",
    "DistillSection",
    "ExportSection",
    "ModelSection",
    "OneShotSection",
    "PlanSection",
    "PruneSection",
    "Recipe",
    "TrainSection",
    "VerifySection",
    "load_recipe",
    "parse_recipe",
    "shipped_recipe",
    "trusting",
]
