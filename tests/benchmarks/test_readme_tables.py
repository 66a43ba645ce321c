import json
import re

import pytest
from engines.report import PeerConfig, PeerReport, PeerSetting, compare_ways
from peers import BASELINE, OURS
from readme_tables import BEGIN, END, main, results_markdown, update_readme

from platon_compress.errors import InputError
from platon_compress.measure.bench_report import BenchReport, SettingReport, VariantSamples
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.result_files import save_result
from platon_compress.measure.timing import compare
from platon_compress.schemas import stamped

ENVIRONMENT = {
    "cpu_model": "CPU",
    "threads": 2,
    "isa": "avx2",
    "packages": {"onnxruntime": "1.31"},
    "git": None,
}
README = f"# Title\n{BEGIN}\nold\n{END}\nend\n"


def model_report():
    warm = {"dense": (0.02,) * 10, "dense_int8": (0.015,) * 10, "compressed": (0.01,) * 10}
    ratios = tuple(compare(warm, baseline=name, candidate="compressed") for name in ("dense", "dense_int8"))
    samples = {name: VariantSamples(warm_seconds=times) for name, times in warm.items()}
    setting = SettingReport(batch=1, tokens=128, samples=samples, ratios=ratios)
    return BenchReport(
        environment=ENVIRONMENT, config=BenchConfig(), baseline="dense", variants={}, settings=(setting,)
    ).to_dict()


def peer_report():
    interleaved = {BASELINE: {"seconds": [0.02] * 10}, OURS: {"seconds": [0.01] * 10}}
    isolated = {BASELINE: {"blocks": [{"seconds": [0.02]}]}, OURS: {"blocks": [{"seconds": [0.01]}]}}
    concurrent = {BASELINE: {"blocks": [{"per_second": 2.0}]}, OURS: {"blocks": [{"per_second": 1.5}]}}
    setting = PeerSetting(
        batch=1,
        tokens=128,
        interleaved=interleaved,
        isolated=isolated,
        concurrent=concurrent,
        memory={},
        comparisons=(compare_ways(BASELINE, OURS, interleaved, isolated, concurrent),),
    )
    return PeerReport(
        environment=ENVIRONMENT,
        config=PeerConfig(),
        engines={},
        unavailable={"OpenVINO dense": "OpenVINO dense not measured: not installed"},
        settings=(setting,),
    ).to_dict()


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    save_result(folder, "a", model_report(), title="Mini|LM", masks="trained", sparsity=0.9)
    save_result(folder, "b", peer_report(), title="MiniLM", masks="trained", sparsity=0.9)
    save_result(folder, "c", stamped("training", {}), title="other", masks="")
    return folder


def test_tables_show_every_result(tmp_path, results):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert update_readme(readme, results)
    text = readme.read_text()
    assert text.startswith(f"# Title\n{BEGIN}\n\n| model |")
    assert text.endswith(f"{END}\nend\n")
    assert "old" not in text
    row = r"| Mini\|LM | trained | 90% | batch 1, 128 tokens | 20.0 | 10.0 | 2.00x \(2.00.2.00\) |"
    assert re.search(row.replace("|", r"\|").replace(r"\\|", r"\\\|"), text)
    assert "| compressed model | sparsity | setting | vs ONNX Runtime dense |" in text
    assert "| MiniLM | 90% | batch 1, 128 tokens | 2.00x / 2.00x / 0.75x (no verdict) |" in text
    assert "- OpenVINO dense not measured: not installed" in text
    assert "Measured on CPU, 2 threads, avx2, ONNX Runtime 1.31." in text
    assert not update_readme(readme, results)


def test_verdict_of_a_result_is_filled_in(tmp_path, results):
    save_result(
        results,
        "demo",
        stamped("training", {}),
        title="demo",
        masks="trained",
        verdict="Verdict: no: it is slower.",
    )
    readme = tmp_path / "README.md"
    readme.write_text(f"a\n<!-- verdict:demo -->\nold\n<!-- /verdict:demo -->\nb\n{README}")
    assert update_readme(readme, results)
    expected = "a\n<!-- verdict:demo -->\n> Verdict: no: it is slower.\n<!-- /verdict:demo -->\nb\n"
    assert readme.read_text().startswith(expected)
    assert not update_readme(readme, results)


def test_check_does_not_write(tmp_path, results, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert main([str(readme), str(results), "--check"]) == 1
    assert "does not show the results" in capsys.readouterr().err
    assert readme.read_text() == README
    assert main([str(readme), str(results)]) == 0
    assert main([str(readme), str(results), "--check"]) == 0


def test_no_results(tmp_path):
    assert "No results yet" in results_markdown({})


def test_readme_without_markers_is_refused(tmp_path, results, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(InputError, match="must hold <!-- table:results --> and then"):
        update_readme(readme, results)
    assert main([str(readme), str(results)]) == 2
    assert main(["one"]) == 2
    assert "usage" in capsys.readouterr().err


def test_reports_are_json(results):
    assert json.loads((results / "b.json").read_text())["kind"] == "peers"


def test_random_masks_have_a_table_of_their_own(tmp_path):
    for name, sparsity in (("x", 0.9), ("y", 0.8)):
        save_result(tmp_path, name, model_report(), title="BERT", masks="random", sparsity=sparsity)
    lines = results_markdown(
        {path.stem: json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))}
    )
    assert "| model, random masks | setting | dense, ms | 80% | 90% |" in lines
    cell = "2.00x (2.00–2.00) / 1.50x (1.50–1.50)"  # noqa: RUF001
    assert f"| BERT | batch 1, 128 tokens | 20.0 | {cell} | {cell} |" in lines
    assert "accuracy dense" not in lines
