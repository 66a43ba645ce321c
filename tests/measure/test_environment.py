import json
import subprocess

import pytest

from platon_compress.errors import InputError
from platon_compress.measure import environment
from platon_compress.measure.environment import chosen_isa, describe_environment, git_state

CPUINFO = """processor\t: 0
model name\t: Some CPU
physical id\t: 0
core id\t: 0
flags\t: fma avx2

processor\t: 1
model name\t: Some CPU
physical id\t: 0
core id\t: 1
flags\t: fma avx2
"""


def test_block_is_json_and_complete():
    block = json.loads(json.dumps(describe_environment(threads=2, isa="avx2")))
    assert block["threads"] == 2
    assert block["isa"] == "avx2"
    assert block["packages"]["numpy"]
    assert block["timestamp"].endswith("+00:00")
    assert block["cores_logical"] >= 1


def test_absent_package_is_none():
    assert describe_environment(packages=["no-such-package-here"])["packages"] == {
        "no-such-package-here": None
    }


@pytest.mark.parametrize(
    ("flags", "named"),
    [("fma avx512_bf16", "avx512_bf16"), ("amx_bf16 avx512_bf16", "amx_bf16"), ("bfoo", None)],
)
def test_bfloat16_is_a_flag_of_the_processor(flags, named, monkeypatch):
    monkeypatch.setattr(environment, "_cpu_info", lambda: environment._parse_cpuinfo(f"flags\t: {flags}"))
    assert environment.bfloat16_flag() == named


def test_cpuinfo_is_parsed():
    assert environment._parse_cpuinfo(CPUINFO) == {
        "model": "Some CPU",
        "flags": ["avx2", "fma"],
        "physical": 2,
    }


def test_isa_is_the_librarys_choice(monkeypatch):
    monkeypatch.setattr(environment, "selected_kernel", lambda: "avx2")
    assert chosen_isa() == "avx2"


def test_isa_without_the_library(monkeypatch):
    def missing():
        raise InputError("the operator library is not built")

    monkeypatch.setattr(environment, "selected_kernel", missing)
    assert chosen_isa() == "none"


def test_git_state_tells_commit_and_dirty(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert git_state(tmp_path) is None
    git("init")
    git("commit", "--allow-empty", "-m", "x")
    clean = git_state(tmp_path)
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "one.json").write_text("{}")
    assert git_state(tmp_path) == clean  # a result is no code
    (tmp_path / "file").write_text("x")
    assert clean["dirty"] is False
    assert len(clean["commit"]) == 40
    assert git_state(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_a_folder_inside_another_checkout_is_not_that_checkout(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "site-packages").mkdir()
    assert git_state(tmp_path / "site-packages") is None
