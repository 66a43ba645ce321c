"""The command line on a tiny real run: files, exit statuses, one line per mistake."""

import importlib.util
import json
import shutil
from statistics import median

import numpy as np
import onnx
import pytest
import yaml

from platon_compress.cli import main
from platon_compress.measure.peers.compare import BASELINE, SMALLER
from platon_compress.testing import tiny_recipe

RECIPE = tiny_recipe(
    {"hidden_size": 64, "intermediate_size": 128},
    data={"train_rows": 256, "validation_rows": 80},
    prune={"sparsity": 0.8},
)


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory):
    pytest.importorskip("sklearn")
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture(scope="module")
def finished(recipe_path, tmp_path_factory):
    """A whole run, its status and what it printed are kept for the tests below."""
    folder = tmp_path_factory.mktemp("out") / "run"
    assert main(["run", str(recipe_path), "-o", str(folder)]) == 0
    return folder


def _median_seconds(times, engine):
    return median(times[engine]["seconds"])


def _error(capsys, arguments):
    status = main([str(a) for a in arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return status, lines[0]


def test_a_run_writes_the_designed_files(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"model", "onnx", "plan.json", "parity.json", "benchmark.json"} <= names
    assert {"report.md", "report.html", "recipe.yaml", "state.json"} <= names
    assert not [n for n in names if ".tmp-" in n]
    onnx_files = {p.name for p in (finished / "onnx").iterdir()}
    assert {
        "dense.onnx",
        "pruned.onnx",
        "compressed.onnx",
        "config.json",
        "preprocessor_config.json",
    } <= onnx_files


def test_the_numbers_of_a_run_agree(finished):
    state = json.loads((finished / "state.json").read_text())["stages"]
    # floor(65536 * 0.8) zeros of the 65536 weights
    assert state["bake"]["result"]["sparsity"] == 52428 / 65536
    assert state["dense"]["result"]["steps"] == state["prune"]["result"]["steps"] == 16
    assert state["convert"]["result"]["csr_weights"] == 12
    compressed = onnx.load(finished / "onnx" / "compressed.onnx")
    onnx.checker.check_model(compressed, full_check=True)
    operators = [node.op_type for node in compressed.graph.node if node.domain == "platon"]
    # Two nodes for each of the two blocks.
    assert {name.split("_")[0] for name in operators} <= {
        "PlatonSelfAttention",
        "PlatonFeedForward",
        "PlatonLinear",
        "PlatonHeads",
    }
    parity = json.loads((finished / "parity.json").read_text())
    assert parity["passed"]
    assert parity["examples"] >= 64


def test_running_again_does_nothing_new(finished, recipe_path, capsys):
    before = (finished / "onnx" / "compressed.onnx").stat().st_mtime_ns
    assert main(["run", str(recipe_path), "-o", str(finished)]) == 0
    out = capsys.readouterr().out.strip().splitlines()
    assert out[-1].startswith("Verdict: ")
    assert (finished / "onnx" / "compressed.onnx").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_lost_stage_is_done_again_and_the_same(finished, recipe_path, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    state = json.loads((copy / "state.json").read_text())
    for stage in ("convert", "export", "verify", "bench", "report"):
        del state["stages"][stage]
    (copy / "state.json").write_text(json.dumps(state))
    assert main(["run", str(recipe_path), "-o", str(copy), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"].startswith("Verdict: ")
    old, new = (_initializers(folder / "onnx" / "compressed.onnx") for folder in (finished, copy))
    assert old.keys() == new.keys()
    assert all(np.array_equal(old[name], new[name]) for name in old)


def _initializers(path):
    model = onnx.load(path)
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


def test_single_stages_work_on_the_folder(finished, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    assert main(["plan", "-o", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["counts"]["csr"] == 12
    # The plan is the same as before, so that what was made of it stands.
    assert main(["verify", "-o", str(copy), "--json"]) == 0
    capsys.readouterr()
    (copy / "recipe.yaml").write_text(
        (copy / "recipe.yaml").read_text().replace("force: csr", "force: dense")
    )
    status, line = _error(capsys, ["verify", "-o", copy])
    assert status == 2
    assert "convert is out of date: plan is not up to date; run it before verify" in line


STAGE_COMMANDS = ("verify", "bake", "plan", "convert", "export", "verify", "bench model")


@pytest.mark.train
def test_after_every_single_stage_the_folder_can_be_reported(finished, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    for command in STAGE_COMMANDS:
        small = ["--batch", "1", "--runs", "5"] if command == "bench model" else []
        assert main([*command.split(), "-o", str(copy), *small]) == 0
        assert main(["report", "-o", str(copy)]) == 0
        assert capsys.readouterr().out.strip().splitlines()[-1].startswith("Verdict: ")
    settings = json.loads((copy / "state.json").read_text())["stages"]["bench"]["settings"]
    assert settings["bench.tokens"] == [32, 128]


@pytest.mark.multiprocess
def test_other_engines_join_the_report(finished, tmp_path, capsys, monkeypatch):
    """One that is here and one that is not; a report of another compressed.onnx leaves them out."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    monkeypatch.chdir(tmp_path)
    sizes = ["--batch", "1", "--runs", "5", "--threads", "1"]
    assert main(["bench", "model", "-o", str(copy), *sizes, "--peers", "torch,deepsparse"]) == 0
    missing = "DeepSparse pruned not measured: deepsparse is not installed here nor in ./.venv-deepsparse"
    assert missing in capsys.readouterr().out
    peers = json.loads((copy / "peers.json").read_text())
    assert {"PyTorch dense", "ONNX Runtime compressed"} <= set(peers["engines"])
    for page in ("report.md", "report.html"):
        text = (copy / page).read_text().replace("<wbr>", "")
        assert "Other engines" in text
        assert "PyTorch dense" in text
        assert missing in text
    (copy / "peers.json").write_text(json.dumps(peers | {"compressed_bytes": 1}))
    assert main(["report", "-o", str(copy)]) == 0
    assert "PyTorch dense" not in (copy / "report.md").read_text()


@pytest.mark.multiprocess
def test_the_dense_model_with_every_second_layer_stands_on_the_page(finished, tmp_path, capsys, monkeypatch):
    """Trained once, timed beside the run's files, judged on the same rows; OpenVINO, which is not there, is one line."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "nncf" else find(name, *more)
    )
    bench = ["bench", "model", "-o", str(copy), "--batch", "1", "--runs", "5", "--threads", "1"]
    peers = ["--peers", "every-second-layer,openvino-int8"]
    assert main([*bench, *peers]) == 0
    assert "train the dense model with every second layer" in capsys.readouterr().out
    small = copy / "stages" / "every-second-layer"
    assert json.loads((small / "config.json").read_text())["num_hidden_layers"] == 1
    assert main([*bench, *peers]) == 0
    assert "train the dense model with every second layer: already done" in capsys.readouterr().out
    assert main(["report", str(copy), "--pareto", "-o", str(tmp_path / "page"), "--json"]) == 0
    found = {entry["variant"]: entry for entry in json.loads(capsys.readouterr().out)["candidates"]}
    rival = found["every_second_layer"]
    assert rival["disk_bytes"] == (small / "model.onnx").stat().st_size < found["dense"]["disk_bytes"]
    times = [entry["interleaved"] for entry in json.loads((copy / "peers.json").read_text())["settings"]]
    speeds = [_median_seconds(each, BASELINE) / _median_seconds(each, SMALLER) for each in times]
    assert rival["speed"] in speeds  # a model this tiny need not be faster with a layer less
    small_int8 = found["every_second_layer_int8"]
    assert small_int8["disk_bytes"] == (small / "model-int8.onnx").stat().st_size < rival["disk_bytes"]
    assert rival["change"][1] <= rival["metric"] - found["dense"]["metric"] <= rival["change"][2]
    text = (tmp_path / "page" / "pareto.md").read_text()
    assert text.count("OpenVINO int8 not measured: nncf is not installed here nor in ./.venv-openvino") == 1
    # The files were exported anew: what was measured beside the old ones is no rival of these.
    state = json.loads((copy / "state.json").read_text())
    state["stages"]["export"]["stamp"] = "0123456789abcdef"
    (copy / "state.json").write_text(json.dumps(state))
    assert main(["report", str(copy), "--pareto", "-o", str(tmp_path / "page"), "--json"]) == 0
    assert "every_second_layer" not in capsys.readouterr().out
    text = (tmp_path / "page" / "pareto.md").read_text()
    assert (
        "dense, every second layer was not measured; use bench model -o RUN --peers every-second-layer"
        in text
    )


def test_runs_on_one_page(finished, tmp_path, capsys):
    assert main(["report", str(finished), "--pareto", "-o", str(tmp_path / "page"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {entry["variant"] for entry in content["candidates"]} == {"dense", "dense_int8", "compressed"}
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == [
        "pareto.html",
        "pareto.json",
        "pareto.md",
    ]
    for wrong in (["report", "--pareto", "-o", "x"], ["report", str(finished), "-o", "x"]):
        status, line = _error(capsys, wrong)
        assert status == 2
        assert "--pareto" in line
    status, line = _error(capsys, ["report", tmp_path / "page", "--pareto", "-o", tmp_path / "none"])
    assert (status, (tmp_path / "none").exists()) == (2, False)
    assert "no plan.json" in line


def test_damaged_masks_get_one_line(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "copy")
    (tmp_path / "copy" / "stages" / "prune" / "masks.safetensors").write_bytes(b"\0" * 100)
    status, line = _error(capsys, ["bake", "-o", tmp_path / "copy"])
    assert status == 2
    assert "masks.safetensors" in line


@pytest.mark.parametrize("change", [[], {"architectures": [3]}, {"architectures": 3}])
def test_a_damaged_config_gets_one_line(finished, tmp_path, capsys, change):
    shutil.copytree(finished / "model", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(change and json.loads(path.read_text()) | change))
    status, line = _error(capsys, ["compress", tmp_path / "model", "-o", tmp_path / "out"])
    assert status == 2
    assert str(tmp_path / "model") in line
    assert not (tmp_path / "out" / "onnx").exists()


def test_compress_takes_a_foreign_checkpoint_through(finished, tmp_path, capsys):
    out = tmp_path / "compressed"
    arguments = [
        "compress",
        finished / "model",
        "-o",
        out,
        "--no-calibrate",
        "--force",
        "csr",
        "--runs",
        5,
        "--batch",
        1,
    ]
    assert main([str(a) for a in arguments]) == 0
    printed = capsys.readouterr().out
    assert "was not measured" in printed.strip().splitlines()[-1]
    assert (out / "onnx" / "compressed.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml", "-o", "{tmp}/x"], "cannot read the recipe 'none.yaml'"),
        (["run", "{recipe}", "-o", "{tmp}/x", "--set", "prune.sparsity=1.5"], "prune.sparsity is 1.5; give a number"),
        (["run", "{recipe}", "-o", "{tmp}/x", "--set", "prune.targets=[nothing]"], "nothing"),
        (["run", "{recipe}", "-o", "{tmp}/x", "--set", "prune.initial_warmup=1"], "warm"),
        (["run", "{recipe}", "-o", "{tmp}/x", "--set", "data.dataset=null", "--set", "data.train=a.npz",
          "--set", "data.validation=b.npz"], "data.train 'a.npz' does not exist"),
        (["run", "{recipe}", "-o", "{run}", "--set", "train.seed=7"], "train.seed was not set, now 7"),
        (["run", "{recipe}"], "--output"),
        (["run", "{recipe}", "-o", "{tmp}/x", "--bogus"], "--bogus"),
        (["bake", "-o", "{tmp}/nothing"], "holds no run"),
        (["compress", "no/such/model", "-o", "{tmp}/x"], "the model 'no/such/model' does not exist"),
        (["compress", "{run}/stages/dense", "-o", "{tmp}/x"], "zero"),
        (["compress", "{run}/model", "-o", "{tmp}/x", "--task", "nonsense"], "task 'nonsense' is unknown"),
        (["compress", "{run}/model", "-o", "{tmp}/x", "--batch", "one"], "--batch is 'one'"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_and_exit_2(finished, recipe_path, tmp_path, capsys, arguments, message):
    names = {"recipe": recipe_path, "tmp": tmp_path, "run": finished}
    status, line = _error(capsys, [a.format(**names) for a in arguments])
    assert status == 2
    assert message in line
    left = [
        p for p in tmp_path.rglob("*") if p.is_file() and p.name not in ("state.json", "recipe.yaml", ".lock")
    ]
    assert left == []


def test_a_dry_run_writes_nothing(recipe_path, tmp_path, capsys):
    assert main(["run", str(recipe_path), "-o", str(tmp_path / "x"), "--dry-run", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["steps"] == 16
    assert len(described["pruning"]["rows"]) == 12
    assert list(tmp_path.iterdir()) == []


def test_version(capsys):
    assert main(["--version"]) == 0
    from importlib.metadata import version

    assert capsys.readouterr().out.strip() == version("platon-compress")


def test_what_is_required_is_the_exit_status(finished, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    assert main(["report", "-o", str(copy), "--require", "sparsity>=79, size_ratio<1"]) == 0
    status, line = _error(capsys, ["report", "-o", copy, "--require", "sparsity>=79, speedup>=1000"])
    assert status == 1
    assert "required, but not so: speedup>=1000 (it is " in line
    assert "sparsity" not in line
