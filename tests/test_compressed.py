"""Compressed models on disk: every bit, every family, both majors of transformers, files of strangers."""

import contextlib
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from platon_compress import convert, keep_zeros, load_compressed, plan, save_compressed
from platon_compress.baking import bake
from platon_compress.compressed import FILE
from platon_compress.errors import InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.planning import Form, PlanConfig
from platon_compress.selection import select
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

_STORED = Path(__file__).parent / "data"
_FAMILIES = [
    "bert",
    "deberta-v2",
    "deberta-v3",
    "dinov2",
    "dinov2-swiglu",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "vit",
]


def _compressed(family, *, shrinks=True, form=Form.CSR):
    """A third of the weights left, some heads and neurons gone, every weight as CSR."""
    model, inputs = tiny_transformer(family)
    generator = torch.Generator().manual_seed(5)
    masks = {name: torch.rand(p.shape, generator=generator) < 0.3 for name, p in select(model).items()}
    for number, coupling in enumerate(find_couplings(model) if shrinks else ()):
        for unit in [number % 4] if coupling.kind == "heads" else range(number, 40 + 2 * number):
            features = slice(unit * coupling.unit_size, (unit + 1) * coupling.unit_size)
            masks[f"{coupling.consumer}.weight"][:, features] = False
            for path in coupling.producers:
                masks[f"{path}.weight"].unflatten(0, (coupling.stacks, -1))[:, features] = False
    baked = bake(model, masks)
    made = plan(baked, PlanConfig(tokens=12, threads=1))
    made = replace(made, layers=tuple(replace(layer, form=form) for layer in made.layers))
    return convert(baked, made), inputs


def _assert_same(one, other):
    states = one.model.state_dict(), other.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert [key for key in states[0] if not torch.equal(states[0][key], states[1][key])] == []
    assert one.to_dict() == other.to_dict()
    assert one.csr.keys() == other.csr.keys()
    for name, csr in one.csr.items():
        for part in ("values", "columns", "row_starts"):
            assert np.array_equal(getattr(csr, part), getattr(other.csr[name], part)), name


@torch.no_grad()
def _outputs(model, inputs):
    return model(**inputs).logits


@pytest.mark.parametrize("shrinks", [False, True])
@pytest.mark.parametrize("family", _FAMILIES)
def test_what_is_saved_is_loaded(tmp_path, family, shrinks):
    compressed, inputs = _compressed(family, shrinks=shrinks)
    folder = save_compressed(compressed, tmp_path / "m")
    back = load_compressed(folder, attn_implementation="eager")
    _assert_same(compressed, back)
    assert bool(back.removed) == shrinks
    assert type(back.model) is type(compressed.model)
    assert not back.model.training
    assert not hasattr(back.model.config, "compression_config")
    assert torch.equal(_outputs(back.model, inputs), _outputs(compressed.model, inputs))
    assert {p.name for p in folder.iterdir()} == {"config.json", FILE}


@pytest.mark.parametrize("writer", ["4.57", "5.24"])
def test_the_other_major_of_transformers_reads_it(tmp_path, writer):
    """One shrunk ViT, whose modules are named differently, written by both; the folders lie in tests/data."""
    read = load_compressed(_STORED / f"compressed-vit-{writer}")
    assert len(read.csr) == 12
    assert [entry.after for entry in read.removed] == [3, 24, 3, 24]
    one, other = (load_compressed(_STORED / f"compressed-vit-{version}") for version in ("4.57", "5.24"))
    _assert_same(one, other)
    _assert_same(read, load_compressed(save_compressed(read, tmp_path / "again")))
    expected = load_file(_STORED / "compressed-vit-outputs.safetensors")
    logits = _outputs(read.model, {"pixel_values": expected["pixel_values"]})
    assert (logits - expected["logits"]).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path, dtype):
    model, _ = tiny_transformer("bert")
    masks = {name: torch.rand(p.shape) < 0.3 for name, p in select(model).items()}
    baked = bake(model, masks)
    baked.model.to(dtype)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=12, threads=1, force=Form.CSR)))
    back = load_compressed(save_compressed(compressed, tmp_path / "m"))
    assert next(back.model.parameters()).dtype == dtype
    _assert_same(compressed, back)


def test_dense_weights_with_zeros_are_stored_sparse_too(tmp_path):
    compressed, _ = _compressed("bert", shrinks=False, form=Form.DENSE)
    assert compressed.csr == {}
    back = load_compressed(save_compressed(compressed, tmp_path / "m"))
    _assert_same(compressed, back)
    assert (
        len(json.loads((tmp_path / "m" / "config.json").read_text())["compression_config"]["encodings"]) == 12
    )


@pytest.mark.parametrize(("kind", "family"), [("ViTModel", "vit"), ("XLMRobertaModel", "xlm-roberta")])
def test_an_encoder_without_its_pooler(tmp_path, kind, family):
    whole, inputs = tiny_transformer(family)
    model = getattr(transformers, kind)(whole.config, add_pooling_layer=False).eval()
    baked = bake(model, {name: torch.rand(p.shape) < 0.3 for name, p in select(model).items()})
    save_compressed(convert(baked, plan(baked, PlanConfig(tokens=12, threads=1))), tmp_path)
    opened = load_compressed(tmp_path, attn_implementation="eager").model
    assert opened.pooler is None
    with torch.no_grad():
        assert torch.equal(opened(**inputs).last_hidden_state, model(**inputs).last_hidden_state)


def test_tied_weights_and_a_tokenizer(tmp_path):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=80
    )
    baked = bake(
        transformers.BertForMaskedLM(config),
        {n: torch.rand(p.shape) < 0.2 for n, p in select(transformers.BertForMaskedLM(config)).items()},
    )
    compressed = convert(baked, plan(baked, PlanConfig(tokens=12, threads=1, force=Form.CSR)))
    processor = transformers.ViTImageProcessor()
    back = load_compressed(save_compressed(compressed, tmp_path / "m", processor=processor))
    _assert_same(compressed, back)
    model = back.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (tmp_path / "m" / "preprocessor_config.json").is_file()


def test_fine_tuning_goes_on_and_is_saved_again(tmp_path):
    compressed, inputs = _compressed("bert")
    first = load_compressed(save_compressed(compressed, tmp_path / "m"))
    optimizer = torch.optim.AdamW(first.model.parameters(), lr=0.01, weight_decay=0.1)
    first.model.train()
    with keep_zeros(first.model):
        for _ in range(3):
            first.model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    second = load_compressed(save_compressed(first, tmp_path / "m"))
    nnz = {name: csr.nnz for name, csr in compressed.csr.items()}
    assert {name: csr.nnz for name, csr in second.csr.items()} == nnz
    changed = [
        name for name in nnz if not np.array_equal(second.csr[name].values, compressed.csr[name].values)
    ]
    assert len(changed) >= 10
    _assert_same(first.refreshed(), second)


def test_a_loaded_model_goes_straight_to_the_export(tmp_path):
    compressed, inputs = _compressed("bert")
    back = load_compressed(save_compressed(compressed, tmp_path / "m"))
    with torch.no_grad():
        for name in back.csr:
            back.model.get_parameter(name).mul_(1.5)  # as training would: the export takes the weights of now
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = export_onnx(back, tmp_path / "m.onnx", inputs)
    assert result.skipped == ()
    assert result.sparse_nodes
    session = open_session(result.path)
    got = session.run(None, {v.name: inputs[v.name].numpy() for v in session.get_inputs()})[0]
    assert np.abs(got - _outputs(back.model, inputs).numpy()).max() < 1e-4


@pytest.fixture
def folder(tmp_path):
    return save_compressed(_compressed("bert")[0], tmp_path / "m")


def _config(change):
    def apply(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        change(config, config["compression_config"])
        path.write_text(json.dumps(config))

    return apply


def _tensors(change):
    def apply(folder):
        tensors = load_file(folder / FILE)
        change(tensors)
        save_file(tensors, folder / FILE)

    return apply


_WORD = "bert.embeddings.word_embeddings.weight"
_DAMAGE = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "plain model": (_config(lambda c, _: c.pop("compression_config")), "holds no compressed model; read a plain"),
    "no file": (lambda f: (f / FILE).unlink(), "cannot read .*compressed.safetensors"),
    "cut file": (lambda f: (f / FILE).write_bytes((f / FILE).read_bytes()[:-100]), "cannot read"),
    "version": (_config(lambda _, own: own.update(version=99)), "has version 99, this release reads 1"),
    "format": (_config(lambda _, own: own.update(format="zeros")), "its format is 'zeros'"),
    "no list": (_config(lambda _, own: own.update(removed={})), "removed is {}, not of type list"),
    "class": (_config(lambda _, own: own.update(model_class="AutoModel")), "has no model 'AutoModel'"),
    "no class": (_config(lambda _, own: own.update(model_class="os.system")), "has no model 'os.system'"),
    "dtype": (_config(lambda _, own: own.update(dtype="int8")), "its dtype is 'int8'"),
    "encoding": (_config(lambda _, own: own["encodings"].update(x="zip")), "an encoding is none of"),
    "another part": (_config(lambda _, own: own["encodings"].update(x="gaps")), "lacks 'x.values'"),
    "csr of dense": (_config(lambda _, own: own["csr"].append(_WORD)), "is listed as CSR, but is not sparse"),
    "unit too high": (_config(lambda _, own: own["removed"][0]["kept"].append(4)), "not rising numbers below 4"),
    "unit twice": (_config(lambda _, own: own["removed"][0].update(kept=[1, 1, 2])), "not rising numbers"),
    "no unit": (_config(lambda _, own: own["removed"][0].update(kept=[])), "not rising numbers"),
    "a true unit": (_config(lambda _, own: own["removed"][0].update(kept=[True])), "kept holds something other"),
    "fewer units": (_config(lambda _, own: own["removed"][0].update(kept=[1])), "which does not fit the 1 heads"),
    "a million units": (_config(lambda _, own: own["removed"][0].update(units=2**20)), "fetch the"),
    "many units": (_config(lambda _, own: own["removed"][0].update(units=2**40)), "not between 1 and"),
    "another group": (_config(lambda _, own: own["removed"][0].update(kind="neurons")), "does not build 4 neurons"),
    "no group": (_config(lambda _, own: own["removed"][0].update(consumer="nobody")), "shrinks 'nobody.weight', which"),
    "other sizes": (_config(lambda c, _: c.update(hidden_size=64)), "cannot build BertFor|misfits"),
    "silly sizes": (_config(lambda c, _: c.update(num_attention_heads=7)), "cannot build BertFor"),
    "tensor gone": (_tensors(lambda t: t.pop(_WORD)), f"lacks {_WORD}"),
    "tensor more": (_tensors(lambda t: t.update(more=torch.ones(2))), "holds more, unlike BertFor"),
    "tensor misshapen": (_tensors(lambda t: t.update({_WORD: torch.ones(3, 3)})), "cannot build|misfits"),
    "NaN": (_tensors(lambda t: t[_WORD].fill_(float("nan"))), f"{_WORD} in .* not finite"),
}  # fmt: skip


@pytest.mark.parametrize("damage", _DAMAGE)
def test_damaged_folders_get_one_line(folder, damage):
    change, message = _DAMAGE[damage]
    change(folder)
    with pytest.raises(InputError, match=message) as error:
        load_compressed(folder)
    assert "\n" not in str(error.value)


def test_a_folder_that_asks_for_endless_layers(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "deep")
    path = tmp_path / "deep" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 10**7}))
    with pytest.raises(InputError, match=r"names 10000000 layers, and no encoder has more"):
        load_compressed(tmp_path / "deep")


def test_code_of_a_folder_is_not_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass E: pass\nclass C: pass\n")
    _config(
        lambda c, _: c.update(auto_map={"AutoModel": "evil.E", "AutoConfig": "evil.C"}, model_type="evil")
    )(folder)
    with contextlib.suppress(InputError):
        load_compressed(folder)
    assert not (tmp_path / "ran").exists()


def test_other_folders_are_left_alone(tmp_path):
    compressed, _ = _compressed("bert", shrinks=False)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something other than a compressed model; give a new folder"):
        save_compressed(compressed, tmp_path)
    with pytest.raises(InputError, match=r"takes the result of convert\(\), got BertFor"):
        save_compressed(compressed.model, tmp_path / "m")
    with torch.no_grad():
        compressed.model.classifier.weight[0] = float("inf")
    with pytest.raises(InputError, match=r"classifier\.weight holds 32 numbers that are not finite"):
        save_compressed(compressed, tmp_path / "m")
    compressed.model.classifier.to(torch.float64)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["", "./none", "a/b/c", "~/none", "/no/such"])
def test_a_path_that_does_not_exist_is_refused_at_once(name):
    with pytest.raises(InputError, match="there is no folder"):
        load_compressed(name)


def test_what_plain_transformers_would_make_of_it(folder, tmp_path):
    """It must fail rather than start from random weights."""
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(OSError, match=r"no file named|not appear to have a file"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "copy")
