"""Whole runs of tiny models, and how sentence-transformers opens what they end in."""

import pytest
import yaml


@pytest.fixture
def run_and_compress(tmp_path, capsys):
    """run_and_compress(recipe, data) -> (folder of the run, its parity.json, what `compress` of its model says)."""
    from platon_compress.cli import main
    from platon_compress.files import read_json

    def both(recipe, data):
        path, run = tmp_path / "recipe.yaml", tmp_path / "run"
        path.write_text(yaml.safe_dump(recipe))
        assert main(["run", str(path), "-o", str(run)]) == 0
        capsys.readouterr()
        again = ["compress", str(run / "model"), "--data", data, "--runs", "5", "--no-calibrate"]
        assert main([*again, "-o", str(tmp_path / "compressed")]) == 0
        return run, read_json(run / "parity.json", ""), capsys.readouterr().out

    return both
