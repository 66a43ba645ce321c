"""Builds the operator library: one plain shared library that needs a C++17 compiler and nothing else.

Everything static is in pyproject.toml. ORT_INCLUDE_DIR=DIR additionally checks our mirror of ONNX Runtime's C ABI
against the official header in DIR.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CompileError, LinkError, PlatformError

_SOURCES = Path("export/kernels/csrc")
_NAMES = {"win32": "platon_ops.dll", "darwin": "libplaton_ops.dylib"}
_CURE = (
    "install one (Debian: apt install g++; macOS: xcode-select --install; Windows: Visual Studio Build Tools)"
)


class BuildLibrary(build_ext):
    """Gives the extension the name of a plain library, and failures one clear line."""

    def get_ext_filename(self, ext_name: str) -> str:
        *packages, _ = ext_name.split(".")
        return str(Path(*packages) / _NAMES.get(sys.platform, "libplaton_ops.so"))

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols or []

    def build_extension(self, ext: Extension) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = (
            ["/std:c++17", "/O2", "/EHsc", "/W3"]
            if msvc
            else [
                "-std=c++17",
                "-O3",
                "-g0",
                "-fvisibility=hidden",
                "-fvisibility-inlines-hidden",
                "-pthread",
                "-Wall",
                "-Wextra",
            ]
        )
        ext.extra_link_args = [] if msvc else ["-pthread"]
        try:
            super().build_extension(ext)
        except (CompileError, LinkError, PlatformError) as error:
            raise BaseError(_explain(error)) from error

    def copy_extensions_to_source(self) -> None:
        """Editable installs: rename into place, because a running process may have the old file mapped."""
        for ext in self.extensions:
            built = Path(self.build_lib) / self.get_ext_filename(ext.name)
            target = Path("export/kernels") / built.name
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            self.copy_file(str(built), str(temporary))
            temporary.replace(target)


class PlatformWheel(bdist_wheel):
    """The library talks C, not Python: one wheel per platform serves every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def _explain(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return (
        f"platon-compress: building the kernels needs a working C++17 compiler; {_CURE}; the failure: {first}"
    )


def _extension() -> Extension:
    sources = sorted(path for path in _SOURCES.rglob("*.cpp") if path.name != "abi_check.cpp")
    include = os.environ.get("ORT_INCLUDE_DIR")
    check = _SOURCES / "ort" / "abi_check.cpp"
    checks: list[Path] = [check] if include else []
    includes = [str(_SOURCES), *([include] if include else [])]
    return Extension(
        "platon_compress.export.kernels.platon_ops",
        sources=[str(path) for path in [*sources, *checks]],
        depends=[str(path) for path in [*sorted(_SOURCES.rglob("*.h")), check]],
        language="c++",
        include_dirs=includes,
    )


setup(
    ext_modules=[_extension()],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
