"""One inference engine in a process of its own, told what to do over stdin, one line of JSON each way.

Stands alone: it is also run by the Python of another environment that holds only that engine, so nothing but
the standard library, numpy and the engine itself is imported (our package only for ONNX Runtime).

    first argument   {"engine", "model", "feed" (an .npz of the inputs), "threads", "device", "pin_threads",
                      "any_size", "calibration", "prepared"}
    on start         {"load_seconds", "first_seconds", "version"} or {"error"}
    {"do": "run", "runs", "pause_seconds"}     -> {"seconds": [...]}
    {"do": "run_for", "for_seconds"}           -> {"seconds": [...]}   back to back, no pause
    {"do": "memory"}                           -> {"rss_bytes", "pss_bytes", "peak_bytes"}, above the imports
    {"do": "answer", "batches", "out"}         -> {"batches": how many}   the outputs of every batch, in a file
    end of input                               the process ends

any_size: whether other sizes than the feed's will be asked for. calibration: batches that an 8-bit engine takes its ranges
from, else the feed; prepared: where it keeps the model that came of it, so that every process runs the same one.
A file of batches is an .npz of `0/name`, `1/name` ...: the number of the batch and the name of the array.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TextIO

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]  # our neighbours (config.py, size.py, ...) must not shadow an engine's own modules

import numpy as np

__all__ = ["main", "read_batches", "write_batches"]

_Feed = dict[str, Any]
_Run = Callable[[], object]
_Answer = Callable[[_Feed], _Feed]
_Loaded = tuple[_Run, _Answer]
"""One inference of the feed, as it is timed; and the outputs of another batch by name."""


def main(arguments: list[str]) -> int:
    """Serve one engine until the input ends."""
    out = _protected_stdout()
    request = json.loads(arguments[0])
    try:
        (run, answer), memory_before = _start(request, out)
    except Exception as error:  # whatever an engine raises becomes the peer's line in the result
        _answer(out, {"error": f"{type(error).__name__}: {_line(error)}"})
        return 0
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "answer":
            _answer(out, _answered(order, answer))
        else:
            _answer(out, _obey(order, run, memory_before))
    return 0


def _start(request: dict[str, Any], out: TextIO) -> tuple[_Loaded, dict[str, int]]:
    with np.load(request["feed"]) as stored:
        feed = {name: stored[name] for name in stored.files}
    load, version = _ENGINES[request["engine"]](request, feed)
    before = _memory()
    start = time.perf_counter()
    run, answer = load()
    loaded = time.perf_counter()
    run()
    done = time.perf_counter()
    _answer(out, {"load_seconds": loaded - start, "first_seconds": done - loaded, "version": version})
    return (run, answer), before


def _answered(order: dict[str, Any], answer: _Answer) -> dict[str, Any]:
    """What goes wrong here is a line too: an engine may refuse a size that it was not started with."""
    try:
        outputs = [answer(batch) for batch in read_batches(order["batches"])]
    except Exception as error:
        return {"error": f"{type(error).__name__}: {_line(error)}"}
    write_batches(order["out"], outputs)
    return {"batches": len(outputs)}


def write_batches(path: str, batches: Iterable[Mapping[str, Any]]) -> None:
    """A file of batches, arrays by name."""
    named = {f"{i}/{name}": np.asarray(a) for i, batch in enumerate(batches) for name, a in batch.items()}
    np.savez(path, **named)  # type: ignore[arg-type]


def read_batches(path: str) -> list[_Feed]:
    """The batches of a file, in their order."""
    batches: dict[int, _Feed] = {}
    with np.load(path) as stored:
        for key in stored.files:
            index, _, name = key.partition("/")
            batches.setdefault(int(index), {})[name] = stored[key]
    return [batches[index] for index in sorted(batches)]


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


def _onnxruntime(request: dict[str, Any], feed: _Feed) -> tuple[Callable[[], _Loaded], str]:
    """Threads that stay on their cores, as OpenVINO's do: after a pause that decides more than the kernels."""
    import onnxruntime

    from platon_compress.measure.sessions import open_on, pin_caller

    pin, device = request["pin_threads"], request["device"]

    def load() -> _Loaded:
        session = open_on(request["model"], threads=request["threads"], device=device, pin_threads=pin)
        if pin:
            pin_caller()
        needed = [value.name for value in session.get_inputs()]
        names = [value.name for value in session.get_outputs()]

        def answer(batch: _Feed) -> _Feed:
            return dict(zip(names, session.run(names, {name: batch[name] for name in needed})))  # noqa: B905

        return (lambda: session.run(None, feed)), answer

    return load, onnxruntime.__version__


def _torch(request: dict[str, Any], feed: _Feed) -> tuple[Callable[[], _Loaded], str]:
    """The architecture of config.json beside the model with random weights: they do not change dense times."""
    import torch
    import transformers

    torch.set_num_threads(request["threads"])
    config = transformers.AutoConfig.from_pretrained(os.path.dirname(request["model"]))
    make = _torch_model(transformers, config, feed)
    tensors = {name: torch.from_numpy(array) for name, array in feed.items()}

    def load() -> _Loaded:
        model = make().eval()

        def run() -> object:
            with torch.inference_mode():
                return model(**tensors)

        return run, _no_answer

    return load, torch.__version__


def _no_answer(batch: _Feed) -> _Feed:
    del batch
    raise NotImplementedError("this engine is only timed")


def _torch_model(transformers: Any, config: Any, feed: dict[str, Any]) -> Callable[[], Any]:
    if config.architectures:
        return lambda: getattr(transformers, config.architectures[0])(config)
    image = "pixel_values" in feed
    kind = "AutoModelForImageClassification" if image else "AutoModelForSequenceClassification"
    return lambda: getattr(transformers, kind).from_config(config)


def _openvino(request: dict[str, Any], feed: _Feed) -> tuple[Callable[[], _Loaded], str]:
    import openvino

    def load() -> _Loaded:
        return _compiled(_sized(openvino.Core().read_model(request["model"]), request, feed), request, feed)

    return load, openvino.__version__.split("-")[0]


def _openvino_int8(request: dict[str, Any], feed: _Feed) -> tuple[Callable[[], _Loaded], str]:
    """Weights and activations in 8 bits, with ranges that NNCF takes from the calibration, before loading begins."""
    import nncf
    import openvino

    prepared = request.get("prepared")
    if prepared and os.path.exists(prepared):
        model = openvino.Core().read_model(prepared)
    else:
        model = _quantized(nncf, openvino.Core().read_model(request["model"]), request, feed)
        if prepared:
            openvino.save_model(model, prepared, compress_to_fp16=False)
    version = f"{openvino.__version__.split('-')[0]}, NNCF {nncf.__version__}"
    return lambda: _compiled(_sized(model, request, feed), request, feed), version


def _quantized(nncf: Any, model: Any, request: dict[str, Any], feed: _Feed) -> Any:
    kind = None if "pixel_values" in feed else nncf.ModelType.TRANSFORMER
    if not request.get("calibration"):
        model = _sized(model, request, feed)
        return nncf.quantize(model, nncf.Dataset([feed]), model_type=kind, subset_size=1)
    names = {name for value in model.inputs for name in value.names}
    batches = [
        {name: array for name, array in batch.items() if name in names}
        for batch in read_batches(request["calibration"])
    ]
    return nncf.quantize(model, nncf.Dataset(batches), model_type=kind, subset_size=len(batches))


def _sized(model: Any, request: dict[str, Any], feed: _Feed) -> Any:
    """The model for the sizes of the feed alone, unless others will come."""
    if not request.get("any_size"):
        model.reshape({name: list(array.shape) for name, array in feed.items()})
    return model


def _compiled(model: Any, request: dict[str, Any], feed: _Feed) -> _Loaded:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": request["threads"],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    infer = compiled.create_infer_request()
    needed = [value.any_name for value in compiled.inputs]

    def answer(batch: _Feed) -> _Feed:
        outputs = infer.infer({name: batch[name] for name in needed})
        return {value.any_name: np.array(outputs[value]) for value in compiled.outputs}

    return (lambda: infer.infer(feed)), answer


def _deepsparse(request: dict[str, Any], feed: _Feed) -> tuple[Callable[[], _Loaded], str]:
    """Runs a copy with the input sizes written into it: the engine plans for fixed sizes."""
    import deepsparse
    import onnx

    batch = next(iter(feed.values())).shape[0]

    def load() -> _Loaded:
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
        return (lambda: engine.run(inputs)), _no_answer

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
