"""The native kernels: C++ sources in `csrc`, the built library beside this file, ctypes access in `native`.

The library registers the operators of `platon_compress.export.operators` under the domain `platon`.
"""

__all__: list[str] = []
