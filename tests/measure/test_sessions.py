import json

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.measure import sessions
from platon_compress.measure.sessions import DeviceUnavailableError, has_token_axis, make_inputs, open_on

TEXT = (
    {"name": "input_ids", "type": "tensor(int64)", "shape": ["batch", "sequence"]},
    {"name": "attention_mask", "type": "tensor(int64)", "shape": ["batch", "sequence"]},
    {"name": "token_type_ids", "type": "tensor(int64)", "shape": ["batch", "sequence"]},
    {"name": "position_ids", "type": "tensor(int32)", "shape": ["batch", "sequence"]},
)
IMAGE = ({"name": "pixel_values", "type": "tensor(float)", "shape": ["batch", 3, 32, 32]},)
OPEN_IMAGE = ({"name": "pixel_values", "type": "tensor(float)", "shape": ["batch", "c", "h", "w"]},)


def test_text_inputs():
    feed = make_inputs(TEXT, batch=2, tokens=5, config={"vocab_size": 7})
    assert {name: value.shape for name, value in feed.items()} == {entry["name"]: (2, 5) for entry in TEXT}
    assert feed["input_ids"].dtype == np.int64
    assert feed["input_ids"].max() < 7
    assert feed["attention_mask"].all()
    assert not feed["token_type_ids"].any()
    assert feed["position_ids"].dtype == np.int32
    assert feed["position_ids"][1].tolist() == [0, 1, 2, 3, 4]


def test_equal_seeds_give_equal_inputs():
    first, second = (make_inputs(TEXT, batch=1, tokens=9, seed=3) for _ in range(2))
    assert np.array_equal(first["input_ids"], second["input_ids"])


def test_image_inputs():
    assert make_inputs(IMAGE, batch=4, tokens=None)["pixel_values"].shape == (4, 3, 32, 32)
    config = {"num_channels": 1, "image_size": 8}
    assert make_inputs(OPEN_IMAGE, batch=2, tokens=None, config=config)["pixel_values"].shape == (2, 1, 8, 8)
    config = {"num_channels": 1, "image_size": [8, 16]}
    feed = make_inputs(OPEN_IMAGE, batch=2, tokens=None, config=config)
    assert feed["pixel_values"].shape == (2, 1, 8, 16)


def test_token_axis():
    assert has_token_axis(TEXT)
    assert not has_token_axis(IMAGE)
    assert not has_token_axis(({"name": "input_ids", "type": "tensor(int64)", "shape": ["b", 16]},))


@pytest.mark.parametrize(
    ("inputs", "arguments", "message"),
    [
        (OPEN_IMAGE, {}, r"pixel_values leaves axis 1 open; put config\.json beside the model file"),
        (
            ({"name": "x", "type": "tensor(float)", "shape": [1, 4]},),
            {},
            r"input x takes batch 1 only, got 2; set batch: \[1\]",
        ),
        (
            ({"name": "x", "type": "tensor(string)", "shape": ["b"]},),
            {},
            r"input x of type tensor\(string\) cannot be generated",
        ),
        (TEXT, {"config": {"max_position_embeddings": 4}}, "tokens=5 is more than the model's 4 positions"),
    ],
)
def test_impossible_inputs_are_refused(inputs, arguments, message):
    with pytest.raises(InputError, match=message):
        make_inputs(inputs, batch=2, tokens=5, **arguments)


def test_config_beside_the_model(tmp_path):
    assert sessions.read_config(tmp_path) == {}
    (tmp_path / "config.json").write_text("[1")
    assert sessions.read_config(tmp_path) == {}
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 3}))
    assert sessions.read_config(tmp_path) == {"vocab_size": 3}


def test_broken_file_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"m\.onnx"):
        open_on(tmp_path / "m.onnx")


def test_inactive_device_is_never_replaced_by_the_cpu(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    message = (
        "cuda not measured: CUDAExecutionProvider is not active .*only CPUExecutionProvider.*extra .gpu."
    )
    with pytest.raises(DeviceUnavailableError, match=message):
        open_on(tmp_path / "m.onnx", device="cuda")


def test_provider_that_falls_back_in_the_session_is_refused(tmp_path, monkeypatch):
    import onnxruntime

    from platon_compress.export import session

    class Fallen:
        def get_providers(self):
            return ["CPUExecutionProvider"]

    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(session, "open_session", lambda *args, **kwargs: Fallen())
    with pytest.raises(DeviceUnavailableError, match="cuda not measured"):
        open_on(tmp_path / "m.onnx", device="cuda")


def test_failed_run_names_file_and_shapes():
    class Broken:
        def run(self, outputs, feed):
            raise RuntimeError("index out of range\nmore")

    with pytest.raises(InputError, match=r"m does not run on ids\[1, 2\] \(index out of range\)"):
        sessions.run_once(Broken(), {"ids": np.zeros((1, 2))}, "m")
