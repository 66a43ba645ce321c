"""Serving a compressed model with numpy, onnxruntime and this package's wheel; no torch, no compiler.

python examples/raw_loop.py --output runs/raw-loop      # makes a model, where training is installed
python examples/deploy.py runs/raw-loop/compressed.onnx
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime

from platon_compress.export import open_session


def main(model: Path) -> None:
    """Answer one batch with our library and without it: the same file, the same answers."""
    session = open_session(model, threads=1)  # a plain onnxruntime.InferenceSession
    stock = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    feed = {entry.name: random_input(entry.shape, entry.type) for entry in session.get_inputs()}
    for name, opened in (("with the library", session), ("without it", stock)):
        opened.run(None, feed)
        start = time.perf_counter()
        logits = opened.run(None, feed)[0]
        print(f"{name}: classes {logits.argmax(-1).tolist()}, {1e3 * (time.perf_counter() - start):.2f} ms")
    difference = np.abs(session.run(None, feed)[0] - stock.run(None, feed)[0]).max()
    print(f"largest difference {difference:.1e}")


def random_input(shape: list[int | str], kind: str) -> np.ndarray:
    """Random values for one input; every axis that may vary (its size is a name) becomes 4."""
    sizes = [size if isinstance(size, int) else 4 for size in shape]
    generator = np.random.default_rng(0)
    if kind == "tensor(int64)":
        return generator.integers(1, 2, sizes)
    return generator.standard_normal(sizes, dtype=np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", default=Path("runs/raw-loop/compressed.onnx"))
    main(parser.parse_args().model)
