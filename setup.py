"""Builds the operator library: one plain shared library that needs a C++17 compiler and nothing else.

Everything static is in pyproject.toml. ORT_INCLUDE_DIR=DIR additionally checks our mirror of ONNX Runtime's C ABI
against the official header in DIR.
"""

import os
import subprocess
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
_GNU_FLAGS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=off",  # 8-bit layers are the same bit by bit everywhere; kernels say themselves where they fuse
    "-g0",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-ffunction-sections",
    "-pthread",
    "-Wall",
    "-Wextra",
]


class BuildLibrary(build_ext):
    """Gives the extension the name of a plain library, and failures one clear line."""

    def get_ext_filename(self, ext_name: str) -> str:
        *packages, _ = ext_name.split(".")
        return str(Path(*packages) / _NAMES.get(sys.platform, "libplaton_ops.so"))

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols or []

    def build_extension(self, ext: Extension) -> None:
        if self.compiler.compiler_type == "msvc":
            ext.extra_compile_args = ["/std:c++17", "/O2", "/EHsc", "/W3"]
        else:
            ext.extra_compile_args = _GNU_FLAGS
            ext.extra_link_args = ["-pthread", *self._static_runtime()]
        try:
            super().build_extension(ext)
        except (CompileError, LinkError, PlatformError) as error:
            raise BaseError(_explain(error)) from error

    def _static_runtime(self) -> list[str]:
        """The C++ runtime goes into the library, unseen, where the compiler has it as an archive.

        Then a process may bring any libstdc++, or one older than the compiler's, as ONNX Runtime allows. Sections
        that nothing uses stay out, and with them what would ask for a newer C library.
        """
        archive = _printed([*self.compiler.compiler_so_cxx[:1], "-print-file-name=libstdc++.a"])
        if not sys.platform.startswith("linux") or not os.path.isabs(archive):
            return []
        return ["-static-libstdc++", "-Wl,--gc-sections", f"-Wl,--version-script={_SOURCES / 'exports.map'}"]

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


def _printed(command: list[str]) -> str:
    """What a compiler answers; empty when it does not run, which compiling will explain better."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


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
        depends=[
            str(path)
            for path in sorted(
                [*_SOURCES.rglob("*.h"), *_SOURCES.rglob("*.inc"), check, _SOURCES / "exports.map"]
            )
        ],
        language="c++",
        include_dirs=includes,
    )


setup(
    ext_modules=[_extension()],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
