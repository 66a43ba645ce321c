"""One inference engine in a process of its own, told what to do over stdin, one line of JSON each way.

Stands alone: it is also run by the Python of another environment that holds only that engine, so nothing but
the standard library, numpy and the engine itself is imported (our package only for ONNX Runtime).

    first argument   {"engine", "model", "feed" (an .npz of the inputs), "threads", "device", "pin_threads"}
    on start         {"load_seconds", "first_seconds", "version"} or {"error"}
    {"do": "run", "runs", "pause_seconds"}     -> {"seconds": [...]}
    {"do": "run_for", "for_seconds"}           -> {"seconds": [...]}   back to back, no pause
    {"do": "memory"}                           -> {"rss_bytes", "pss_bytes", "peak_bytes"}, above the imports
    end of input                               the process ends
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]  # our neighbours (config.py, size.py, ...) must not shadow an engine's own modules

import numpy as np

__all__ = ["main"]

_Run = Callable[[], object]


def main(arguments: list[str]) -> int:
    """Serve one engine until the input ends."""
    out = _protected_stdout()
    request = json.loads(arguments[0])
    try:
        run, memory_before = _start(request, out)
    except Exception as error:  # whatever an engine raises becomes the peer's line in the result
        _answer(out, {"error": f"{type(error).__name__}: {_line(error)}"})
        return 0
    for line in sys.stdin:
        _answer(out, _obey(json.loads(line), run, memory_before))
    return 0


def _start(request: dict[str, Any], out: TextIO) -> tuple[_Run, dict[str, int]]:
    with np.load(request["feed"]) as stored:
        feed = {name: stored[name] for name in stored.files}
    load, version = _ENGINES[request["engine"]](request, feed)
    before = _memory()
    start = time.perf_counter()
    run = load()
    loaded = time.perf_counter()
    run()
    done = time.perf_counter()
    _answer(out, {"load_seconds": loaded - start, "first_seconds": done - loaded, "version": version})
    return run, before


def _obey(order: dict[str, Any], run: _Run, before: dict[str, int]) -> dict[str, Any]:
    if order["do"] == "memory":
        now = _memory()
        return {name: max(0, now[name] - before[name]) for name in now}
    if order["do"] == "run":
        return {"seconds": [_timed(run, order["pause_seconds"]) for _ in range(order["runs"])]}
    return {"seconds": list(_for(run, order["for_seconds"]))}


def _timed(run: _Run, pause_seconds: float) -> float:
    time.sleep(pause_seconds)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _for(run: _Run, seconds: float) -> Iterator[float]:
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        run()
        yield time.perf_counter() - start


def _onnxruntime(request: dict[str, Any], feed: dict[str, Any]) -> tuple[Callable[[], _Run], str]:
    """Threads that stay on their cores, as OpenVINO's do: after a pause that decides more than the kernels."""
    import onnxruntime

    from platon_compress.measure.sessions import open_on, pin_caller

    pin, device = request["pin_threads"], request["device"]

    def load() -> _Run:
        session = open_on(request["model"], threads=request["threads"], device=device, pin_threads=pin)
        if pin:
            pin_caller()
        return lambda: session.run(None, feed)

    return load, onnxruntime.__version__


def _torch(request: dict[str, Any], feed: dict[str, Any]) -> tuple[Callable[[], _Run], str]:
    """The architecture of config.json beside the model with random weights: they do not change dense times."""
    import torch
    import transformers

    torch.set_num_threads(request["threads"])
    config = transformers.AutoConfig.from_pretrained(os.path.dirname(request["model"]))
    make = _torch_model(transformers, config, feed)
    tensors = {name: torch.from_numpy(array) for name, array in feed.items()}

    def load() -> _Run:
        model = make().eval()

        def run() -> object:
            with torch.inference_mode():
                return model(**tensors)

        return run

    return load, torch.__version__


def _torch_model(transformers: Any, config: Any, feed: dict[str, Any]) -> Callable[[], Any]:
    if config.architectures:
        return lambda: getattr(transformers, config.architectures[0])(config)
    image = "pixel_values" in feed
    kind = "AutoModelForImageClassification" if image else "AutoModelForSequenceClassification"
    return lambda: getattr(transformers, kind).from_config(config)


def _openvino(request: dict[str, Any], feed: dict[str, Any]) -> tuple[Callable[[], _Run], str]:
    import openvino

    def load() -> _Run:
        return _compiled(_sized(openvino.Core().read_model(request["model"]), feed), request, feed)

    return load, openvino.__version__.split("-")[0]


def _openvino_int8(request: dict[str, Any], feed: dict[str, Any]) -> tuple[Callable[[], _Run], str]:
    """Weights and activations in 8 bits, with ranges that NNCF takes from the feed, before loading begins."""
    import nncf
    import openvino

    model = _sized(openvino.Core().read_model(request["model"]), feed)
    kind = None if "pixel_values" in feed else nncf.ModelType.TRANSFORMER
    quantized = nncf.quantize(model, nncf.Dataset([feed]), model_type=kind, subset_size=1)
    version = f"{openvino.__version__.split('-')[0]}, NNCF {nncf.__version__}"
    return lambda: _compiled(quantized, request, feed), version


def _sized(model: Any, feed: dict[str, Any]) -> Any:
    """The model for the sizes of the feed alone."""
    model.reshape({name: list(array.shape) for name, array in feed.items()})
    return model


def _compiled(model: Any, request: dict[str, Any], feed: dict[str, Any]) -> _Run:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": request["threads"],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    infer = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: infer.infer(feed)


def _deepsparse(request: dict[str, Any], feed: dict[str, Any]) -> tuple[Callable[[], _Run], str]:
    """Runs a copy with the input sizes written into it: the engine plans for fixed sizes."""
    import deepsparse
    import onnx

    batch = next(iter(feed.values())).shape[0]

    def load() -> _Run:
        model = onnx.load(request["model"])
        for declared in model.graph.input:
            dimensions = declared.type.tensor_type.shape.dim
            for dimension, size in zip(dimensions, feed[declared.name].shape):  # noqa: B905  # Python 3.9 runs this
                dimension.dim_value = size
        # Its ONNX Runtime ends at format 8 and opset 17; encoders use no operator that 18 changed.
        model.ir_version = min(model.ir_version, 8)
        for opset in model.opset_import:
            opset.version = min(opset.version, 17)
        inputs = [np.ascontiguousarray(feed[declared.name]) for declared in model.graph.input]
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "model.onnx")
            onnx.save(model, copy)
            engine = deepsparse.Engine(copy, batch, request["threads"])
        return lambda: engine.run(inputs)

    return load, deepsparse.__version__


_ENGINES = {
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "openvino": _openvino,
    "openvino-int8": _openvino_int8,
    "deepsparse": _deepsparse,
}


def _memory() -> dict[str, int]:
    """Resident, proportional and peak memory of this process in bytes; empty where there is no /proc."""
    names = {"VmRSS": "rss_bytes", "VmHWM": "peak_bytes", "Pss": "pss_bytes"}
    found = {}
    for path in ("/proc/self/status", "/proc/self/smaps_rollup"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(":")
            if key in names:
                found[names[key]] = int(value.split()[0]) * 1024
    return found


def _protected_stdout() -> TextIO:
    """Engines print; the answers go to a copy of stdout and everything else to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _answer(out: TextIO, content: dict[str, Any]) -> None:
    out.write(json.dumps(content) + "\n")
    out.flush()


def _line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0][:300]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
