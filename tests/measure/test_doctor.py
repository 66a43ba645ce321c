"""The examination of a machine: what it finds here, and that a wrong kernel or a missing package does not pass."""

import json
from importlib import metadata

import pytest

from platon_compress.cli import main
from platon_compress.library import supported_kernels
from platon_compress.measure import doctor, selftest


def test_every_kernel_of_this_machine_passes(capsys):
    assert main(["doctor", "--json"]) == 0
    found = {entry["topic"]: entry for entry in json.loads(capsys.readouterr().out)}
    for kernel in supported_kernels():
        assert found[f"self-test, {kernel}"]["passed"] is True
    assert found["a sparse layer in ONNX Runtime"]["passed"] is True
    assert metadata.version("onnxruntime") in found["ONNX Runtime"]["text"]
    assert "numpy" in found["packages"]["text"]


@pytest.mark.parametrize(
    ("check", "what"), [("NativeLinear.run", "floats: off by"), ("attend", "attention: off by")]
)
def test_a_kernel_that_is_wrong_fails(monkeypatch, capsys, check, what):
    owner, name = (selftest.NativeLinear, "run") if "." in check else (selftest, "attend")
    right = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **flags: right(*given, **flags) * 1.01)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert f"FAILED  self-test, scalar: {what}" in said.out
    assert f"{len(supported_kernels())} checks failed: self-test, scalar" in said.err


def test_a_kernel_that_rounds_otherwise_fails(monkeypatch):
    right = selftest.NativeLinear.run

    def a_little_more(self, x, pool, kernel):
        return right(self, x, pool, kernel=kernel) * (1.0 if kernel == "scalar" else 1.000001)

    monkeypatch.setattr(selftest.NativeLinear, "run", a_little_more)
    found = {kernel: (passed, text) for kernel, passed, text in selftest.check_kernels(1)}
    assert found.pop("scalar")[0]
    assert all(not passed and "and scalar differ at 1 rows" in text for passed, text in found.values())


def test_a_library_that_is_not_there_and_what_is_lacking(monkeypatch):
    def missing():
        raise doctor.PlatonError("the operator library is not built")

    monkeypatch.setattr(doctor, "kernel_names", missing)
    monkeypatch.setitem(doctor._EXTRAS, "no-such-package", "to test")
    found = {finding.topic: finding for finding in doctor.examine()}
    assert found["kernels"].passed is False
    assert found["not installed"].text == "no-such-package (to test)"
