"""Makes the files that the grids read out of data sets as they are published.

    python benchmarks/prepare_data.py DATA --model VIT -o runs/quality/data

DATA holds cifar10/, squad/, sst2/ and stsb/ as benchmarks/README.md lists them; VIT is the folder of a DINOv2 model. What is
written lies beside no copy of them in the project: the texts have terms of their own. Every data set is split once more,
so that no row that a model is judged by has chosen anything: a part of the training rows (whole articles, of SQuAD)
becomes the validation data, and the published development rows are the test data. SST-2's are too few to tell models apart:
10,000 test rows are carved from its training rows, and the published development rows are kept beside them. The topics of
SQuAD's questions are split by paragraph, since every article has to be in each part.
"""

import argparse
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from study import run_study, study_parser
from trials.carving import carve

from platon_compress.errors import InputError
from platon_compress.files import new_file, read_json, write_json, write_text

__all__ = ["decoded", "main", "ranked", "sentences_of", "shrunk_positions", "topics"]

_SEED = 0
_VALIDATION_PICTURES, _VALIDATION_PAIRS, _VALIDATION_ARTICLES = 1000, 749, 4
_SST2_SENTENCES = 10_000
_SST2_PARTS = {"test": 10_000, "validation": 1_500}
_TOPIC_SPLITS = {3: "validation", 6: "test", 9: "test"}
_PIXELS = 112
# Behind a full stop that a capital, a bracket or a quotation mark follows.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(\[])")


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    parser.add_argument("data", type=Path, help="folder of the published data sets")
    parser.add_argument("--model", type=Path, help="folder of a DINOv2 model; without it none is made")
    parser.add_argument("-o", "--to", type=Path, required=True, help="folder to write to")
    return run_study(_prepare, parser, arguments)


def _prepare(options: argparse.Namespace) -> Iterator[str]:
    for name, prepare in _SETS.items():
        if not (options.data / name).is_dir():
            yield f"{name}: not in {options.data}, left out"
            continue
        yield from (f"written: {path}" for path in prepare(options.data, options.to))
    if options.model is not None:
        yield f"written: {_smaller_vit(options.model, options.to / f'vit-small-{_PIXELS}')}"


def _cifar(data: Path, to: Path) -> Iterator[Path]:
    """Pictures of 32x32 out of an archive of JPEG files."""
    files = sorted((data / "cifar10").glob("*.npz"))
    if len(files) != 1:
        raise InputError(f"{data / 'cifar10'} holds {len(files)} .npz files; leave one there")
    with np.load(files[0], allow_pickle=False) as archive:
        pictures = {split: decoded(archive, split) for split in ("train", "test")}
        labels = {split: archive[f"y_{split}"] for split in pictures}
    chosen = _held_out(len(labels["train"]), _VALIDATION_PICTURES)
    parts = {
        "train": (pictures["train"][~chosen], labels["train"][~chosen]),
        "validation": (pictures["train"][chosen], labels["train"][chosen]),
        "test": (pictures["test"], labels["test"]),
    }
    for split, (images, classes) in parts.items():
        with new_file(to / "cifar10-split" / f"{split}.npz") as path, path.open("wb") as file:
            np.savez(file, image=images, label=classes)
        yield to / "cifar10-split" / f"{split}.npz"


def decoded(archive: Mapping[str, np.ndarray], split: str) -> np.ndarray:
    """uint8 [n, height, width, 3] of the JPEG files that lie one behind the other in `SPLIT_bytes`."""
    from PIL import Image

    content, starts = archive[f"{split}_bytes"], archive[f"{split}_off"]
    files = (content[first:last].tobytes() for first, last in pairwise(starts))
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])


def _squad(data: Path, to: Path) -> Iterator[Path]:
    """Questions, the sentences of each question's paragraph to rank for it, and the article that each asks about."""
    train, test = (
        read_json(data / "squad" / f"{split}.json", "give a SQuAD file")["data"] for split in ("train", "dev")
    )
    held = len(train) - _VALIDATION_ARTICLES
    for split, articles in {"train": train[:held], "validation": train[held:], "test": test}.items():
        yield write_json(to / "squad-split" / f"{split}.json", {"version": "1.1", "data": articles})
        yield _write_lines(to / "squad-rank" / f"{split}.jsonl", ranked(articles))
    for split, rows in topics([*train, *test]).items():
        yield _write_lines(to / "squad-topics" / f"{split}.jsonl", rows)


def ranked(articles: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each sentence of the paragraph of each question: does it hold a part of the (first) answer?

    Paragraphs of one sentence have nothing to rank, and are left out.
    """
    for article in articles:
        for paragraph in article["paragraphs"]:
            sentences = sentences_of(paragraph["context"])
            if len(sentences) < 2:
                continue
            for question in paragraph["qas"]:
                start = question["answers"][0]["answer_start"]
                end = start + len(question["answers"][0]["text"])
                query = {"query_id": question["id"], "query": question["question"].strip()}
                for first, text in sentences:
                    yield {**query, "passage": text, "label": int(first < end and start < first + len(text))}


def topics(articles: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Questions with the title of their article. Of ten paragraphs in turn, two are test data and one is validation data.

    So all questions about a paragraph are in one split, and every article of ten paragraphs or more in each.
    """
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
    for article in articles:
        for number, paragraph in enumerate(article["paragraphs"]):
            place = rows[_TOPIC_SPLITS.get(number % 10, "train")]
            place += (
                {"text": asked["question"].strip(), "label": article["title"]} for asked in paragraph["qas"]
            )
    return rows


def sentences_of(text: str) -> list[tuple[int, str]]:
    """(first character, sentence) of each."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    parts = [(first, text[first:last].rstrip()) for first, last in pairwise(starts)]
    return [(first, part) for first, part in parts if part]


def _stsb(data: Path, to: Path) -> Iterator[Path]:
    """Scored pairs; and the sentences of the training pairs, with some of SST-2, without any score."""
    pairs = {split: _pairs(data / "stsb" / f"{split}.tsv") for split in ("train", "dev")}
    chosen = _held_out(len(pairs["train"]), _VALIDATION_PAIRS)
    parts = {
        "train": [row for row, held in zip(pairs["train"], chosen, strict=True) if not held],
        "validation": [row for row, held in zip(pairs["train"], chosen, strict=True) if held],
        "test": pairs["dev"],
    }
    for split, rows in parts.items():
        yield _write_lines(to / "stsb-split" / f"{split}.jsonl", rows)
    texts = [row[key] for row in parts["train"] for key in ("text", "text_pair")]
    sentences = dict.fromkeys([*texts, *_sst2(data / "sst2" / "train.tsv")])
    yield _write_lines(to / "stsb-sentences" / "train.jsonl", ({"text": text} for text in sentences))


def _pairs(path: Path) -> list[dict[str, Any]]:
    rows = _table(path)
    return [
        {"text": row["sentence1"], "text_pair": row["sentence2"], "label": float(row["score"])}
        for row in rows
    ]


def _sst2(path: Path) -> list[str]:
    """Whole sentences among the phrases of its training rows; none where there is no such file."""
    texts = [row["sentence"].strip() for row in _table(path)] if path.exists() else []
    order = np.random.default_rng(_SEED).permutation(len(texts))[:_SST2_SENTENCES]
    return [texts[i] for i in order]


def _sst2_split(data: Path, to: Path) -> Iterator[Path]:
    """Phrases, split by sentence."""
    published = {split: _table(data / "sst2" / f"{split}.tsv") for split in ("train", "dev")}
    rows: dict[str, list[Mapping[str, Any]]] = {
        split: [{"text": row["sentence"].strip(), "label": int(row["label"])} for row in table]
        for split, table in published.items()
    }
    parts = carve(rows["train"], "text", _SST2_PARTS, "train", seed=_SEED)
    for split, chosen in {**parts, "dev": rows["dev"]}.items():
        yield _write_lines(to / "sst2-split" / f"{split}.jsonl", chosen)


def _table(path: Path) -> list[dict[str, str]]:
    """Rows of a tab-separated file in which quotation marks are letters; lines that are too short are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the published file") from error
    head = lines[0].split("\t")
    rows = (line.split("\t") for line in lines[1:])
    return [dict(zip(head, row, strict=False)) for row in rows if len(row) >= len(head)]


def _held_out(count: int, wanted: int) -> np.ndarray:
    """bool [count], true at `wanted` places."""
    held = np.zeros(count, dtype=bool)
    held[np.random.default_rng(_SEED).permutation(count)[:wanted]] = True
    return held


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    return write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _smaller_vit(model: Path, to: Path) -> Path:
    """The model for pictures of _PIXELS, with the processor that it lacks."""
    from PIL.Image import Resampling
    from safetensors.numpy import load_file, save_file
    from transformers import BitImageProcessor

    config = read_json(model / "config.json", "give a DINOv2 model")
    weights = load_file(model / "model.safetensors")
    name = next((key for key in weights if key.endswith("position_embeddings")), None)
    if name is None:
        raise InputError(f"{model} holds no position_embeddings; give a DINOv2 model")
    weights[name] = shrunk_positions(weights[name], _PIXELS // config["patch_size"])
    write_json(to / "config.json", {**config, "image_size": _PIXELS})
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    size = {"height": _PIXELS, "width": _PIXELS}
    BitImageProcessor(size=size, do_center_crop=False, resample=Resampling.BICUBIC).save_pretrained(to)
    return to


def shrunk_positions(embeddings: np.ndarray, side: int) -> np.ndarray:
    """Position embeddings [1, 1 + n * n, width] for side x side patches, resampled as the model itself does it."""
    import torch

    old = round((embeddings.shape[1] - 1) ** 0.5)
    grid = torch.from_numpy(embeddings[:, 1:].reshape(1, old, old, -1)).permute(0, 3, 1, 2)
    new = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    flat = new.permute(0, 2, 3, 1).reshape(1, side * side, -1).numpy()
    return np.ascontiguousarray(np.concatenate([embeddings[:, :1], flat], axis=1))


_SETS: Mapping[str, Callable[[Path, Path], Iterator[Path]]] = {
    "cifar10": _cifar,
    "squad": _squad,
    "sst2": _sst2_split,
    "stsb": _stsb,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
