"""A folder as a newcomer has it: a model, tables, recipes, other people's folders; most of it wrong in some way."""

import json

import yaml
from tiny_berts import saved_bert


def furnish(folder):
    saved_bert(folder / "bert", "BertForSequenceClassification")
    saved_bert(folder / "base", "BertModel")
    saved_bert(folder / "sparse", "BertForSequenceClassification", zeros=0.8)
    saved_bert(folder / "three", "BertForSequenceClassification", num_labels=3)
    _tables(folder)
    _recipes(folder)
    (folder / "other").mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "other" / "notes.txt").write_text("mine")
    _run_folder(folder / "begun", {"kind": "run", "version": 2, "stages": {}})
    _run_folder(folder / "torn", "{")
    _run_folder(folder / "odd", {"stages": 3})
    _run_folder(folder / "bomb", {"version": 2, "stages": {}}, recipe="a: &a [x, x]\nb: &b [*a, *a]\nc: *c")
    _run_folder(
        folder / "trusting",
        {"version": 2, "stages": {}},
        recipe=_recipe(folder, model={"trust_remote_code": True}),
    )
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.json").write_text("{")
    (folder / "empty").mkdir()
    (folder / "weights").mkdir()
    (folder / "weights" / "config.json").write_text((folder / "bert" / "config.json").read_text())
    (folder / "weights" / "model.safetensors").write_bytes(b"\x08" * 64)


def _tables(folder):
    rows = "".join(f"{' '.join('abcdefgh'[: 1 + i % 8])},{'good' if i % 2 else 'bad'}\n" for i in range(80))
    (folder / "train.csv").write_text("text,label\n" + rows)
    (folder / "dev.csv").write_text("text,label\n" + rows)
    (folder / "one.csv").write_text("text,label\n" + rows.replace("bad", "good"))
    (folder / "new.csv").write_text("text,label\n" + rows.replace("bad", "ugly"))
    (folder / "empty.csv").write_text("")
    (folder / "head.csv").write_text("text,label\n")
    (folder / "ragged.csv").write_text("text,label\na b\n")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    (folder / "table.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "list.json").write_text("[1, 2, 3]")
    (folder / "torn.jsonl").write_text('{"text": "a", "label": 1}\n{"text": ')
    (folder / "torn.npz").write_bytes(b"PK not a zip")
    (folder / "torn.parquet").write_bytes(b"PAR1")


def _recipe(folder, **changes):
    recipe = {
        "model": {"name": str(folder / "base"), "task": "text-classification"},
        "data": {"train": str(folder / "train.csv"), "validation": str(folder / "dev.csv"), "max_length": 16},
        "train": {"epochs": 1, "batch_size": 16},
        "prune": {"sparsity": 0.8, "mask_interval": 1},
    }
    for section, values in changes.items():
        recipe[section] = {**recipe.get(section, {}), **values}
    return yaml.safe_dump(recipe)


def _recipes(folder):
    good = _recipe(folder)
    texts = {
        "good": good,
        "empty": "",
        "list": "- a\n- b\n",
        "word": "hello",
        "tab": "model:\n\tname: x\n",
        "twice": good + "prune: {sparsity: 0.5}\n",
        "inner-twice": "model: {name: a, name: b, task: text-classification}\n",
        "bomb": "\n".join(
            [
                "a: &a [x, x, x, x, x, x, x, x]",
                *(
                    f"{n}: &{n} [{', '.join([f'*{p}'] * 8)}]"
                    for p, n in zip("abcdefg", "bcdefgh", strict=True)
                ),
            ]
        ),
        "loop": "model: &m {config: *m}\n",
        "large": "a: '" + "x" * 1_100_000 + "'",
        "deep": "a: " + "[" * 9000,
        "code": "model: !!python/object/apply:os.getcwd []\n",
        "two": good + "---\n" + good,
        "typo": good.replace("prune:", "prun:"),
        "stranger": _recipe(folder, model={"trust_remote_code": True}),
        "no-prune": good.split("prune:")[0],
        "number": "42",
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "latin.yaml").write_bytes("model: {name: Übung}".encode("latin-1"))
    (folder / "folder.yaml").mkdir()


def _run_folder(folder, state, recipe="model: {name: x, task: text-classification}"):
    folder.mkdir()
    (folder / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))
    (folder / "recipe.yaml").write_text(recipe)
