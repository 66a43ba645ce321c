"""Tables and figures of README and docs come from the results, and nothing else passes the check."""

import re
from pathlib import Path

import pytest
from grid_tables import table
from readme_tables import DOCUMENTS, PARTS, main, refreshed
from study import RESULTS
from tables import trained
from tables.speed import speed_rows

from platon_compress.errors import InputError
from platon_compress.measure.bench_report import BenchReport, SettingReport, VariantSamples
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.peers.compare import BASELINE, OURS, OURS_INT8
from platon_compress.measure.peers.result import PeerConfig, PeerReport, PeerSetting, compare_ways
from platon_compress.measure.result_files import read_results, save_result
from platon_compress.measure.timing import compare
from platon_compress.schemas import stamped

ENVIRONMENT = {
    "cpu_model": "CPU",
    "threads": 2,
    "isa": "avx2",
    "packages": {"onnxruntime": "1.31"},
    "git": None,
}


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
    concurrent = {
        BASELINE: {"blocks": [{"per_second": 2.0, "seconds": [[0.02]]}]},
        OURS: {"blocks": [{"per_second": 1.5, "seconds": [[0.01]]}]},
    }
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
        compressed_bytes=100,
    ).to_dict()


def page(*parts):
    return (
        "# Title\n" + "".join(f"<!-- results:{p} -->\nold\n<!-- /results:{p} -->\n" for p in parts) + "end\n"
    )


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    accuracy = {"dense": {"accuracy": 0.9, "standard_error": 0.01}}
    trained = {**model_report(), "accuracy": accuracy}
    save_result(
        folder, "a", trained, title="Mini|LM", masks="trained", sparsity=0.9, verdict="Verdict: no: slow."
    )
    save_result(folder, "b", peer_report(), title="MiniLM", masks="random", sparsity=0.9)
    save_result(folder, "c", model_report(), title="MiniLM", masks="random", sparsity=0.9)
    save_result(folder, "d", stamped("rounding", {}), title="other", masks="")
    return folder


def test_trained_models_stand_with_their_accuracy(results):
    text = refreshed(page("models"), read_results(results), "x.md")
    assert text.startswith("# Title\n<!-- results:models -->\n\n| model |")
    assert text.endswith("<!-- /results:models -->\nend\n")
    row = r"| Mini\|LM | trained | 90% | batch 1, 128 tokens | 20.0 | 10.0 | 2.00x \(2.00.2.00\) |"
    assert re.search(row.replace("|", r"\|").replace(r"\\|", r"\\\|"), text)
    assert "| 90.0% ± 1.0% | not measured |" in text
    assert text.count("| Mini") == 1


def test_the_condition_of_a_figure_stands_beside_it(results):
    rows = speed_rows(read_results(results))
    lines = refreshed(page("speed"), read_results(results), "x.md").splitlines()
    found = [line for line in lines if line.startswith("| MiniLM | 90% | batch 1, 128 tokens |")]
    conditions = [line.split(" | ")[3] for line in found]
    assert conditions == [
        "back to back", "after idling beside other models", "alone in a process", "four processes at once"
    ]  # fmt: skip
    assert [line.split(" | ")[6].split("x")[0] for line in found] == ["2.00", "2.00", "2.00", "0.75"]
    assert "- OpenVINO dense not measured: not installed" in lines
    assert "Measured on CPU, 2 threads, avx2, ONNX Runtime 1.31." in lines
    assert [row.stem for row in rows] == ["c", "b", "b", "b", "a"]


def test_8_bit_values_and_other_kernels_are_named(monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "isa", "avx512vnni")
    report = {**peer_report(), "title": "MiniLM", "masks": "random", "sparsity": 0.9}
    (setting,) = report["settings"]
    for way in ("interleaved", "isolated", "concurrent"):
        setting[way][OURS_INT8] = setting[way][OURS]
    for baseline, candidate in ((BASELINE, OURS_INT8), (OURS, OURS_INT8)):
        setting["comparisons"].append(
            {**setting["comparisons"][0], "baseline": baseline, "candidate": candidate}
        )
    lines = refreshed(page("speed"), {"b": report}, "x.md").splitlines()
    rows = [line for line in lines if line.startswith("| MiniLM")]
    titles = [row.split(" | ")[0] for row in rows]
    assert titles == 3 * ["| MiniLM, 8-bit values, AVX-512 with VNNI"] + 3 * ["| MiniLM, AVX-512 with VNNI"]
    assert all(OURS not in row for row in rows), "our float form is no other engine"


def test_trained_models_on_the_first_page_are_those_listed(monkeypatch):
    results = {"quality-a": table(loss=0.02, row="one"), "quality-b": table(row="other", sparsity=0.9)}
    monkeypatch.setattr(trained, "SHOWN", (("quality-b", "other", 0.9), ("quality-a", "one", 0.8)))
    lines = refreshed(page("trained"), results, "x.md").splitlines()
    found = [line.strip("| ").split(" | ") for line in lines if line.startswith("| MiniLM")]
    assert [row[1:6] for row in found] == [
        ["8,000 films, judged on 500", "90%", "accuracy (500 units, 1 seed)", "90.0%", "89.0%"],
        ["8,000 films, judged on 500", "80%", "accuracy (500 units, 1 seed)", "90.0%", "88.0%"],
    ]
    assert [row[6] for row in found] == ["-1.0 (-2.0 to +0.0)", "-2.0 (-3.0 to -1.0)"]
    assert [figure.partition(" ")[0] for figure in found[0][8:]] == ["3.00x", "1.50x", "0.50x"]
    for gone in (("quality-a", "one", 0.9), ("quality-c", "one", 0.8)):
        monkeypatch.setattr(trained, "SHOWN", (gone,))
        with pytest.raises(InputError, match=f"the pages show one of {gone[0]}, which no result holds"):
            refreshed(page("trained"), results, "x.md")


def test_a_verdict_is_quoted(results):
    text = refreshed(page("verdict-a"), read_results(results), "x.md")
    assert "<!-- results:verdict-a -->\n> Verdict: no: slow.\n<!-- /results:verdict-a -->\n" in text
    with pytest.raises(InputError, match="quotes the verdict of 'verdict-b', which no result holds"):
        refreshed(page("verdict-b"), read_results(results), "x.md")


def test_check_does_not_write(tmp_path, results, capsys):
    document = tmp_path / "page.md"
    document.write_text(page("models"))
    arguments = [str(document), "--results", str(results)]
    assert main([*arguments, "--check"]) == 1
    assert "does not show the results" in capsys.readouterr().err
    assert document.read_text() == page("models")
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "holds no <!-- results:NAME --> part"),
        (page("figures"), "asks for the part 'figures'; there are"),
    ],
)
def test_a_page_that_cannot_be_filled_is_one_line(tmp_path, results, capsys, text, message):
    (tmp_path / "page.md").write_text(text)
    assert main([str(tmp_path / "page.md"), "--results", str(results)]) == 2
    assert main([str(tmp_path / "none.md"), "--results", str(results)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 2


def test_the_committed_pages_show_the_committed_results():
    shown = "".join(Path(path).read_text(encoding="utf-8") for path in DOCUMENTS)
    assert {part for part in PARTS if f"<!-- results:{part} -->" in shown} == set(PARTS)
    assert len(trained.SHOWN) <= 6
    assert main(["--check", "--results", str(RESULTS)]) == 0
