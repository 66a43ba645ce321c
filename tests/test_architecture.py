"""The structure that DESIGN fixes: import direction, public surface, what deploying may import."""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Lowest first: a room may import from rooms at or below its own place.
ROOMS = (
    "platon_compress.errors",
    "platon_compress.lazy",
    "platon_compress.limits",
    "platon_compress.budget",
    "platon_compress.progress",
    "platon_compress.files",
    "platon_compress.manifest",
    "platon_compress.yaml_file",
    "platon_compress.schemas",
    "platon_compress.scoring",
    "platon_compress.library",
    "platon_compress.testing",
    "platon_compress.structure",
    "platon_compress.file_names",
    "platon_compress.incoming",
    "platon_compress.selection",
    "platon_compress.pruning",
    "platon_compress.oneshot",
    "platon_compress.baking",
    "platon_compress.formats",
    "platon_compress.planning",
    "platon_compress.conversion",
    "platon_compress.compressed",
    "platon_compress.hub",
    "platon_compress.zeros",
    "platon_compress.export",
    "platon_compress.runtime",
    "platon_compress.measure",
    "platon_compress.report",
    "platon_compress.recipe",
    "platon_compress.recipes",
    "platon_compress.tasks",
    "platon_compress.pipeline",
    "platon_compress.cli",
    "platon_compress.__main__",
)
FOLDERS = {
    "platon_compress": "platon_compress",
    "platon_compress.export": "export",
}
PUBLIC = {
    "platon_compress": {"PruneConfig", "Pruner", "PlatonCallback", "PlanConfig", "bake", "plan", "convert"}
    | {"save_compressed", "load_compressed", "push_to_hub", "keep_zeros"},
    "platon_compress.export": {"export_onnx", "open_session", "session_options", "library_path", "verify"},
    "platon_compress.measure": {"run_benchmark"},
    "platon_compress.report": {"write_report"},
    "platon_compress.runtime": {"Runner", "load"},
}
# Beside the standard library: what running an exported folder may import, and the ground it stands on.
RUNTIME_NEEDS = {"numpy", "onnxruntime", "tokenizers", "PIL"}
RUNTIME_GROUND = (
    "platon_compress.lazy",
    "platon_compress.errors",
    "platon_compress.files",
    "platon_compress.limits",
    "platon_compress.progress",
    "platon_compress.export.session",
    "platon_compress.runtime",
)
TORCH_SIDE = ("export/torch_export.py", "export/parity.py")


def _modules() -> Iterator[tuple[str, Path]]:
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


MODULES = dict(_modules())


def _room(module: str) -> int:
    matches = [i for i, room in enumerate(ROOMS) if module == room or module.startswith(room + ".")]
    return max(matches, default=-1)


def _imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(module, at module level and not for typing only, line) of every import."""
    tree = ast.parse(path.read_text())
    lazy = {
        id(node)
        for parent in ast.walk(tree)
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(parent, ast.If) and "TYPE_CHECKING" in ast.dump(parent.test))
        for node in ast.walk(parent)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) not in lazy, node.lineno


def test_every_module_lives_in_a_known_room():
    homeless = [name for name in MODULES if name != "platon_compress" and _room(name) < 0]
    assert homeless == []


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"platon_compress"}))
def test_imports_go_one_way(name):
    for imported, _, line in _imports(MODULES[name]):
        if imported.startswith("platon_compress."):
            assert _room(imported) <= _room(name), f"{MODULES[name]}:{line} imports {imported}"


@pytest.mark.parametrize(
    "name",
    sorted(
        n
        for n in MODULES
        if n.startswith(("platon_compress.export", "platon_compress.measure", "platon_compress.report"))
    ),
)
def test_torch_is_imported_lazily_outside_the_first_room(name):
    heavy = [
        f"{MODULES[name]}:{line} imports {imported}"
        for imported, eager, line in _imports(MODULES[name])
        if eager and imported.split(".")[0] in ("torch", "transformers", "accelerate", "optimum")
    ]
    assert heavy == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("platon_compress.runtime")))
def test_the_runtime_stands_on_the_session_alone(name):
    for imported, _, line in _imports(MODULES[name]):
        first = imported.split(".")[0]
        known = imported.startswith(RUNTIME_GROUND) or first in RUNTIME_NEEDS | set(sys.stdlib_module_names)
        assert known, f"{MODULES[name]}:{line} imports {imported}"


@pytest.mark.parametrize("package", sorted(PUBLIC))
def test_public_surface_is_exactly_the_designed_one(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    for name in PUBLIC[package]:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_names_what_it_offers(name):
    tree = ast.parse(MODULES[name].read_text())
    assigned = {
        t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    defines = any(
        isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_") for n in tree.body
    )
    assert "__all__" in assigned or not defines, f"{MODULES[name]} has public names but no __all__"


def test_every_package_is_installed_and_one_folder_is_mapped():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert found == set(setuptools["packages"])
    assert setuptools["package-dir"] == {"platon_compress.export": "export"}


def test_deploying_imports_only_numpy_and_onnxruntime():
    """Rule: `open_session` works where nothing but numpy and onnxruntime is installed."""
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in BLOCKED: raise ImportError('blocked: ' + name)\n"
        "BLOCKED = {'torch','transformers','onnx','onnx_ir','onnxscript','scipy','pydantic','yaml','typer','rich',"
        "'jinja2','matplotlib','safetensors','accelerate','datasets','optimum','tokenizers','PIL'}\n"
        "sys.meta_path.insert(0, Block())\n"
        "import platon_compress\n"
        "from platon_compress.export import library_path, open_session, session_options\n"
        "from platon_compress.runtime import Runner, load\n"
        "print(library_path().name, session_options() is not None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "True"
