"""The structure holds: imports go one way, the core names no modality, the public API is listed."""

import ast
import inspect
import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

import functa_core
from functa_core.modality import Modality

ROOT = Path(__file__).parents[1]
CORE = ROOT / "functa_core"
PLUGINS = [ROOT / "plugins" / f"functa-{name}" for name in ("images", "nerf", "sphere", "voxels")]
PLUGINS.append(ROOT / "examples" / "functa-terrain")  # a stranger's: it has no other rights

# A room may import from those below it.
ROOMS = [
    {"errors", "options", "files", "cache", "parallel", "console", "seeding", "blame"}
    | {"distributed", "prefetch", "keeping", "benchmark"}
    | {"dataset", "arrays", "sources", "observations", "coordinates"},
    {"modality", "modality_types"},
    {"networks"},
    {"meta"},
    {"functaset", "encoding", "baselines", "drawing", "latents"},
    {"bench"},
    {"tasks", "published"},
    {"discovery"},
    {"runs"},
    {"cli"},
    {"testing"},  # may import all, and nothing imports it: the command runs it as a process
]
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}


def room(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


IMPORTS = ast.Import | ast.ImportFrom


def imported_modules(where: Path | ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(where.read_text()) if isinstance(where, Path) else where):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(CORE.rglob("*.py")) if p.parent != CORE or room(p) in LEVEL],
    ids=lambda p: p.relative_to(CORE).as_posix(),
)
def test_imports_go_one_way(path):
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] != "functa_core" or len(parts) < 2 or parts[1] not in LEVEL:
            assert not parts[0].startswith("functa_") or parts[0] == "functa_core", module
            continue
        assert LEVEL[parts[1]] <= LEVEL[room(path)], f"{path.name} imports {module}"
        if room(path) == "discovery":  # it knows contracts, not what trains or reads files
            assert parts[1] in {"discovery", "modality", "tasks"} or LEVEL[parts[1]] == 0


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    """A command waits for torch; for the rest, a second and more, only if it needs it."""
    slow = {"sklearn", "matplotlib", "scipy", "skimage", "pandas", "zuko", "diffusers", "pyarrow"}
    for path in CORE.rglob("*.py"):
        at_once = [n for n in ast.parse(path.read_text()).body if isinstance(n, IMPORTS)]
        names = {name for node in at_once for name in imported_modules(node)}
        assert not slow & {name.split(".")[0] for name in names}, path


def test_the_core_names_no_modality():
    words = re.compile(r"\b(images?|voxels?|nerf|sphere|pixels?)\b", re.IGNORECASE)
    for path in CORE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                media_type = path.name == "report.py" and node.value == "image"
                if id(node) in docs or media_type:
                    continue
                assert not words.search(node.value), f"{path}: {node.value!r}"
            names = [getattr(node, key, None) for key in ("id", "attr", "name", "arg")]
            for name in filter(None, names):
                assert not (isinstance(name, str) and words.search(name)), f"{path}: {name}"


def test_nothing_here_unpickles():
    """One file reads pickles, opcode by opcode, with nothing but inert data within its reach."""
    machine = CORE / "published" / "unpickling.py"
    forbidden = {"pickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    packages = [path for plugin in PLUGINS for path in plugin.glob("functa_*/*.py")]
    for path in [*CORE.rglob("*.py"), *packages]:
        modules = imported_modules(path)
        assert not forbidden & {module.split(".")[0] for module in modules}, path
        assert ("pickletools" in modules) == (path == machine), path
        assert "allow_pickle=True" not in path.read_text(), path
    allowed = {"__future__", "attrs", "collections", "math", "numpy", "pathlib", "typing"}
    for path in (machine, machine.with_name("constructors.py")):
        outside = {module.split(".")[0] for module in imported_modules(path)}
        assert outside <= allowed | {"pickletools", "functa_core"}, path
        tree = ast.parse(path.read_text())
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called = {function.id for function in calls if isinstance(function, ast.Name)}
        assert not called & {"eval", "exec", "compile", "__import__", "setattr", "open"}, path


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: p.name)
def test_plugins_import_only_the_public_api(plugin):
    package = plugin.name.replace("-", "_")
    for path in (plugin / package).glob("*.py"):
        for module in imported_modules(path):
            head, _, rest = module.partition(".")
            if head == "functa_core" and rest:
                assert rest in functa_core.__all__, f"{path.name} imports {module}"
            assert not head.startswith("functa_") or head in ("functa_core", package)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: p.name)
def test_only_the_tests_of_a_plugin_use_the_conformance_kit(plugin):
    package, tests = plugin / plugin.name.replace("-", "_"), plugin / "tests"
    for path in package.rglob("*.py"):
        assert "functa_core.testing" not in imported_modules(path), path
    users = [p for p in tests.glob("*.py") if "functa_core.testing" in imported_modules(p)]
    assert users, f"{plugin.name} does not run the kit"


def test_the_public_api_is_this():
    assert functa_core.__all__ == sorted(
        [
            "API_VERSION",
            "ArrayFile",
            "Artefact",
            "Baseline",
            "Benchmark",
            "Box",
            "Codec",
            "DataSource",
            "Dataset",
            "Event",
            "Field",
            "Files",
            "Functaset",
            "Kept",
            "Material",
            "Mask",
            "Metric",
            "Modality",
            "NotApplicable",
            "Observations",
            "Outcome",
            "Published",
            "Run",
            "ShardWriter",
            "Spec",
            "Split",
            "State",
            "StoredFunctaset",
            "Task",
            "UnitSphere",
            "UserError",
            "__version__",
            "cached",
            "cached_all",
            "class_folders",
            "fingerprint",
            "decompress",
            "grid",
            "hookimpl",
            "load_classifier",
            "load_run",
            "option",
            "random_subset",
            "skip_notes",
            "sphere_grid",
            "train",
        ]
    )
    for name in functa_core.__all__:
        assert getattr(functa_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        functa_core.nothing  # noqa: B018


def test_public_things_are_documented():
    for name in functa_core.__all__:
        thing = getattr(functa_core, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and thing.__module__.startswith("functa_core"):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (inspect.isfunction(value)):
                    assert value.__doc__, f"{name}.{member}"


def test_tensor_functions_say_their_shapes():
    for member in ("forward", "loss", "decode", "held_out", "fitted"):
        function = vars(Modality)[member]
        text = function.__doc__ + " ".join(map(str, function.__annotations__.values()))
        assert re.search(r"\bB (N|\*shape)", text), member


def test_the_catalogue_is_true():
    rows = yaml.safe_load((ROOT / "registry.yaml").read_text())
    installed = {e.name: e for e in entry_points(group="functa")}
    for row in rows:
        entry = installed[row["name"]]
        assert entry.value == row["entry_point"]
        assert entry.dist.name == row["distribution"]
        assert (ROOT / row["source"] / "pyproject.toml").is_file()
        modality = entry.load().functa_modalities()[0]
        assert modality.api_version == row["api_version"]
        assert modality.name == row["name"]


@pytest.mark.slow
def test_loading_a_plugin_waits_for_nothing_that_draws_or_reads_meshes():
    """What takes longer to import than a plugin itself is imported where it is used."""
    names = [plugin.name.removeprefix("functa-") for plugin in PLUGINS]
    code = (
        "import json, sys\nfrom functa_core.discovery.loading import load_plugin\n"
        f"for name in {names}: load_plugin(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert {f"functa_{name}.modality" for name in names} <= loaded
    slow = {"matplotlib.figure", "trimesh", "skimage", "scipy", "xarray", "pandas", "healpy"}
    assert not (slow | {"imageio", "sympy", "torch._dynamo"}) & loaded


def test_files_are_of_a_readable_length():
    for path in [*CORE.rglob("*.py"), *(p for plugin in PLUGINS for p in plugin.rglob("*.py"))]:
        assert len(path.read_text().splitlines()) <= 450, path
