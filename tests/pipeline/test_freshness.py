"""A changed recipe touches the stages that use what changed; what took long is refused, with the keys named."""

import pytest

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.freshness import refuse_other_settings, why_not_current
from platon_compress.pipeline.stages import stages_of
from platon_compress.recipe import parse_recipe

RUN = {
    "model": {"name": "some/model", "task": "text-classification"},
    "data": {"train": "a.tsv", "validation": "b.tsv"},
    "prune": {"sparsity": 0.9},
}
SEARCH = {**RUN, "plan": {"values": "int8"}, "budget": {"min_speedup": 2}}
COMPRESS = {"kind": "compress", "model": {"name": "some/model", "task": "text-classification"}}


def _finished(tmp_path, raw, stages=None):
    recipe = parse_recipe(raw)
    folder = RunFolder.open(tmp_path / "run", recipe.kind)
    with folder.locked():
        for stage in stages_of(recipe):
            if stages is None or stage.name in stages:
                for name in stage.outputs:
                    if name.endswith((".json", ".md", ".html")):
                        folder.write_text(name, stage.name)
                    else:
                        (folder.path / name).mkdir(parents=True)
                folder.finish(stage, 1.0, {"of": stage.name}, stage.settings(recipe))
    return folder


def _changed(raw, dotted, value):
    section, _, key = dotted.partition(".")
    return parse_recipe({**raw, section: {**raw.get(section, {}), key: value} if key else value})


@pytest.mark.parametrize(
    ("raw", "key", "value", "first"),
    [
        (RUN, "bench.runs", 99, ["bench"]),
        (RUN, "verify.atol", 1e-3, ["verify"]),
        (RUN, "plan.threads", 3, ["plan"]),
        (RUN, "export.opset", 20, ["export"]),
        (RUN, "bake.values", "float16", ["bake"]),
        (RUN, "data.test", "c.tsv", ["verify"]),
        (RUN, "metric", "f1_macro", ["export"]),
        (RUN, "model.cache_dir", "elsewhere", []),
        (SEARCH, "plan.attention", "float32", ["search"]),
        (SEARCH, "plan.int8_budget", 0.1, ["choose"]),
        (COMPRESS, "data", {"validation": "b.tsv"}, ["data"]),
        (COMPRESS, "dense", "other/model", ["data"]),
        (COMPRESS, "plan.force", "csr", ["plan"]),
    ],
)
def test_a_changed_key_touches_what_uses_it(tmp_path, raw, key, value, first):
    folder = _finished(tmp_path, raw)
    stages = stages_of(parse_recipe(raw))
    assert why_not_current(stages, folder, parse_recipe(raw)) == {}
    changed = _changed(raw, key, value)
    refuse_other_settings(stages, folder, changed)
    reasons = why_not_current(stages, folder, changed)
    assert list(reasons)[:1] == first
    if first:
        assert reasons[first[0]].startswith(f"{key} was ") or key == "data"
    untouched = {"bench.runs": {"verify", "export", "plan"}, "plan.threads": {"bake", "prune"}}
    assert not untouched.get(key, set()) & reasons.keys()


@pytest.mark.parametrize(
    ("raw", "key", "value", "told"),
    [
        (RUN, "prune.sparsity", 0.8, r"prune\.sparsity was 0\.9, now 0\.8"),
        (RUN, "train.seed", 7, r"train\.seed was not set, now 7"),
        (RUN, "data.train", "other.tsv", r"data\.train was 'a\.tsv', now 'other\.tsv'"),
        (COMPRESS, "model.name", "another/model", r"model\.name was 'some/model', now 'another/model'"),
    ],
)
def test_what_took_long_is_not_thrown_away(tmp_path, raw, key, value, told):
    folder = _finished(tmp_path, raw)
    with pytest.raises(InputError, match=rf"holds a run with other settings: {told}; give another --output"):
        refuse_other_settings(stages_of(parse_recipe(raw)), folder, _changed(raw, key, value))


def test_before_the_training_is_done_its_settings_may_change(tmp_path):
    folder = _finished(tmp_path, RUN, stages=("data", "dense"))
    changed = _changed(RUN, "prune.sparsity", 0.8)
    refuse_other_settings(stages_of(changed), folder, changed)
    reasons = why_not_current(stages_of(changed), folder, changed)
    assert "dense" in reasons  # until data has been read again, with the same result
    with folder.locked():
        data = stages_of(changed)[0]
        folder.finish(data, 1.0, {"of": "data"}, data.settings(changed))
    assert "dense" not in why_not_current(stages_of(changed), folder, changed)


def test_another_result_makes_what_is_made_of_it_old(tmp_path):
    folder = _finished(tmp_path, RUN)
    plan = next(stage for stage in stages_of(parse_recipe(RUN)) if stage.name == "plan")
    with folder.locked(), folder.running(plan, {}):
        folder.write_text("plan.json", "another")
        folder.finish(plan, 1.0, {}, plan.settings(parse_recipe(RUN)))
    reasons = why_not_current(stages_of(parse_recipe(RUN)), folder, parse_recipe(RUN))
    assert list(reasons) == ["convert", "export", "verify", "bench", "report"]
    assert reasons["convert"] == "plan has been run again since"
    assert reasons["export"] == "convert is not up to date"
