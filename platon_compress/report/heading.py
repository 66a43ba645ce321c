"""What stands on top: the run's title, what was done, and which run, when and by which command."""

from pathlib import Path
from typing import Any

from platon_compress.report.run_data import RunData
from platon_compress.report.words import criterion_words

__all__ = ["model_name", "run_origin", "run_subtitle", "run_task", "run_title"]

_METHODS = {"sparsegpt": "SparseGPT", "wanda": "Wanda", "magnitude": "magnitude"}
_FAMILIES = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "DINOv2",
    "mobilebert": "MobileBERT",
    "modernbert": "ModernBERT",
}


def run_title(run: RunData) -> str:
    """`MiniLM-L6 on sst2`, `ViT on digits`, `bert-base (text classification)`."""
    model, data = _model_label(run), _data_label(run)
    if data:
        return f"{model} on {data}"
    task = run_task(run)
    return f"{model} ({task.replace('-', ' ')})" if task else model


def run_subtitle(run: RunData) -> str:
    """Task and what was done to the model."""
    return f"{run_task(run) or 'model'}, {_what_was_done(run)} for ONNX Runtime"


def _what_was_done(run: RunData) -> str:
    pruned = run.stage("prune")
    if "oneshot" in pruned:
        return f"pruned without training ({_METHODS[pruned['oneshot']['method']]}) and compressed"
    if run.state.get("kind") == "compress":
        return "compressed from a sparse checkpoint"
    criterion = (run.recipe.get("prune") or {}).get("criterion", "platon")
    return f"pruned {criterion_words(criterion)}{' using distillation' if pruned.get('distillation') else ''} and compressed"


def run_origin(run: RunData) -> dict[str, str]:
    """Run name, date and command; every setting stands in the folder's recipe.yaml."""
    name = run.folder.resolve().name
    commands = {
        "demo": "platon-compress demo",
        "compress": f"platon-compress compress {model_name(run)} -o {name}",
    }
    kind = str(run.state.get("kind") or "run")
    oneshot = run.stage("prune").get("oneshot")
    if oneshot:
        commands["compress"] += f" --sparsity {oneshot['sparsity']:g} --calibration FILE"
    measured = str(run.bench.environment.get("timestamp") or "").replace("T", " ")
    return {
        "run": name,
        "measured": measured[:16] or "at an unknown time",
        "command": commands.get(kind, f"platon-compress run recipe.yaml -o {name}"),
    }


def run_task(run: RunData) -> str | None:
    """`text-classification`; None where the recipe names none."""
    return run.task


def model_name(run: RunData) -> str:
    """As the recipe names it; else the model's family, else the folder's name."""
    model = run.recipe.get("model")
    if isinstance(model, dict):
        name = model.get("name") or (model.get("config") or {}).get("model_type")
        if name:
            return str(name)
    return str(model) if isinstance(model, str) else run.folder.resolve().name


def _model_label(run: RunData) -> str:
    name = model_name(run).removeprefix("package:")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name  # a hub id
    short = Path(name).name or name
    return _FAMILIES.get(short, short)


def _data_label(run: RunData) -> str | None:
    data: Any = run.recipe.get("data")
    if not isinstance(data, dict) or not data.get("dataset"):
        return None
    name = data.get("dataset_config") or data["dataset"]
    return str(name).rpartition(":")[2].rpartition("/")[2] or None
