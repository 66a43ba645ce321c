"""What a newcomer gets wrong, over all commands: one line that names a cure, exit 2, and no file left behind."""

import json
import os
import shlex

import pytest
import yaml
from tiny_berts import saved_bert

from platon_compress.cli import main


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A folder as a newcomer has it: a model, tables, recipes, other people's folders."""
    folder = tmp_path_factory.mktemp("house")
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
    return folder


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


# After `run good.yaml -o x --set`, one a line.
SETTINGS = """
prune.sparsity=0
prune.sparsity=1
prune.sparsity=1e-12
prune.sparsity=0.9999999999
prune.sparsity=.nan
prune.sparsity=.inf
prune.sparsity=90%
prune.sparsity=true
prune.sparsity=null
prune.sparsity=[0.9]
prune.beta1=1
prune.beta2=-0.1
prune.mask_interval=0
prune.mask_interval=2.5
prune.mask_interval=100000000
prune.initial_warmup=1
prune.final_warmup=0.95
prune.freeze=0.9
prune.rewind_to=0.5
prune.criterion=luck
prune.scope=all
prune.granularity=3:4
prune.granularity=2:4
prune.max_layer_sparsity=0.1
prune.group_multiple=0
prune.schedule=linear
prune.freeze_steps=3
prune.sparsty=0.9
prune.targets=[1]
prune.per_millisecond=7
train.epochs=0
train.epochs=-1
train.epochs=1e18
train.epochs=.inf
train.epochs=four
train.batch_size=0
train.batch_size=1e9
train.batch_size=99999999999999999999
train.learning_rate=0
train.learning_rate=-1
train.learning_rate=.nan
train.seed=-1
train.seed=18446744073709551616
train.seed=1.5
train.seed=4294967296
train.evaluations=0
train.warmup_ratio=1
train.bf16=maybe
train.gradient_accumulation_steps=0
train.max_grad_norm=0
train.weight_decay=-1
data.max_length=1
data.max_length=10000000
data.train_rows=0
data.validation_rows=-5
data.text=
data.lable=x
data.dataset=glue
data.problem=many
data.negative=text
data.group=text
data.document_stride=200
data.label_columns=[a, b]
data.test=nowhere.csv
data.test_split=test
data.train=null
data.train={tmp}/nowhere.csv
data.validation=nowhere.csv
plan.tokens=0
plan.threads=100000
plan.threads=0
plan.device=tpu
plan.force=fast
plan.batch=0
plan.cost_table=nowhere.json
plan.batch=16385
export.opset=11
export.opset=99
export.exporter=onnx
verify.atol=0
verify.atol=-1
verify.atol=.inf
verify.examples=3
verify.examples=1e12
bench.batch=[]
bench.batch=[0]
bench.batch=[1, -1]
bench.batch=1000000000000
bench.runs=1
bench.runs=1e9
bench.tokens=[0]
bench.threads=4096
bench.device=gpu
bake.values=int8
distill.temperature=0
distill.weight=2
distill.labels=false
distill.hidden=-1
dense={tmp}/nowhere
model.task=translation
model.name=
model.name=null
model.config={model_type: vit}
model=bert
model.config.hidden_size=1e18
model.config={model_type: bert, layer_norm_eps: .nan}
model.trust_remote_code=true
kind=jump
nonsense=1
prune.sparsity.x=1
prune.sparsity
=3
prune=0.9
prune.sparsity={a: 1, a: 2}
prune.sparsity=[[[
bench.batch=1,1,1,1,1,1,1,1,1
"""
# Whole command lines.
COMMANDS = """
run
run good.yaml
run -o x
run nowhere.yaml -o x
run text -o x
run '' -o x
run good.yaml -o ''
run good.yaml -o
run good.yaml extra -o x
run good.yaml -o x -o y
run good.yaml -o x --output x
run good.yaml -o x --json --json
run good.yaml -o x --jsn
run good.yaml -o train.csv
run good.yaml -o dangling
run good.yaml -o dangling/x
run good.yaml -o loop
run good.yaml -o train.csv/x
run good.yaml -o other
run good.yaml -o torn
run good.yaml -o odd
run good.yaml -o /proc/x/y
run empty.yaml -o x
run list.yaml -o x
run word.yaml -o x
run tab.yaml -o x
run twice.yaml -o x
run inner-twice.yaml -o x
run bomb.yaml -o x
run loop.yaml -o x
run large.yaml -o x
run deep.yaml -o x
run code.yaml -o x
run two.yaml -o x
run typo.yaml -o x
run stranger.yaml -o x
run no-prune.yaml -o x
run number.yaml -o x
run latin.yaml -o x
run folder.yaml -o x
run good.yaml -o x --require speedup=2
run good.yaml -o x --require 'fast>=1'
run good.yaml -o x --require ''
run good.yaml -o x --require 'speedup>=nan'
run good.yaml -o x --train nowhere.csv
run good.yaml -o x --train ''
run good.yaml -o x --test nowhere.csv
run good.yaml -o x --negative text
run good.yaml -o x --group text
run text-classification -o x --test train.csv
run text-classification -o x --train train.csv
run digits -o x --validation dev.csv
prune
prune nowhere.yaml -o x
prune good.yaml -o other
prune typo.yaml -o x
demo -o train.csv
demo -o x --set train.epochs=1e9
demo x
run good.yaml -o x --set prune.sparsity=0.5 --set prune.sparsity=0.6
run good.yaml -o x --set data.train=train.csv --train train.csv
calibrate -o list.json
bake -o nowhere
bake -o other
bake
bake -o begun extra
plan -o nowhere
plan -o other
plan
plan -o begun extra
convert -o nowhere
convert -o other
convert
convert -o begun extra
export -o nowhere
export -o other
export
export -o begun extra
verify -o nowhere
verify -o other
verify
verify -o begun extra
report -o nowhere
report -o other
report
report -o begun extra
bake -o torn
plan -o odd
verify -o bomb
export -o trusting
report -o x --require 'luck>1'
report -o nowhere --json
verify -o train.csv
compress
compress bert
compress '' -o x
compress bert -o train.csv
compress bert -o x --task nonsense
compress bert -o x --task ''
compress bert -o x --batch 1000000000000
compress bert -o x --batch one
compress bert -o x --batch 1,1
compress bert -o x --batch ''
compress bert -o x --batch 1,,2
compress bert -o x --batch 0
compress bert -o x --tokens 0
compress bert -o x --tokens many
compress bert -o x --tokens 99999999999999999999
compress bert -o x --threads 100000
compress bert -o x --threads 0
compress bert -o x --runs 0
compress bert -o x --atol nan
compress bert -o x --atol -1
compress bert -o x --atol inf
compress bert -o x --device tpu
bench model -o nowhere --device tpu
compress bert -o x --force fast
compress bert -o x --opset 9
compress bert -o x --exporter magic
compress bert -o x --data nowhere.csv
compress bert -o x --data ''
compress bert -o x --text sentence
compress bert -o x --label y
compress bert -o x --calibrate --no-calibrate
compress bert -o x --task fill-mask --data dev.csv
compress damaged -o x
compress empty -o x
compress ./nowhere -o x
compress bert -o x --require 'speedup>two'
compress bert -o other --no-calibrate
estimate
estimate bert --sparsity 0
estimate bert --sparsity 1
estimate bert --sparsity 90
estimate bert --sparsity nan
estimate bert --sparsity a,b
estimate bert --sparsity 0.9,0.9
estimate bert --tokens 0
estimate bert --tokens 1e3
estimate bert --batch 10000000
estimate bert --threads -2
estimate bert --runs 1
estimate bert --batch 10000 --tokens 1000
estimate damaged
estimate ./nowhere
estimate bert --task singing
estimate bert --task image-classification
estimate bert --tokens 100
estimate good.yaml
calibrate
calibrate -o table.txt
calibrate -o train.csv/t.json
calibrate -o t.json --shapes 768
calibrate -o t.json --shapes 0x768
calibrate -o t.json --shapes 768x9999999999
calibrate -o t.json --shapes 8x8,8x8
calibrate -o t.json --densities 0
calibrate -o t.json --densities 2
calibrate -o t.json --densities nan
calibrate -o t.json --tokens -1
calibrate -o t.json --threads 100000
calibrate -o t.json --threads 1,
bench model
bench model -o nowhere
bench model -o other
bench model -o torn
bench model -o begun
bench model -o begun --batch x
bench model -o begun --device tpu
bench model -o begun --batch 16384 --tokens 131072
bench model -o begun --runs 2
bench kernel
bench kernel -o train.csv
bench kernel -o k --models gpt
bench kernel -o k --models ''
bench kernel -o k --models list.json
bench kernel -o k --densities 0
bench kernel -o k --threads 5000
bench kernel -o k --blocks 3
bench kernel -o k --pause -1
bench kernel -o k --pause nan
bench kernel -o k --runs 1000000000
bench kernl
bench training
init
init ranking
init text-classification -o good.yaml
init text-classification -o x.txt
init text-classification -o train.csv/r.yaml
init text-classification image-classification
schema extra
schema --html
nonsense
--bogus
run-all
"""
# What only reading the data or the model can tell: after `run good.yaml -o x --dry-run`.
READ = """
--train head.csv
--train empty.csv
--train one.csv
--train ragged.csv
--train binary.csv
--train table.xlsx
--train list.json
--train torn.jsonl
--train torn.npz
--train torn.parquet
--validation new.csv
--set data.max_length=1000
--set bench.tokens=1000
--set plan.cost_table=list.json
--set plan.cost_table=train.csv
--set dense=other
--set dense=bert
--set data.validation_rows=5
--set model.name=null --set 'model.config={model_type: nope}'
--set model.name=null --set 'model.config={model_type: bert, hidden_sze: 64}'
--set model.name=null --set 'model.config={model_type: bert, hidden_size: 7}'
--set model.name=null --set 'model.config={model_type: bert, hidden_size: 120000, num_hidden_layers: 9}'
--set model.name=null --set 'model.config={model_type: bert, hidden_act: none}'
--text sentence
--label klass
--text-pair second
--set model.name=./nowhere
--set model.name=damaged
--set 'prune.targets=[nothing]'
--set prune.granularity=head --set prune.sparsity=0.99
--set prune.granularity=neuron --set prune.group_multiple=4096
--set 'model.freeze=[nothing]'
--set distill.teacher=./nowhere
--set prune.mask_interval=1000
--set model.name=weights
--set 'prune.targets=['"'"'re:('"'"']'
"""
# What a foreign checkpoint and its data must be, found before anything is written.
FOREIGN = """
compress bert -o x --no-calibrate
compress base -o x --no-calibrate
compress weights -o x --no-calibrate
compress sparse -o x --no-calibrate --data head.csv
compress sparse -o x --no-calibrate --data one.csv
compress sparse -o x --no-calibrate --dense ./nowhere
compress sparse -o x --no-calibrate --dense three
compress sparse -o x --no-calibrate --tokens 1000
compress sparse -o x --no-calibrate --data dev.csv --text sentence
compress sparse -o x --no-calibrate --data dev.csv --label klass
compress sparse -o x --no-calibrate --data new.csv
compress sparse -o x --no-calibrate --data binary.csv
compress sparse -o x --task image-classification
"""
# What cannot be written into a line.
ODD = [
    ["run", "good.yaml", "-o", "x" * 300],
    ["run", "good.yaml", "-o", "a\0b"],
    ["calibrate", "-o", "t.json", "--shapes", ",".join(f"{n}x8" for n in range(1, 99))],
    ["run", "good.yaml", "-o", "x", "--set", "bench.batch=[" + "1, " * 200 + "1]"],
    ["compress", "bert", "-o", "x", "--batch", "9" * 5000],
]


def _snapshot(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_size if path.is_file() else -1
        for path in folder.rglob("*")
    }


def _refused(house, arguments, capsys, monkeypatch, said=""):
    monkeypatch.chdir(house)
    before = _snapshot(house)
    capsys.readouterr()
    status = main([argument.format(tmp=house) if "{tmp}" in argument else argument for argument in arguments])
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert status == 2, captured.err
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert "; " in lines[0], f"no cure: {lines[0]}"
    assert "this is a bug" not in lines[0]
    assert len(lines[0]) < 700
    assert said is None or captured.out == said
    assert _snapshot(house) == before


@pytest.mark.parametrize("override", SETTINGS.strip().splitlines())
def test_a_wrong_setting(house, override, capsys, monkeypatch):
    _refused(house, ["run", "good.yaml", "-o", "x", "--set", override], capsys, monkeypatch)


@pytest.mark.parametrize("line", COMMANDS.strip().splitlines())
def test_a_wrong_command(house, line, capsys, monkeypatch):
    _refused(house, shlex.split(line), capsys, monkeypatch)


@pytest.mark.parametrize("arguments", ODD)
def test_an_odd_command(house, arguments, capsys, monkeypatch):
    _refused(house, arguments, capsys, monkeypatch)


@pytest.mark.parametrize("flags", READ.strip().splitlines())
def test_wrong_data_or_model(house, flags, capsys, monkeypatch):
    _refused(house, ["run", "good.yaml", "-o", "x", "--dry-run", *shlex.split(flags)], capsys, monkeypatch)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_place_without_permission(house, capsys, monkeypatch):
    closed = house / "closed"
    closed.mkdir(mode=0o500)
    try:
        _refused(house, ["run", "good.yaml", "-o", "closed/x"], capsys, monkeypatch)
    finally:
        closed.rmdir()


@pytest.mark.parametrize("flags", READ.strip().splitlines())
def test_the_same_without_a_dry_run_leaves_no_folder(house, flags, capsys, monkeypatch):
    _refused(house, ["run", "good.yaml", "-o", "x", *shlex.split(flags)], capsys, monkeypatch, said=None)


@pytest.mark.parametrize("line", FOREIGN.strip().splitlines())
def test_a_checkpoint_that_cannot_be_compressed(house, line, capsys, monkeypatch):
    _refused(house, shlex.split(line), capsys, monkeypatch, said=None)
