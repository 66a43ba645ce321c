"""kill -9 at random moments of first and repeated runs, and run folders that somebody has damaged.

After every kill a name holds the old result or the new one, what the state calls finished is there, and the run can
go on to the same bits as one that nobody disturbed. A damaged folder gets one line and exit 2, and nothing outside it
is touched. A few of each here; PLATON_KILLS=200 PLATON_MUTATIONS=100 for a long night. The runs live in children that
a worker forks, so that only the worker pays for importing torch.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from forked_runs import command, finish, fork, run_results, run_worker

from platon_compress.testing import tiny_recipe

pytestmark = pytest.mark.train
KILLS = int(os.environ.get("PLATON_KILLS", "8"))
MUTATIONS = int(os.environ.get("PLATON_MUTATIONS", "12"))
SEED = int(os.environ.get("PLATON_SEED", "1"))
RECIPE = tiny_recipe(
    data={"train_rows": 256}, train={"epochs": 3, "evaluations": 6}, prune={"mask_interval": 2}
)
REPEATED = ("bake", "plan", "convert", "export", "verify")


def _assert_promises(folder, whole):
    """Whatever has its name is whole; whatever the state calls finished is there."""
    from platon_compress.pipeline.folder import RunFolder

    if not folder.exists():
        return
    opened = RunFolder.open(folder, "run")
    for stage in ("dense", "prune", "bake", "plan", "convert", "export", "verify", "bench", "report"):
        opened.check_files(stage)
    found = run_results(folder)
    for name, content in found.items():
        assert whole.get(name) == content, f"{name} is neither the old result nor the new one"
    for place in {name.rpartition("/")[0] for name in found} - {""}:
        missing = {name for name in whole if name.startswith(f"{place}/")} - found.keys()
        assert not missing, f"{place} is only half there, without {sorted(missing)}"


def _kill(folder, recipe, whole, moments, kills):
    """Kill runs on `folder` until there have been `kills`; every finished one is started anew or repeated."""
    log, done, patience = folder.with_suffix(".log"), 0, 1.5
    told = {}
    again = None
    while done < kills:
        words = ("run", recipe, "-o", folder) if again is None else (again, "-o", folder)
        child = fork(command(*words), log)
        time.sleep(moments.uniform(0.02, patience))
        os.kill(child, signal.SIGKILL)
        status = finish(child)
        if status == -signal.SIGKILL:
            done += 1
            patience = min(patience * 1.2, 30)  # the longest stage must get through at some time
            told[again or "run"] = told.get(again or "run", 0) + 1
        else:
            assert status == 0, log.read_text()
            patience = 1.5
        _assert_promises(folder, whole)
        if (again is not None or status == 0) and run_results(folder).keys() == whole.keys():
            again = moments.choice((None, *REPEATED))
            if again is None:
                shutil.rmtree(folder)
        elif again is not None:
            again = None
    assert finish(fork(command("run", recipe, "-o", folder), log)) == 0, log.read_text()
    assert run_results(folder) == whole
    return told


def _mutate(folder, outside, moments):
    """Damage one thing; what was done, for the message."""
    paths = [p for p in sorted(folder.rglob("*")) if p.name != ".lock"]
    path = moments.choice(paths)
    kind = moments.choice(("delete", "cut", "garbage", "flip", "nan", "link", "pipe", "type", "empty"))
    name = f"{kind} {path.relative_to(folder)}"
    if path.is_dir() or kind in ("delete", "link", "pipe"):
        (shutil.rmtree if path.is_dir() else os.unlink)(path)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind != "delete":
            path.symlink_to(moments.choice((outside, outside / "precious.txt", outside / "nothing")))
        return name
    content = bytearray(path.read_bytes())
    if kind == "cut":
        del content[len(content) // 2 :]
    elif kind == "garbage":
        content[:] = moments.randbytes(len(content))
    elif kind == "flip" and content:
        content[moments.randrange(len(content))] ^= 1 << moments.randrange(8)
    elif kind == "nan":
        content[-4:] = b"\x00\x00\xc0\x7f"
    elif kind == "type":
        content[:] = moments.choice((b"[]", b"3", b"null", b'{"stages": {"bake": 1}}', b"a: &a [*a]"))
    elif kind == "empty":
        content.clear()
    path.write_bytes(content)
    return name


def _mutations(whole, recipe, results, moments, count):
    outcomes = {}
    place, outside = whole.parent / "mutated", whole.parent / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    (outside / ".x.tmp-1").write_text("precious")
    before = run_results(outside), sorted(p.name for p in outside.iterdir())
    for _ in range(count):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        begun = moments.choice(
            (None, "prune", "convert", "verify")
        )  # the stages from here on have not run yet
        if begun is not None:
            state = json.loads((place / "state.json").read_text())
            names = list(state["stages"])
            state["stages"] = {name: state["stages"][name] for name in names[: names.index(begun)]}
            (place / "state.json").write_text(json.dumps(state))
        told = _mutate(place, outside, moments)
        stage = moments.choice(("run", *REPEATED, "report"))
        words = ("run", recipe, "-o", place) if stage == "run" else (stage, "-o", place)
        log = place.with_suffix(".log")
        status = finish(fork(command(*words), log), 300)
        said = log.read_text().strip().splitlines()
        assert status in (0, 2), (told, words, status, said)
        assert len(said) <= (status == 2) or status == 0, (told, words, said)
        assert (run_results(outside), sorted(p.name for p in outside.iterdir())) == before, (told, words)
        if status == 0 and stage == "run":
            got = run_results(place)
            wrong = [name for name in results if got.get(name) != results[name]]
            # A stage that is done is not opened again where nothing after it has to run.
            assert all(name in told for name in wrong), (told, wrong)
        outcomes[status] = outcomes.get(status, 0) + 1
    return outcomes


def _worker(folder):
    import torch
    from sklearn.datasets import load_digits

    import platon_compress.pipeline.runner
    import platon_compress.pruning.trainer  # noqa: F401

    torch.set_num_threads(1)
    load_digits()
    recipe, whole = folder / "recipe.yaml", folder / "whole"
    recipe.write_text(yaml.safe_dump(RECIPE))
    assert finish(fork(command("run", recipe, "-o", whole), folder / "log")) == 0, (
        folder / "log"
    ).read_text()
    results, moments = run_results(whole), random.Random(SEED)
    if KILLS:
        sys.stdout.write(f"kills: {_kill(folder / 'killed', recipe, results, moments, KILLS)}\n")
    if MUTATIONS:
        sys.stdout.write(f"mutations: {_mutations(whole, recipe, results, moments, MUTATIONS)}\n")


def test_kills_and_mutations(tmp_path, record_property):
    pytest.importorskip("sklearn")
    counts = run_worker(__file__, tmp_path, 60 + 60 * (KILLS + MUTATIONS))
    record_property("counts", counts)
    assert counts.count("kills: ") == bool(KILLS)
    assert counts.count("mutations: ") == bool(MUTATIONS)


if __name__ == "__main__":
    _worker(Path(sys.argv[1]))
