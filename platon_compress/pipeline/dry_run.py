"""What a run would do, without doing it: steps, selected weights, schedule, memory, files."""

from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.reporter import Reporter
from platon_compress.recipe import Recipe
from platon_compress.tasks.data import class_names
from platon_compress.tasks.models import build_model, load_checkpoint
from platon_compress.tasks.tables import read_split
from platon_compress.tasks.training import prune_config, total_steps

__all__ = ["describe_run"]

# sensitivity, its EMA and the uncertainty's EMA in float32, and one byte of mask
_BYTES_PER_WEIGHT = 13


def describe_run(recipe: Recipe, reporter: Reporter) -> dict[str, Any]:
    """Read the data and the model, and say what the run would prune and when. Writes nothing.

    Raises InputError for everything that would stop the run before its first step.
    """
    from platon_compress.selection import select

    if recipe.data is None or recipe.prune is None:
        raise InputError("a dry run needs a recipe with data and prune")
    modality = "text" if recipe.model.task == "text-classification" else "image"
    rows = {
        split: read_split(recipe.data, split, modality, recipe.train.seed)
        for split in ("train", "validation")
    }
    labels = class_names(rows["train"])
    steps = total_steps(len(rows["train"]), recipe.train)
    config = prune_config(recipe.prune, steps)
    weights = select(_model(recipe, labels), targets=config.targets, ignore=config.ignore)
    count = sum(weight.numel() for weight in weights.values())
    result = {
        "train": len(rows["train"]),
        "validation": len(rows["validation"]),
        "classes": labels,
        "steps": steps,
        "pruning": config.to_dict(),
        "weights": {name: list(weight.shape) for name, weight in weights.items()},
        "prunable": count,
        "pruner_bytes": count * _BYTES_PER_WEIGHT,
    }
    _show(result, reporter)
    return result


def _model(recipe: Recipe, labels: list[str]) -> Any:
    section = recipe.model
    if section.config is not None:
        return build_model(section.config, section.task, labels, recipe.train.seed).model
    return load_checkpoint(
        str(section.name),
        section.task,
        labels=labels,
        trust_remote_code=section.trust_remote_code,
        cache_dir=section.cache_dir,
    ).model


def _show(result: dict[str, Any], reporter: Reporter) -> None:
    config, steps = result["pruning"], result["steps"]
    first, last = config["initial_warmup_steps"], steps - config["final_warmup_steps"]
    rows = [(name, "x".join(map(str, shape))) for name, shape in result["weights"].items()]
    reporter.table("Weights that would be pruned", ("weight", "[out x in]"), rows)
    reporter.say(
        f"{result['train']} training and {result['validation']} validation examples, {steps} steps, twice"
    )
    reporter.say(
        f"{result['prunable']:,} weights to {config['sparsity']:.1%} sparsity: dense until step {first}, rising "
        f"until step {last}, full sparsity for the last {steps - last}; a mask every {config['mask_interval']} steps"
    )
    reporter.say(
        f"the pruner would hold {result['pruner_bytes'] / 1e6:.0f} MB beside the model and the optimiser"
    )
