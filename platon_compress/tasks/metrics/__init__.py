"""Task metrics: decoded answers and references in, :class:`~platon_compress.scoring.Scores` out; no models, no torch.

One file per kind. Values are those of scikit-learn, scipy and seqeval; SQuAD's and the ranking metrics follow the
papers, because no light library has them. The primary metric is also computed on every resample, from counts per unit
where there are any: the libraries' functions would take minutes for that.

Each file has the trivial answer's value too: what the metric is for an answer that does not look at its input. It is 0
for correlations and for entities.
"""

from collections.abc import Mapping

from platon_compress.errors import InputError, shown

__all__ = ["METRICS", "check_metric", "metric_names"]

_CLASSES = ("accuracy", "f1", "f1_macro", "f1_micro", "matthews")

METRICS: Mapping[str, tuple[str, ...]] = {
    "text-classification": _CLASSES,
    "text-classification/multi-label": ("f1_micro", "f1_macro", "accuracy", "average_precision"),
    "text-classification/regression": ("spearman", "pearson"),
    "token-classification": ("f1", "precision", "recall"),
    "question-answering": ("f1", "exact_match"),
    "sentence-similarity": ("spearman", "pearson", "fidelity", "similarity_spearman"),
    "text-ranking": ("mrr@10", "ndcg@10", "average_precision"),
    "image-classification": _CLASSES,
}
"""Names by task, the primary one first; behind a slash the problems that a task has beside its usual one."""


def metric_names(task: str, problem: str | None = None) -> tuple[str, ...]:
    """What `task` can be judged by, the primary one first; without a problem: by whichever of its problems it has.

    Raises InputError for a task without metrics.
    """
    if task not in METRICS:
        known = ", ".join(name for name in METRICS if "/" not in name)
        raise InputError(f"there is no metric for the task {shown(task)}; take one of {known}")
    if problem is not None:
        return METRICS.get(f"{task}/{problem}", METRICS[task])
    every = (name for key, names in METRICS.items() if key.split("/")[0] == task for name in names)
    return tuple(dict.fromkeys(every))


def check_metric(task: str, name: str | None, problem: str | None = None) -> str:
    """`name` where `task` can be judged by it, the primary metric for None. Raises InputError naming the choices."""
    choices = metric_names(task, problem)
    if name is None:
        return choices[0]
    if name not in choices:
        what = f"{task} ({problem})" if problem else task
        raise InputError(f"metric {shown(name)} does not go with {what}; take one of {', '.join(choices)}")
    return name
