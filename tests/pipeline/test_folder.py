"""The run folder: state, records that go before files change, the lock, what a kill leaves, what leads out of it."""

import json
import os

import pytest

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.stage import Stage


def _stage(name, *, needs=(), outputs=()):
    return Stage(name=name, title=name, run=dict, uses=lambda recipe: (), needs=needs, outputs=outputs)


BAKE = _stage("bake", outputs=("model",))
PLAN = _stage("plan", needs=("bake",), outputs=("plan.json",))


@pytest.fixture
def path(tmp_path):
    """A folder in which bake and plan have finished."""
    folder = RunFolder.open(tmp_path / "run", "run")
    with folder.locked():
        folder.remember_recipe("model: {}\n")
        with folder.running(BAKE, {}), folder.new_folder(folder.model) as model:
            (model / "weights").write_text("old")
        folder.finish(BAKE, 1.5, {"x": 1}, {"bake.values": "float16"})
        with folder.running(PLAN, {}):
            folder.write_json("plan.json", {"layers": []})
        folder.finish(PLAN, 0.5, {}, {})
    return folder.path


def _done(path):
    return list(json.loads((path / "state.json").read_text())["stages"])


def test_state_survives(path):
    again = RunFolder.open(path, "run")
    assert again.result("bake") == {"x": 1}
    record = again.record("bake")
    assert (record.settings, record.seconds) == ({"bake.values": "float16"}, 1.5)
    assert again.record("plan").inputs == {"bake": record.stamp}
    assert list(record.files) == ["model/weights"]
    assert (path / "recipe.yaml").read_text() == "model: {}\n"


def test_a_record_goes_when_a_file_changes_not_before(path):
    folder = RunFolder.open(path, "run")
    with folder.locked(), folder.running(BAKE, {}):
        with pytest.raises(RuntimeError), folder.new_folder(folder.model) as model:  # noqa: PT012
            (model / "weights").write_text("half")
            raise RuntimeError
        assert _done(path) == ["bake", "plan"]
        assert (folder.model / "weights").read_text() == "old"
        with folder.new_folder(folder.model) as model:
            (model / "weights").write_text("new")
            assert _done(path) == ["bake", "plan"]
        assert _done(path) == ["plan"]
    assert (folder.model / "weights").read_text() == "new"
    with folder.locked(), folder.running(PLAN, {}):
        folder.write_json("plan.json", {})
        assert _done(path) == []


def test_the_same_result_has_the_same_stamp(path):
    folder = RunFolder.open(path, "run")
    before = folder.record("bake").stamp
    for text, same in (("old", True), ("new", False)):
        with folder.locked(), folder.running(BAKE, {}), folder.new_folder(folder.model) as model:
            (model / "weights").write_text(text)
        with folder.locked():
            folder.finish(BAKE, 9, {"x": 1}, {})
        assert (folder.record("bake").stamp == before) == same


def test_another_kind_is_refused(path):
    with pytest.raises(InputError, match=r"another kind \('run', now 'demo'\); give another"):
        RunFolder.open(path, "demo")


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files; give an empty or a new folder"):
        RunFolder.open(tmp_path, "run")
    with pytest.raises(InputError, match=r"is a file; give a folder"):
        RunFolder.open(tmp_path / "thesis.txt", "run")


def test_what_a_refused_call_made_is_gone(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("new", "mine"):
        folder = RunFolder.open(tmp_path / name, "run")
        with pytest.raises(InputError), folder.locked():  # noqa: PT012
            folder.remember_recipe("x")
            raise InputError
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []


class _KilledError(BaseException):
    pass


@pytest.mark.parametrize("survives", range(8))
@pytest.mark.parametrize("stage", [BAKE, PLAN], ids=lambda stage: stage.name)
def test_a_first_stage_is_gone_on_with_wherever_a_kill_comes(tmp_path, monkeypatch, stage, survives):
    """Between any two files that get their names; the first stage of `compress` has files of its own."""
    left = survives

    def killed_in_time(given):
        def replaced(*arguments):
            nonlocal left
            if not left:
                raise _KilledError
            left -= 1
            return given(*arguments)

        return replaced

    def attempt():
        folder = RunFolder.open(tmp_path / "run", "compress")
        with folder.locked():
            folder.remember_recipe("model: {}\n")
            with folder.running(stage, {}):
                (folder.checkpoints() / "step").write_text("1")
                if stage is PLAN:
                    folder.write_json("plan.json", {})
                else:
                    with folder.new_folder(folder.model) as model:
                        (model / "weights").write_text("new")
            folder.finish(stage, 1, {}, {})

    with monkeypatch.context() as patch:
        for name in ("replace", "rename"):
            patch.setattr(os, name, killed_in_time(getattr(os, name)))
        try:
            attempt()
        except _KilledError:
            assert survives < 7
    attempt()
    assert _done(tmp_path / "run") == [stage.name]
    assert (tmp_path / "run" / "recipe.yaml").is_file()


@pytest.mark.parametrize("name", [".lock", ".state.json.tmp-1-ab", ".model.old-7-cd"])
def test_what_a_kill_at_the_very_start_left_is_taken_over(tmp_path, name):
    (tmp_path / name).write_text("half")
    with RunFolder.open(tmp_path, "run").locked():
        pass


def _state(**changes):
    record = {"result": {}, "seconds": 1.0, "stamp": "a", "settings": {}, "inputs": {}, "files": {}}
    return json.dumps({"version": 2, "kind": "run", "stages": {"bake": {**record, **changes}}})


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "[" * 100_000, '{"stages": 3}', '{"version": 1, "stages": {}}', '{"version": 2}',
        '{"version": 2, "stages": {"bake": 3}}', '{"version": 2, "stages": {"bake": {}}}', _state(result=3),
        _state(inputs=[]), _state(files={"a": [1]}), _state(files={"a": ["1", 2]}), _state(more=1),
        _state(files={"/etc/passwd": [1, 2]}), _state(files={"../a": [1, 2]}),
    ],
)  # fmt: skip
def test_a_broken_state_gets_one_line(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"state\.json") as error:
        RunFolder.open(tmp_path, "run")
    assert "\n" not in str(error.value)


def test_two_processes_do_not_share_a_folder(tmp_path):
    with RunFolder.open(tmp_path / "run", "run").locked():
        other = RunFolder.open(tmp_path / "run", "run")
        with pytest.raises(InputError, match=r"another process works on"), other.locked():
            pass


def test_leftovers_of_a_kill_are_cleared(path):
    (path / "stages").mkdir()
    for place in (path, path / "stages"):
        (place / ".model.tmp-123").mkdir()
        (place / ".plan.json.tmp-123").write_text("half")
    with RunFolder.open(path, "run").locked():
        assert [p.name for p in path.rglob("*") if ".tmp-" in p.name] == []


def test_missing_results_name_the_stage(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "run")
    with pytest.raises(InputError, match=r"stage bake has not finished in .*; run it first"):
        folder.result("bake")
    with pytest.raises(InputError, match=r"cannot read .*plan\.json"):
        folder.read_json("plan.json")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_names_that_no_file_can_have_are_missing(path, name):
    state = json.loads((path / "state.json").read_text())
    state["stages"]["bake"]["files"] = {name: [3, 0]}
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=r"is missing from .*; make it again with"):
        RunFolder.open(path, "run").check_files("bake")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "'model/weights' is missing from .*"),
        (lambda file: file.write_text("much longer"), "has 11 bytes, not the 3 that were written"),
        (lambda file: file.write_text("odl"), "does not hold what was written"),
    ],
)
def test_damaged_files_name_the_way_back(path, damage, message):
    folder = RunFolder.open(path, "run")
    folder.check_files("bake")
    damage(folder.model / "weights")
    with pytest.raises(InputError, match=rf"{message}; make it again with `platon-compress bake -o"):
        folder.check_files("bake")


@pytest.mark.parametrize("name", [".lock", "state.json", "model", "onnx", "stages", "model/deep/config.json"])
@pytest.mark.parametrize("target", ["outside", "nowhere", "."])
def test_links_are_refused_and_nothing_outside_is_touched(path, tmp_path, name, target):
    """A stranger's folder must not lead a run to write, truncate or remove elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".x.tmp-1").write_text("precious")
    link = path / name
    link.parent.mkdir(exist_ok=True, parents=True)
    if link.is_dir():
        link.rename(tmp_path / "moved")
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=r"is a symbolic link to .*, and a run stays in its folder"):
        RunFolder.open(path, "run")
    assert (outside / ".x.tmp-1").read_text() == "precious"


def test_pipes_are_refused(path):
    os.mkfifo(path / "plan")
    with pytest.raises(InputError, match="is neither a file nor a folder; remove it"):
        RunFolder.open(path, "run")


def test_checkpoints_belong_to_their_settings(path):
    train = _stage("prune", needs=("bake",))
    folder = RunFolder.open(path, "run")
    with folder.locked():
        for settings, kept in (
            ({"prune.sparsity": 0.9}, False),
            ({"prune.sparsity": 0.9}, True),
            ({}, False),
        ):
            with folder.running(train, settings):
                place = folder.checkpoints()
                assert (place / "checkpoint-5").is_dir() == kept
                (place / "checkpoint-5").mkdir(exist_ok=True)
        folder.finish(train, 1, {}, {})
        assert not place.exists()
