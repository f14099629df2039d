"""A package that is missing, and one that is there and broken, are told apart; each is one line."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from h3eval import extras, registry
from h3eval.errors import MissingPackage

ROOT = Path(__file__).parents[2]
FOLDERS = ("h3eval", "tasks", "judges", "reports")
PACKAGES = {
    "wants_another": "import nowhere_to_be_found\n",
    "too_old": "from json import of_a_later_version\n",
    "no_library": "raise ImportError('libcudart.so.13: cannot open shared object file: No such file or directory')\n",
    "in_words": "raise ImportError('Loading this requires Accelerate: pip install \\'accelerate>=1\\'')\n",
    "in_words_of_a_path": "raise ImportError('cannot load /home/me/vllm/lib/extension.so')\n",
    "lazily": "try:\n    import peft\nexcept ImportError as error:\n    raise ImportError('see above') from error\n",
    "asks": "raise ValueError('accelerate is required for this: `pip install accelerate`.')\n",
    "asks_for_more": "raise RuntimeError('No kernels.\\nTry `pip install kernels-of-nobody`')\n",
    "complains": "raise ValueError('peft is not what it was')\n",
    "whole": "",
}


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """What is said of a statement that can't be carried out, where those packages are and some others are not."""
    for name, text in PACKAGES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("peft", "accelerate", "vllm"):
        monkeypatch.setitem(sys.modules, name, None)

    def said(
        statement: str, file: str = str(extras.HERE / "anywhere.py"), module: str = "h3eval.anywhere"
    ) -> str | None:
        with pytest.raises((ImportError, ValueError, RuntimeError)) as caught:
            exec(compile(statement, file, "exec"), {"__name__": module})
        return extras.explained(caught.value)

    return said


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("import peft", "this command needs peft, which is not installed: pip install 'h3eval[fuse]'"),
        ("import peft.tuners.lora", "this command needs peft, which is not installed: pip install 'h3eval[fuse]'"),
        ("from vllm import LLM", "this command needs vllm, which is not installed: pip install 'h3eval[vllm]'"),
        ("import lazily", "lazily needs peft, which is not installed: pip install 'h3eval[fuse]'"),
        ("import in_words", "in_words needs accelerate, which is not installed: pip install 'h3eval["),
        ("import asks", "asks needs accelerate, which is not installed: pip install 'h3eval["),
        ("import asks_for_more", "asks_for_more: No kernels. Try `pip install kernels-of-nobody`"),
        (
            "import wants_another",
            "wants_another needs nowhere_to_be_found, which is not installed: pip install nowhere_to_be_found",
        ),
        (
            "import too_old",
            "too_old is installed but can't be loaded: cannot import name 'of_a_later_version' from 'json'",
        ),
        (
            "import no_library",
            "no_library is installed but can't be loaded: libcudart.so.13: cannot open shared object",
        ),
        ("import in_words_of_a_path", "in_words_of_a_path is installed but can't be loaded: cannot load /home/me/vllm"),
        ("import whole.gone", "whole is installed but can't be loaded: No module named 'whole.gone'"),
        ("from whole import gone", "whole is installed but can't be loaded: cannot import name 'gone'"),
    ],
)
def test_what_is_said_of_an_import_that_fails(line: object, statement: str, told: str) -> None:
    assert callable(line)
    said = line(statement)
    assert said.startswith(told)
    assert "\n" not in said


@pytest.mark.parametrize(
    "statement",
    [
        "from h3eval.text import nothing_of_that_name",
        "import h3eval.nothing",
        "raise ValueError('pip install accelerate, says our own code')",
        "import complains",
        "int('x')",
    ],
)
def test_a_fault_of_our_own_is_not_explained_away(line: object, statement: str) -> None:
    assert callable(line)
    assert line(statement) is None


def test_a_plugin_that_wants_another_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "capitals.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.setattr(registry, "_folders", {})
    registry.include(tmp_path)
    with pytest.raises(ImportError) as caught:
        registry.load("tasks", "capitals")
    assert (extras.explained(caught.value) or "").startswith(f"{tmp_path}/capitals.py needs nowhere_to_be_found, ")


def test_looking_before_leaping_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    extras.need("torch", "numpy", what="anything")
    with pytest.raises(MissingPackage, match=re.escape("an adapter needs peft, which is not installed: pip install")):
        extras.need("torch", "peft", what="an adapter")


def test_all_that_is_imported_has_a_line() -> None:
    """Whatever is missing of what this package imports, something to install is named for it."""
    named = set()
    for file in (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                named.add(node.module.partition(".")[0])
    foreign = named - sys.stdlib_module_names - {"h3eval"}
    assert {"torch", "peft", "numba", "vllm"} <= foreign
    assert not {name for name in foreign if extras.extra_of(name) is None}


def test_of_several_extras_the_core_comes_first_and_then_the_least() -> None:
    assert extras.extra_of("datasets") == extras.CORE
    assert extras.extra_of("yaml") == extras.CORE
    assert extras.extra_of("trl") == "fuse"
    assert extras.extra_of("pytest") is None, "developers' tools are no cure"


@pytest.mark.parametrize(
    ("words", "module", "extra"), [("merge x.yaml", "numba", "merge"), ("fuse presets", "trl", "fuse")]
)
def test_on_the_command_line_it_is_one_line_and_code_2(words: str, module: str, extra: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from h3eval.cli import main; sys.exit(main({words.split()}))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    expected = f"h3eval: this command needs {module}, which is not installed: pip install 'h3eval[{extra}]'\n"
    assert ended.stderr == expected


def test_a_broken_package_is_not_called_missing_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 2.3 or less')\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from h3eval.cli import main; sys.exit(main(['merge', 'x']))"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "is installed but can't be loaded: Numba needs NumPy 2.3 or less" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
