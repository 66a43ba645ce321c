"""A grid of trainings that take seconds, and scores without any."""

import numpy as np
import yaml
from trials.grid import Setup

from platon_compress.scoring import accuracy_evaluation

TINY = {
    "recipe": "digits",
    "changes": {
        "kind": "run",
        "model": {
            "config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            }
        },
        "train": {"epochs": 0.3, "evaluations": 2},
        "distill": {},
        "plan": {"calibrate": False},
        "bench": {"batch": [1], "runs": 6},
    },
    "model": "tiny ViT",
    "data": "digits",
    "sparsity": [0.5, 0.8],
    "seeds": [1, 2],
    "controls": ["untrained", "taught"],
}


def written(folder, **rows):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"title": "Tiny", "rows": rows or {"digits": TINY}}))
    return path


def setup_of(folder, **more):
    return Setup(**{"data": (), "runs": folder / "runs", "threads": 1, **more})


def scores(right, metric="accuracy"):
    """Of a model that is right where `right` says so."""
    labels = np.zeros(len(right), dtype=int)
    logits = np.stack([np.asarray(right), 1 - np.asarray(right)], axis=1)
    evaluation = accuracy_evaluation([{"x": logits}], [labels])
    return evaluation.score([{"logits": logits}])
