"""The native kernels: C++ sources in `csrc`, the built library beside this file, ctypes access in `native`."""

__all__: list[str] = []
