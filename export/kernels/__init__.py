"""The native kernels: C++ sources in `csrc`, the built library beside this file, ctypes access in `native`.

The library registers the domain `platon`, opset version 1.

`SparseLinear`, format_version 1: see `platon_compress.export.sparse_linear`.

`SparseLinear`, format_version 2, has two more optional attributes, `input_layout` and `output_layout`: "tokens"
(the default, what version 1 does) or "panels". In panels the values of a tensor lie feature-major in panels of
up to 64 tokens while its shape stays the same; such a tensor may only flow from a node that writes panels to nodes
that read panels (through shape-only nodes at most). Worth it between a feed-forward block's two layers, and for
Q, K and V, which then share one packed input. Below 8 tokens both layouts are the same, row-major.

`PackTokens`: X float32 [..., features] -> Y, the same shape in panels. As a function in standard operators it is
Identity, and a SparseLinear body ignores the layouts: without the library, all tensors are row-major.
"""

__all__: list[str] = []
