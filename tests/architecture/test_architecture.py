"""The import rules and sizes of CONTRIBUTING.md, checked."""

import ast
import statistics
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN_FOLDERS = ("tasks", "judges", "reports")
OPEN_TO_PLUGINS = {"errors", "types", "text", "untrusted", "datasets", "stats"}
LAYERS = [
    {"errors", "measured"},
    {"types"},
    {"text"},
    {"untrusted", "extras"},
    {"hub", "datasets", "streams", "subsets", "answered", "variables", "questions"},
    {"stats"},
    {"schema", "folder", "journal", "costs"},
    {"integrity"},
    {"store"},
    {"recovery"},
    {"budget", "config", "nonces"},
    {"checkpoints"},
    {"sandbox"},
    {"registry"},
    {"backends"},
    {"merge"},
    {"fusion"},
    {"judgeplan"},
    {"labels", "confidence", "otherwise", "canaries", "cardfiles"},
    {"engines", "conversation", "plan"},
    {"caveats"},
    {"scoring"},
    {"columns", "written"},
    {"correcting", "cardparts"},
    {"cards", "frames", "pipeline", "progress", "importers", "terminal", "pairing"},
    {"gating", "itemscores", "transporting"},
    {"leaderboard", "flips"},
    {"nightly"},
    {"commands"},
    {"cli"},
]
HEAVY = {"torch", "transformers", "vllm", "openai", "ray", "lm_eval", "sklearn", "pandas", "datasets"}


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update({node.module} | {f"{node.module}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def modules(file: Path) -> set[str]:
    """First parts below `h3eval.` of what a file imports."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("h3eval.")} - {""}


def layer(name: str) -> int:
    return next(place for place, names in enumerate(LAYERS) if name in names)


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{file.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


def ids(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", sources(*PLUGIN_FOLDERS), ids=ids)
def test_plugins_see_only_the_vocabulary(file: Path) -> None:
    assert modules(file) <= OPEN_TO_PLUGINS | set(PLUGIN_FOLDERS)


@pytest.mark.parametrize("file", sources("h3eval"), ids=ids)
def test_layers_import_downward_only(file: Path) -> None:
    parts = file.relative_to(ROOT / "h3eval").with_suffix("").parts
    if parts[0] in ("__init__", "suites"):
        assert not modules(file)
        return
    known = {name for names in LAYERS for name in names}
    assert parts[0] in known, f"{parts[0]} has no layer: add it to LAYERS and CONTRIBUTING.md"
    for name in modules(file) & known - {parts[0]}:
        assert layer(name) <= layer(parts[0]), f"{ids(file)} imports {name}, which lies above it"


def test_merging_fusing_and_evaluating_hand_over_folders_only() -> None:
    """Each makes or reads a checkpoint; none needs another's code."""
    makers = {"merge": {"fusion"}, "fusion": {"merge"}}
    evaluating = {"pipeline", "scoring", "plan", "conversation", "store"}
    for maker, others in makers.items():
        for file in sources(f"h3eval/{maker}"):
            assert not modules(file) & (others | evaluating), ids(file)


def test_there_are_no_import_cycles() -> None:
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in sources("h3eval")}
    graph = {name: {each for each in imports(file) if each in names} - {name} for name, file in names.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join([*path, name])}"
        if name not in done:
            for each in graph[name]:
                visit(each, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_the_registry_loads_plugins() -> None:
    for file in sources("h3eval"):
        named = {name for name in imports(file) if name.split(".")[1:2] and name.split(".")[1] in PLUGIN_FOLDERS}
        assert not {name for name in named if name.startswith("h3eval.")}, ids(file)


def test_no_import_stands_inside_a_function() -> None:
    for file in sources("h3eval", *PLUGIN_FOLDERS):
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = [each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)]
                assert not inside, f"{ids(file)}: {node.name}"


def test_the_command_line_imports_nothing_heavy() -> None:
    light = ["cli", "extras", "registry", "config", "engines", "errors", "types", "text"]
    for name in light:
        found = {each.split(".")[0] for each in imports(ROOT / "h3eval" / f"{name}.py")}
        assert not found & (HEAVY | {"numpy", "scipy"}), name


def test_files_and_functions_stay_readable() -> None:
    files = sources("h3eval", *PLUGIN_FOLDERS)
    long = {ids(file): n for file in files if (n := len(file.read_text().splitlines())) > 400}
    assert not long
    sizes = dict(size for file in files for size in functions(file))
    assert not {name: size for name, size in sizes.items() if size > 60}
    assert statistics.median(sizes.values()) <= 10
    assert statistics.quantiles(sizes.values(), n=20)[-1] <= 40


def test_forbidden_names() -> None:
    for name in ("utils.py", "common.py", "base.py"):
        assert not list((ROOT / "h3eval").rglob(name))


def test_packages_are_all_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "h3eval").rglob("__init__.py")}
    assert declared == found | {f"h3eval.{folder}" for folder in PLUGIN_FOLDERS}
    for folder in PLUGIN_FOLDERS:
        assert not (ROOT / "h3eval" / folder).exists(), "would shadow the mapped folder"


def test_no_plugin_is_loaded_as_a_top_level_module() -> None:
    assert not {name for name in sys.modules if name.split(".")[0] in PLUGIN_FOLDERS}


def test_what_is_declared_and_not_imported_is_used_by_its_name() -> None:
    """deptry can't see these: a module that is loaded by name, a program, or texts that are read."""
    exempt = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["deptry"]["per_rule_ignores"]["DEP002"]
    names = {"scikit-learn": "sklearn"}
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources("h3eval", *PLUGIN_FOLDERS))
    # Asked for by transformers, of a tokenizer.model.
    for package in set(exempt) - {"sentencepiece"}:
        assert f'"{names.get(package, package).replace("-", "_")}' in text, f"{package}: in no string of the code"
