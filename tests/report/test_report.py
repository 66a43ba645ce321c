import html.parser
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from sample_runs import scores

from platon_compress.errors import InputError
from platon_compress.measure.bench_report import BenchReport, SettingReport, VariantReport, VariantSamples
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.size import ModelSize
from platon_compress.measure.timing import compare
from platon_compress.report import write_report
from platon_compress.report.plots import split_layer_name
from platon_compress.report.tables import format_bytes, format_milliseconds
from platon_compress.report.words import SECTIONS
from platon_compress.report.writing import escape_markdown
from platon_compress.schemas import stamped

NASTY = '<script>alert("x")</script> | $a_b$ `&` [l](http://evil.example)'


def make_bench():
    rng = np.random.default_rng(0)
    speeds = {"dense": 20e-3, "dense_int8": 12e-3, "pruned": 20e-3, "compressed": 8e-3}
    shares = {"dense": 1.0, "dense_int8": 0.25, "pruned": 1.0, "compressed": 0.2}
    pairs = [("dense", n) for n in speeds if n != "dense"] + [
        (n, "compressed") for n in ("dense_int8", "pruned")
    ]
    settings = []
    for batch in (1, 8):
        warm = {n: tuple(batch * s * (1 + 0.1 * rng.random(20))) for n, s in speeds.items()}
        samples = {
            n: VariantSamples(
                warm_seconds=times,
                load_seconds=(0.1, 0.2),
                first_seconds=(0.03, 0.03),
                session_bytes=(10**8, None),
                peak_bytes=(None, None),
            )
            for n, times in warm.items()
        }
        ratios = tuple(compare(warm, baseline=a, candidate=b) for a, b in pairs)
        settings.append(SettingReport(batch=batch, tokens=128, samples=samples, ratios=ratios))
    variants = {
        n: VariantReport(
            file=f"{n}.onnx",
            native_kernel=True if n == "compressed" else None,
            executed_nodes={"CPUExecutionProvider": {"MatMul": 3}},
            size=ModelSize(
                disk_bytes=int(9e7 * share),
                parameters=22_000_000,
                nonzeros=12_000_000,
                encoder_bytes=int(4e7 * share),
                embedding_bytes=int(5e7 * share),
                sparse_index_bytes=0,
            ),
        )
        for n, share in shares.items()
    }
    return BenchReport(
        environment=describe_environment(threads=2),
        config=BenchConfig(),
        baseline="dense",
        variants=variants,
        settings=tuple(settings),
    )


def make_layers(name="encoder.layer"):
    kinds = ("attention.self.query", "attention.output.dense", "output.dense")
    return [
        {
            "name": f"{name}.{block}.{kind}.weight",
            "group": None,
            "shape": [384, 384],
            "density": 0.1,
            "form": ("csr", "dense", "structured")[index],
            "kept": [0, 1] if index == 2 else None,
            "expected_speedup": 2.5 if index == 0 else None,
            "reason": f"because of {NASTY}",
        }
        for block in range(3)
        for index, kind in enumerate(kinds)
    ]


def write_run(folder, *, name=NASTY, everything=True):
    (folder / "onnx").mkdir(parents=True)
    with (folder / "onnx" / "compressed.onnx").open("wb") as file:
        file.truncate(int(9e7 * 0.2))
    (folder / "benchmark.json").write_text(json.dumps(make_bench().to_dict()))
    (folder / "plan.json").write_text(json.dumps(stamped("plan", {"layers": make_layers()})))
    if not everything:
        return folder
    history = [
        {"step": s, "loss": 1 / (s + 1), "sparsity": s / 500, "achieved_sparsity": s / 500}
        for s in range(450)
    ]
    history += [{"step": 449, "accuracy": 0.84}]
    trained = {"metric": "accuracy", "value": 0.84, "standard_error": 0.012, "examples": 872, "steps": 450}
    stages = {
        "dense": {"result": {**trained, "value": 0.85, "history": history}},
        "prune": {"result": {**trained, "history": history}},
        "bake": {"result": {"sparsity": 0.9, "skipped": [[NASTY, "tied"]]}},
    }
    (folder / "state.json").write_text(json.dumps({"version": 1, "kind": "run", "stages": stages}))
    rows = [{"pair": NASTY, "max_abs": 1e-6, "mean_abs": 1e-7, "argmax_agreement": 1.0}]
    scored = {"onnx_compressed": scores(0.84, 0.012)}
    checked = {"rows": rows, "scores": scored, "examples": 872, "atol": 1e-4, "passed": True}
    (folder / "parity.json").write_text(json.dumps(stamped("parity", checked)))
    recipe = {"model": {"name": name, "task": "text-classification"}, "data": {"validation": "dev.tsv"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "run")
    write_report(folder)
    return folder


class Page(html.parser.HTMLParser):
    """Collects what a browser would fetch, the ids, and the text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.tags, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "data"}:
                self.links.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.text.append(data)


def test_result_names_the_files_and_the_verdict(run_folder):
    result = write_report(run_folder)
    assert result.markdown == run_folder / "report.md"
    assert result.verdict.startswith("Verdict: yes: ")
    assert result.to_dict()["answer"] == "yes"
    assert list(result.to_dict()["points"]) == ["Speed", "Size", "Quality"]
    assert sorted(path.name for path in run_folder.iterdir()) == [
        "benchmark.json", "onnx", "parity.json", "plan.json", "recipe.yaml", "report.html", "report.md", "state.json",
    ]  # fmt: skip


def test_page_is_self_contained(run_folder):
    text = (run_folder / "report.html").read_text()
    page = Page(text)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_page_has_unique_ids_and_inner_references_resolve(run_folder):
    page = Page((run_folder / "report.html").read_text())
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_figures_are_well_formed_and_described(run_folder):
    text = (run_folder / "report.html").read_text()
    figures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(figures) == 2 * 4  # wide, and for a phone
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("role") == "img"
        assert len(root.get("aria-label")) > 20
    assert "#0102" not in text


def test_page_shows_every_part(run_folder):
    text = "".join(Page((run_folder / "report.html").read_text()).text)
    for part in (
        *(SECTIONS[name] for name in SECTIONS if name not in {"use", "start", "peers"}),
        "2 units kept",
    ):
        assert part in text
    assert "-1.0 ± 3.4 points against dense" in text
    assert (
        "Yes: on 872 examples of mixed lengths every form of the pruned model gives the same outputs" in text
    )
    assert "platon-compress run recipe.yaml -o run" in text


def test_names_are_escaped_everywhere(run_folder):
    page = (run_folder / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    card = (run_folder / "report.md").read_text().split("---\n", 2)[2]
    assert "<script>" not in card
    assert r"\[l\](http" in card


def test_markdown_tables_keep_their_columns(run_folder):
    card = (run_folder / "report.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        lines = table.strip().splitlines()
        assert len(lines) >= 3
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_front_matter_is_a_model_card(run_folder):
    matter = yaml.safe_load((run_folder / "report.md").read_text().split("---\n")[1])
    assert matter["library_name"] == "onnx"
    assert matter["pipeline_tag"] == "text-classification"
    assert "base_model" not in matter
    assert matter["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.84}]


def test_hub_model_is_named_as_base(tmp_path):
    write_report(write_run(tmp_path / "run", name="some-org/some-model"))
    matter = yaml.safe_load((tmp_path / "run" / "report.md").read_text().split("---\n")[1])
    assert matter["base_model"] == "some-org/some-model"


def test_plan_and_benchmark_are_enough(tmp_path):
    result = write_report(write_run(tmp_path / "run", everything=False))
    assert "the task metric was not measured" in result.verdict
    assert "90.0% of the prunable weights are zero" in result.verdict
    assert "Accuracy was not measured" in result.html.read_text()
    assert "Accuracy was not measured" in result.markdown.read_text()


def test_other_devices_and_a_busy_machine(tmp_path):
    folder = write_run(tmp_path / "run", everything=False)
    data = make_bench().to_dict()
    data["environment"] |= {"load_average": [9.0, 1.0, 1.0], "cores_logical": 2}
    data["config"]["device"] = "cuda"
    (folder / "benchmark.json").write_text(json.dumps(data))
    result = write_report(folder)
    for text in (result.html.read_text(), result.markdown.read_text()):
        assert "The machine was busy (load 9.0 on 2 cores)" in text
        assert "compressed.onnx: 3 nodes ran on the CPU (3 MatMul)" in text


def test_device_that_was_not_there(tmp_path):
    folder = write_run(tmp_path / "run", everything=False)
    data = {**make_bench().to_dict(), "settings": [], "unavailable": "cuda not measured: no provider"}
    (folder / "benchmark.json").write_text(json.dumps(data))
    result = write_report(folder)
    assert result.answer == "not measured"
    assert "cuda not measured: no provider" in result.html.read_text()


def test_a_file_that_is_gone_or_another_one_is_said(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "onnx" / "compressed.onnx"
    path.write_bytes(b"another")
    assert "onnx/compressed.onnx is not the file that was measured" in write_report(folder).verdict
    path.unlink()
    result = write_report(folder)
    assert result.answer == "not measured"
    for page in (result.html, result.markdown):
        assert "onnx/compressed.onnx, which was measured, is gone" in page.read_text()


def test_equal_runs_give_equal_pages(tmp_path, run_folder):
    again = shutil.copytree(run_folder, tmp_path / "run")
    write_report(again)
    assert (again / "report.html").read_bytes() == (run_folder / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("plan.json", None, r"no plan\.json in .*; run the plan stage first"),
        (
            "plan.json",
            json.dumps(stamped("plan", {"layers": [{}]})),
            r"plan\.json is not a plan; run the plan stage again",
        ),
        ("plan.json", "[]", r"plan\.json holds a list, not a JSON object; run that stage again"),
        ("benchmark.json", None, "no benchmark at .*; run the bench stage first"),
        ("parity.json", "{", r"cannot read .*parity\.json"),
        ("parity.json", "{}", r"parity\.json names no kind of result"),
        ("recipe.yaml", "a: [", r"recipe\.yaml is no valid YAML"),
    ],
)
def test_broken_runs_are_refused(tmp_path, file, content, message):
    folder = write_run(tmp_path / "run")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(InputError, match=message):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("bert.encoder.layer.11.output.dense.weight", ("bert.encoder.layer.11", "output.dense")),
        ("vit.layers.0.mlp.fc1.weight", ("vit.layers.0", "mlp.fc1")),
        ("classifier.weight", ("", "classifier")),
    ],
)
def test_layer_names_split_into_block_and_linear(name, parts):
    assert split_layer_name(name) == parts


def test_numbers_are_readable():
    assert [format_bytes(v) for v in (0, 999, 1000, 90_955_192, 147e6, 2.5e9)] == [
        "0 B", "999 B", "1 kB", "91 MB", "147 MB", "2.5 GB",
    ]  # fmt: skip
    assert [format_milliseconds(v) for v in (0.12345, 0.0123, 0.00123)] == ["123", "12.3", "1.23"]


def test_markdown_escape():
    assert str(escape_markdown("a|b\n<i>*c*")) == r"a\|b &lt;i&gt;\*c\*"


@pytest.mark.browser
def test_page_renders_without_errors_or_requests(run_folder, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium installed")
    shot, log = tmp_path / "shot.png", tmp_path / "net.json"
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--enable-logging=stderr", "--v=0", f"--log-net-log={log}", "--disable-background-networking",
               "--window-size=1200,3000", f"--screenshot={shot}", f"file://{run_folder}/report.html"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0
    assert "CONSOLE" not in done.stderr
    assert shot.stat().st_size > 50_000
    assert "evil.example" not in log.read_text()
