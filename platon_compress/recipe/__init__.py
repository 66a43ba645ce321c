"""The YAML recipe of a run: model, data, train, prune, plan, verify, bench. Unknown keys are refused."""

from platon_compress.recipe.data import TRAINABLE_TASKS, DataSection
from platon_compress.recipe.deployment import (
    BakeSection,
    BenchSection,
    BudgetSection,
    ExportSection,
    PlanSection,
    VerifySection,
)
from platon_compress.recipe.loading import load_recipe, parse_recipe, shipped_recipe, trusting
from platon_compress.recipe.schema import ModelSection, Recipe
from platon_compress.recipe.training import (
    OWN_SETTINGS,
    DistillSection,
    OneShotSection,
    PruneSection,
    TrainSection,
)

__all__ = [
    "OWN_SETTINGS",
    "TRAINABLE_TASKS",
    "BakeSection",
    "BenchSection",
    "BudgetSection",
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
