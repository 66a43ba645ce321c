"""What this machine and this installation have, and whether it works: processor, kernels, ONNX Runtime, packages."""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platon_compress.errors import PlatonError, first_line
from platon_compress.library import (
    kernel_names,
    kernel_seconds,
    kernel_supported,
    library_path,
    selected_kernel,
)
from platon_compress.measure.environment import bfloat16_flag, describe_environment, usable_cores

__all__ = ["Finding", "examine"]

_EXTRAS = {
    "torch": "to prune and convert",
    "transformers": "to prune and convert",
    "onnx": "to export",
    "onnxruntime": "to run and measure",
    "tokenizers": "platon_compress.runtime on texts",
    "pillow": "platon_compress.runtime on images",
    "datasets": "data sets by name",
}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """passed: None where there is nothing to pass, only something to know."""

    topic: str
    text: str
    passed: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def examine() -> Iterator[Finding]:
    """Everything that a bug report should hold, one finding after the other; the self-tests take seconds."""
    yield from _machine()
    yield from _kernels()
    yield from _runtime()
    yield from _packages()


def _machine() -> Iterator[Finding]:
    env = describe_environment()
    cores = f"{usable_cores()} of {env['cores_logical']} cores usable"
    yield Finding(topic="processor", text=f"{env['cpu_model']}, {cores}, {env['machine']}")
    if flag := bfloat16_flag():
        yield Finding(
            topic="bfloat16", text=f"multiplied in hardware ({flag}): train.bf16: true trains faster"
        )
    if caches := ", ".join(_caches()):
        yield Finding(topic="caches", text=caches)
    yield Finding(topic="system", text=f"{env['operating_system']}, Python {env['python']}")


def _caches() -> Iterator[str]:
    """`32K L1 data`, as Linux tells them."""
    for folder in sorted(_CACHES.glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            yield f"{size} L{level}" + (" data" if kind == "Data" else "")


def _kernels() -> Iterator[Finding]:
    try:
        names = kernel_names()
        chosen = selected_kernel()
    except PlatonError as error:
        yield Finding(topic="kernels", text=first_line(error), passed=False)
        return
    forced = os.environ.get("PLATON_FORCE_ISA")
    why = f"PLATON_FORCE_ISA={forced}" if forced else _why_chosen()
    missing = [name for name in names if not kernel_supported(name)]
    lacks = f"; not {', '.join(missing)}: this processor lacks instructions" if missing else ""
    yield Finding(topic="kernels", text=f"{chosen} ({why}) of {', '.join(names)}{lacks}")
    from platon_compress.measure.selftest import check_kernels

    for kernel, passed, text in check_kernels(min(2, usable_cores())):
        yield Finding(topic=f"self-test, {kernel}", text=text, passed=passed)


def _why_chosen() -> str:
    """A session measures what it chooses among; here the same is measured again."""
    seconds = kernel_seconds()
    if len(seconds) == 1:
        return "nothing else is for this processor"
    told = ", ".join(f"{name} {1e6 * value:.3g}" for name, value in seconds.items())
    return f"by a small product, in us: {told}"


def _runtime() -> Iterator[Finding]:
    try:
        import onnxruntime
    except ImportError:
        yield Finding(
            topic="ONNX Runtime", text="not installed: pip install 'platon-compress[cpu]'", passed=False
        )
        return
    providers = ", ".join(onnxruntime.get_available_providers())
    yield Finding(topic="ONNX Runtime", text=f"{onnxruntime.__version__}; {providers}")
    try:
        text, passed = _run_a_layer()
    except Exception as error:  # whatever ONNX Runtime or onnx raise is what the person has to know
        text, passed = first_line(error), False
    yield Finding(topic="a sparse layer in ONNX Runtime", text=text, passed=passed)


def _run_a_layer() -> tuple[str, bool | None]:
    """What was checked, with and without the library, and whether it passed. Raises what fails."""
    if importlib.util.find_spec("onnx_ir") is None:
        return f"not checked, onnx is not installed; the library lies at {library_path()}", None
    import numpy as np

    from platon_compress.export.testing import run_sparse_graph, sparse_graph

    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((64, 48)) * (rng.random((64, 48)) < 0.2)).astype(np.float32)
    model = sparse_graph("y = MatMul(x, w)", "float[n, 64] x", "float[n, 48] y", {"w": weight}, sparse="w")
    x = rng.standard_normal((70, 64)).astype(np.float32)
    for library in (True, False):
        given = run_sparse_graph(model, x, use_library=library)
        np.testing.assert_allclose(given, x @ weight, atol=1e-4)
    return "equal with our library and without", True


def _packages() -> Iterator[Finding]:
    found = describe_environment(packages=("platon-compress", "numpy", *_EXTRAS))["packages"]
    have = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Finding(topic="packages", text=have)
    if lacking := ", ".join(f"{name} ({_EXTRAS[name]})" for name in _EXTRAS if not found[name]):
        yield Finding(topic="not installed", text=lacking)
