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


def _run(arguments, folder):
    code = (
        "import json, sys\n"
        "from platon_compress.cli import main\n"
        f"status = main({arguments!r})\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.stdout.write('\\n' + json.dumps([status, loaded]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    return (*json.loads(done.stdout.splitlines()[-1]), done.stderr)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["--help"], 0),
        (["--version"], 0),
        (["run", "--help"], 0),
        (["bench", "model", "--help"], 0),
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
    ],
)
def test_nothing_heavy_is_loaded(arguments, status, tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    got, loaded, errors = _run(arguments, tmp_path)
    assert (got, loaded) == (status, []), errors


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
