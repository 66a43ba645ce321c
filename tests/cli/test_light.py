"""A refusal comes before torch: nothing heavy is imported to say no, to help, or to name the version."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "matplotlib", "datasets", "scipy", "pandas")
RECIPE = (
    "model: {name: nowhere, task: text-classification}\ndata: {train: a.tsv, validation: b.tsv}\n"
    "prune: {sparsity: 0.9}\n"
)


CASES = [
    ([], 2),
    (["--help"], 0),
    (["--version"], 0),
    (["run", "--help"], 0),
    (["bench", "model", "--help"], 0),
    (["doctor", "--help"], 0),
    (["schema"], 0),
    (["init", "text-classification", "-o", "new.yaml"], 0),
    (["nonsense"], 2),
    (["run", "missing.yaml", "-o", "x"], 2),
    (["run", "r.yaml", "-o", "x", "--bogus"], 2),
    (["run", "r.yaml", "-o", "x", "--set", "prune.sparsity=2"], 2),
    (["run", "r.yaml", "-o", "x", "--dry-run"], 2),
    (["run", "r.yaml", "-o", "r.yaml"], 2),
    (["run", "r.yaml", "-o", "x", "--require", "luck>=1"], 2),
    (["prune", "r.yaml", "-o", "x"], 2),
    (["demo", "-o", "x", "--set", "train.epochs=0"], 2),
    (["compress", "m", "-o", "x", "--data", "missing.csv"], 2),
    (["compress", "m", "-o", "x", "--batch", "0"], 2),
    (["bake", "-o", "x"], 2),
    (["report", "-o", "x"], 2),
    (["estimate", "m", "--tokens", "0"], 2),
    (["calibrate", "-o", "table.json", "--threads", "100000"], 2),
    (["bench", "kernel", "-o", "x", "--threads", "100000"], 2),
    (["bench", "model", "-o", "x", "--runs", "0"], 2),
    (["bench", "model", "-o", "x", "--peers", "tensorflow"], 2),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """One process gives all commands, one after the other: status and what each of them was the first to load."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "r.yaml").write_text(RECIPE)
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from platon_compress.cli import main\n"
        "before, outcomes = set(), []\n"
        f"for arguments in {[arguments for arguments, _ in CASES]!r}:\n"
        "    status = main(arguments)\n"
        f"    loaded = {set(HEAVY)!r} & set(sys.modules)\n"
        "    outcomes.append([status, sorted(loaded - before)])\n"
        "    before = loaded\n"
        "Path('outcomes.json').write_text(json.dumps(outcomes))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "outcomes.json").read_text())


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[" ".join(words) or "nothing" for words, _ in CASES]
)
def test_nothing_heavy_is_loaded(outcomes, number):
    assert outcomes[number] == [CASES[number][1], []]


def test_where_only_deploying_is_possible_the_command_names_the_cure(tmp_path):
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('typer', 'pydantic', 'yaml', 'rich', 'torch', 'onnx'):\n"
        "            raise ModuleNotFoundError('No module named ' + name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from platon_compress.cli import main\n"
        "sys.exit(main(['compress', 'model', '-o', 'x']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: this command needs the package typer, which is not installed; pip install 'platon-compress[train]'"
    ]
