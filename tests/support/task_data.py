"""The files that the pages of docs/tasks/ name, one task after the other, over the vocabulary of the page tests."""

import csv
import json

import numpy as np

from platon_compress.testing import tiny_transformer

WORDS = ("the", "film", "was", "good", "bad")
ROWS = 72


def write_tasks(folder):
    """Training and validation files of every task but the first, and a folder of pictures with a model for them."""
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, generator.integers(3, 9))) for _ in range(ROWS)]
    counts = [text.split().count("good") for text in texts]
    for end in ("", "-dev"):
        _table(folder / f"numbers{end}.csv", ("text", "label"), zip(texts, counts, strict=True))
        topics = [json.dumps([word for word in ("good", "bad") if word in text]) for text in texts]
        _table(folder / f"topics{end}.csv", ("text", "label"), zip(texts, topics, strict=True))
        _queries(folder / f"queries{end}.tsv", texts)
    _table(folder / "texts.csv", ("text",), ((text,) for text in texts))
    scored = zip(texts, reversed(texts), counts, strict=True)
    _table(folder / "scored-pairs.csv", ("text", "text_pair", "label"), scored)
    for name in ("train", "dev"):
        _conll(folder / f"{name}.conll", texts)
        _squad(folder / f"{name}.json", texts)
    _pictures(folder, generator)


def _table(path, names, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def _queries(path, texts):
    rows = [f"the film {text.split()[0]}\t{text}\t{int('good' in text)}" for text in texts]
    path.write_text("\n".join(["query\tpassage\tlabel", *rows]) + "\n", encoding="utf-8")


def _conll(path, texts):
    tagged = ("\n".join(f"{w}\t{'B-X' if w == 'film' else 'O'}" for w in f"{t} film".split()) for t in texts)
    path.write_text("\n\n".join(tagged) + "\n", encoding="utf-8")


def _squad(path, texts):
    articles = [
        {
            "title": f"article {number}",
            "paragraphs": [
                {
                    "context": f"{text} good",
                    "qas": [
                        {
                            "id": str(number),
                            "question": "was the film good",
                            "answers": [{"text": "good", "answer_start": f"{text} good".index("good")}],
                        }
                    ],
                }
            ],
        }
        for number, text in enumerate(texts)
    ]
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")


def _pictures(folder, generator):
    import transformers
    from PIL import Image

    for split in ("train", "validation"):
        for kind in ("cats", "dogs"):
            place = folder / "photos" / split / kind
            place.mkdir(parents=True)
            for number in range(ROWS // 2):
                Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
                    place / f"{number}.png"
                )
    tiny_transformer("vit", "Model")[0].save_pretrained(folder / "tiny-vit")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "tiny-vit")
