"""The folders that docs/deploying.md and docs/tasks/ open, one for each task: tiny random models with sparse layers."""

import importlib.util
import shutil

from exported_models import make, make_vit

# What the commands on the pages of docs/tasks/ would have written, out of the folders made here.
RUNS = {
    "tags": "entities",
    "questions": "answers",
    "photos": "pictures",
    "search": "embeddings",
    "ranked": "reranker",
}


def write_exported(root):
    """ROOT/entities, answers, pictures, and in sentence-transformers' layout ROOT/embeddings and reranker."""
    root.mkdir(parents=True)
    for name, head, settings in (
        ("entities", "tokens", {"labels": ("O", "B-PER", "I-PER", "B-LOC")}),
        ("answers", "answers", {}),
    ):
        (root / name).mkdir()
        make(root / name, "bert", head, **settings)
    (root / "pictures").mkdir()
    make_vit(root / "pictures")
    _write_sentence_folders(root)


def write_runs(root):
    """The same as ROOT/NAME/onnx of finished runs, with classifiers of texts of every kind."""
    for name, settings in (
        ("sentiment", {"labels": ("negative", "positive")}),
        ("topics", {"labels": ("politics", "sport"), "problem_type": "multi_label_classification"}),
        ("numbers", {"num_labels": 1, "problem_type": "regression"}),
    ):
        folder = root / name / "onnx"
        folder.mkdir(parents=True)
        make(folder, "bert", "text", **settings)
    for name, source in RUNS.items():
        if (root / source).is_dir():
            shutil.copytree(root / source, root / name / "onnx")


def _write_sentence_folders(root):
    """With sentence-transformers itself; where it is missing, the page that opens them says so."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return
    import sentence_transformers

    for name, head, settings in (("embeddings", "plain", {}), ("reranker", "text", {"num_labels": 1})):
        source = root / f"{name}-source"
        source.mkdir()
        model, tokenizer, _ = make(source, "bert", head, **settings)
        model.save_pretrained(source / "plain")
        tokenizer.save_pretrained(source / "plain")
        if head == "plain":
            theirs = sentence_transformers.SentenceTransformer(
                str(source / "plain"), prompts={"query": "question: "}, device="cpu"
            )
        else:
            theirs = sentence_transformers.CrossEncoder(str(source / "plain"), device="cpu")
        theirs.save_pretrained(str(root / name))
        (root / name / "onnx").mkdir()
        shutil.copy(source / "compressed.onnx", root / name / "onnx" / "compressed.onnx")
