"""The dynamic int8 copy of a dense file: the best of the usual settings, and what it says of itself."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from platon_compress.errors import InputError
from platon_compress.export import export_onnx, int8, open_session
from platon_compress.export.int8 import Int8Setting, quantize_int8, read_int8_choice
from platon_compress.export.reading import load_proto
from platon_compress.scoring import accuracy_evaluation
from platon_compress.testing import tiny_transformer

FEATURES, CLASSES = 32, 6


def lopsided(path):
    """A linear classifier whose last column is a thousand times larger and scaled back after the product.

    One scale for the whole tensor leaves nothing of the other columns.
    """
    weight = np.random.default_rng(0).standard_normal((FEATURES, CLASSES)).astype(np.float32)
    scale = np.ones(CLASSES, np.float32)
    scale[-1] = 1e-3
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Mul", ["y", "s"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "lopsided",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weight / scale, "w"), numpy_helper.from_array(scale, "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))
    return weight


def examples(weight, sizes=(40, 40, 40)):
    rng = np.random.default_rng(1)
    batches = [{"x": rng.standard_normal((size, FEATURES)).astype(np.float32)} for size in sizes]
    return batches, [(batch["x"] @ weight).argmax(axis=1) for batch in batches]


def test_int8_copy_runs_and_is_silent(tmp_path, capfd, caplog):
    model, inputs = tiny_transformer("bert")
    dense = export_onnx(model, tmp_path / "dense.onnx", inputs).path
    feed = {name: value.numpy() for name, value in inputs.items()}
    path = tmp_path / "int8" / "dense-int8.onnx"
    choice = quantize_int8(dense, path, [feed])
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    before, after = ([n.op_type for n in onnx.load(file).graph.node] for file in (dense, path))
    assert "MatMulInteger" in after
    assert after.count("Attention") == before.count("Attention")  # the standard one is not to be quantised
    wanted = open_session(dense, use_library=False).run(None, feed)[0]
    got = open_session(path, use_library=False).run(None, feed)[0]
    assert abs(got - wanted).max() < 0.3
    assert [entry.name for entry in path.parent.iterdir()] == ["dense-int8.onnx"]
    assert read_int8_choice(path) == choice
    assert len(choice.scores) == 4
    assert choice.setting in choice.scores
    assert read_int8_choice(dense) is None


def test_the_more_accurate_setting_is_taken_and_the_faster_one_of_equals(tmp_path):
    weight = lopsided(tmp_path / "dense.onnx")
    batches, labels = examples(weight)
    choice = quantize_int8(tmp_path / "dense.onnx", tmp_path / "q.onnx", accuracy_evaluation(batches, labels))
    assert choice.setting.startswith("per channel, signed ")
    assert choice.chosen_by == "accuracy on 120 examples"
    per_tensor = [score for setting, score in choice.scores.items() if setting.startswith("per tensor")]
    assert max(per_tensor) < 0.6
    assert choice.scores[choice.setting] > 0.9
    session = open_session(tmp_path / "q.onnx", use_library=False)
    right = [session.run(None, b)[0].argmax(axis=1) == part for b, part in zip(batches, labels, strict=True)]
    assert np.concatenate(right).mean() == choice.scores[choice.setting]


@pytest.mark.parametrize(("lost", "taken_signed"), [(9, True), (20, False)])
def test_a_slower_setting_is_taken_only_where_it_is_certainly_better(lost, taken_signed):
    evaluation = accuracy_evaluation([{"x": np.zeros((256, 1))}], [np.zeros(256, int)])

    def scores(right):
        return evaluation.score([{"logits": np.stack([right, ~right], axis=1).astype(np.float32)}])

    signed, unsigned = (Int8Setting(per_channel=True, signed=s, reduce_range=False) for s in (True, False))
    best = np.arange(256) < 220
    other = best.copy()
    other[:lost], other[-3:] = False, True  # 9 lost and 3 won are 2.3 points, 1.7 standard errors
    equal = int8._not_worse({signed: scores(other), unsigned: scores(best)})
    assert int8._preferred(equal, {signed: 0.2, unsigned: 0.1}).signed == taken_signed


def test_without_labels_the_signed_setting_nearest_to_dense_is_taken(tmp_path):
    batches, _ = examples(lopsided(tmp_path / "dense.onnx"))
    choice = quantize_int8(tmp_path / "dense.onnx", tmp_path / "q.onnx", batches)
    assert choice.setting.startswith("per channel, signed ")
    assert choice.chosen_by == "difference from dense on 16 examples"
    signed = [score for setting, score in choice.scores.items() if ", signed " in setting]
    assert choice.scores[choice.setting] == min(signed)


def test_of_equals_the_signed_ones_are_taken_and_of_those_the_nearest_to_dense():
    """Unsigned weights are slower, and nearer outputs alone do not make up for that: a slow rival flatters."""
    near, far, unsigned, last = (
        Int8Setting(per_channel=c, signed=s, reduce_range=False) for s in (True, False) for c in (True, False)
    )
    away = {near: 0.3, far: 0.4, unsigned: 0.1, last: 0.2}
    assert int8._preferred(list(away), away) == near
    assert int8._preferred([last, unsigned], away) == unsigned


def test_scales_that_a_few_labels_prefer_are_not_taken_where_outputs_are_further_from_dense(tmp_path):
    """Half of the labels are the answers per channel, half and three more those per tensor."""
    dense = tmp_path / "dense.onnx"
    batches, right = examples(lopsided(dense), sizes=(120,))
    setting = Int8Setting(per_channel=False, signed=True, reduce_range=not int8._has_vnni())
    int8._quantize(load_proto(dense), tmp_path / "tensor.onnx", setting)
    (other,) = open_session(tmp_path / "tensor.onnx", use_library=False).run(None, batches[0])
    labels = np.concatenate([right[0][:57], other.argmax(axis=1)[57:]])
    choice = quantize_int8(dense, tmp_path / "q.onnx", accuracy_evaluation(batches, [labels]))
    assert choice.scores[setting.label] == max(choice.scores.values())
    assert choice.setting.startswith("per channel, signed ")
    assert choice.scores[setting.label] > choice.scores[choice.setting]


def test_examples_come_from_all_over():
    batches = [{"x": np.full((5, 1), place)} for place in range(20)]
    kept = int8._subset(batches)
    assert [int(batch["x"][0, 0]) for batch in kept] == [0, 5, 10, 15]
    assert [len(batch["x"]) for batch in kept] == [5, 5, 5, 1]
    assert [len(batch["x"]) for batch in int8._subset(batches[:2])] == [5, 5]


def test_a_setting_that_fails_is_named_and_left_out(tmp_path, monkeypatch):
    weight = lopsided(tmp_path / "dense.onnx")
    real = int8._quantize

    def fail(model, path, setting):
        if setting.per_channel:
            raise RuntimeError("no per-channel here\nmore")
        real(model, path, setting)

    monkeypatch.setattr(int8, "_quantize", fail)
    choice = quantize_int8(tmp_path / "dense.onnx", tmp_path / "q.onnx", examples(weight)[0])
    assert choice.setting.startswith("per tensor")
    assert set(choice.failed.values()) == {"no per-channel here"}


def test_wrong_files_are_refused(tmp_path, monkeypatch):
    batch = examples(lopsided(tmp_path / "dense.onnx"))[0]
    with pytest.raises(InputError, match="there is no model file"):
        quantize_int8(tmp_path / "nothing.onnx", tmp_path / "out.onnx", batch)
    with pytest.raises(InputError, match="there are no examples to choose int8 settings by"):
        quantize_int8(tmp_path / "dense.onnx", tmp_path / "out.onnx", [])
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"broken\.onnx cannot be read as an ONNX model"):
        quantize_int8(tmp_path / "broken.onnx", tmp_path / "out.onnx", batch)
    monkeypatch.setattr(int8, "_quantize", lambda model, path, setting: path.write_bytes(b"broken"))
    with pytest.raises(InputError, match=r"dense\.onnx could not be quantised: "):
        quantize_int8(tmp_path / "dense.onnx", tmp_path / "out.onnx", batch)
    assert not (tmp_path / "out.onnx").exists()
