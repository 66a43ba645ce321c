"""The words of the report: every label once, for the JSON result, Markdown, HTML and the pictures."""

from collections.abc import Mapping

__all__ = [
    "ANSWERS",
    "CARDS",
    "FORMS",
    "METRIC_NAMES",
    "NONE",
    "POINTS",
    "RIVALS",
    "ROUTES",
    "SECTIONS",
    "SHORT_FORMS",
    "SHORT_VARIANTS",
    "STATEMENTS",
    "UNITS",
    "VARIANTS",
    "WAYS",
    "criterion_words",
    "metric_figure",
    "metric_name",
    "metric_title",
    "route_name",
]

NONE = "\N{EN DASH}"
"""In a cell without a value."""

VARIANTS: Mapping[str, str] = {
    "dense": "dense",
    "dense_int8": "dense int8",
    "pruned": "pruned, dense kernels",
    "compressed_float32": "compressed, float32",
    "compressed": "compressed",
}
"""Name of a measured file to its label."""

RIVALS: Mapping[str, str] = {
    "openvino": "OpenVINO dense",
    "openvino_int8": "OpenVINO int8",
    "every_second_layer": "dense, every second layer",
    "every_second_layer_int8": "dense int8, every second layer",
}
"""The same of what stands beside a run's own files."""

SHORT_VARIANTS: Mapping[str, str] = {
    **VARIANTS,
    "dense_int8": "int8",
    "pruned": "pruned",
    "compressed_float32": "float32",
}
"""The same where a phone's width has to do."""

FORMS: Mapping[str, str] = {
    "dense": "dense",
    "structured": "structured (shrunk)",
    "csr": "CSR (sparse kernel)",
}
"""Form of a layer to its label."""

SHORT_FORMS: Mapping[str, str] = {"dense": "dense", "structured": "shrunk", "csr": "csr"}
"""The same inside a cell."""

ROUTES: Mapping[str, str] = {
    "torch_converted": "converted model in PyTorch",
    "onnx_pruned": "pruned file",
    "onnx_compressed": "compressed file, our kernels",
    "onnx_compressed_stock": "compressed file, stock ONNX Runtime",
    "onnx_float32": "its float32 form, our kernels",
    "onnx_float32_stock": "its float32 form, stock ONNX Runtime",
}
"""Route of the parity check, each against the pruned model in PyTorch, to its label."""

WAYS: Mapping[str, str] = {"portable": "our portable kernels", "stock": "stock ONNX Runtime"}
"""Another way to run an operator with 8-bit weights to its label."""

STATEMENTS: Mapping[str, str] = {"faster": "faster", "slower": "slower", "undecided": "undecided"}
"""What an interval says; undecided: it holds 1, or there are too few pairs for one."""

ANSWERS: Mapping[str, str] = {
    "yes": "Yes",
    "mixed": "Mixed",
    "no": "No",
    "undecided": "Undecided",
    "not measured": "Not measured",
}
"""Answer of the verdict to its heading."""

POINTS = ("Speed", "Size", "Quality")
"""The three points below the verdict's sentence."""

CARDS: Mapping[str, str] = {
    "sparsity": "Sparsity",
    "speed": "Speed against dense",
    "speed_int8": "Speed against dense int8",
    "size": "Size on disk",
    "metric": "Task metric",
    "parity": "Same answers",
}
"""Labels of the key numbers; the task metric goes by its own name where it was measured."""

SECTIONS: Mapping[str, str] = {
    "use": "Use",
    "latency": "Latency",
    "start": "Cold start and memory",
    "peers": "Other engines",
    "size": "Size",
    "metric": "Task metric",
    "parity": "Same answers",
    "layers": "Layers",
    "method": "How it was measured",
}
"""Headings, in both pages."""

UNITS: Mapping[str, str] = {
    "row": "examples",
    "text": "texts",
    "question": "questions",
    "article": "articles",
    "query": "queries",
    "word": "words",
}
"""What is resampled, more than one of them."""

METRIC_NAMES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "matthews": "Matthews correlation",
    "average_precision": "average precision",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "precision": "precision",
    "recall": "recall",
    "exact_match": "exact match",
    "fidelity": "cosine fidelity",
    "similarity_spearman": "Spearman correlation of similarities",
    "mrr@10": "MRR@10",
    "ndcg@10": "nDCG@10",
}
"""A metric as it stands before a figure; platon_compress.tasks.metrics computes them."""

_SHARES = ("accuracy", "exact_match", "precision", "recall")  # of examples or entities: percent
_WHOSE: Mapping[str, str] = {"token-classification": "entity", "question-answering": "answer"}
_SHARED = ("f1", "precision", "recall")  # names that tell more with the task's word before them


def metric_name(name: str, task: str | None = None) -> str:
    """As it stands before a figure: "accuracy", "macro F1"; of a task that has a word for it: "entity F1"."""
    said = METRIC_NAMES.get(name, name.replace("_", " "))
    whose = _WHOSE.get(task or "") if name in _SHARED else None
    return f"{whose} {said}" if whose else said


def metric_title(name: str, task: str | None = None) -> str:
    """The same as a heading: "Accuracy", "Macro F1", but "nDCG@10"."""
    said = metric_name(name, task)
    return said[:1].upper() + said[1:] if said.split(" ", maxsplit=1)[0].islower() else said


def metric_figure(name: str, value: float, digits: int = 1) -> str:
    """A value as a figure: 86.0% of examples, but 80.6 of a correlation or an F1, which are shares of nothing."""
    return f"{100 * value:.{digits}f}" + ("%" if name in _SHARES else "")


def route_name(pair: str) -> str:
    """Of the second route of `torch_pruned vs onnx_compressed`; a pair that is not one of ours stays as it is."""
    return ROUTES.get(pair.rpartition(" vs ")[2], pair)


def criterion_words(criterion: str) -> str:
    """What follows "pruned" for a `prune.criterion`: `with PLATON`, `by magnitude`."""
    return "with PLATON" if criterion == "platon" else f"by {criterion}"
