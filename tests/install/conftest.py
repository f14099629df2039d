"""What the tests of empty machines share: the wheel, tiny models to work on, and the table at the end."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import empty_machine
import pytest
import small_fusion
import tiny_models


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`git clone` of this repository: what is committed."""
    folder = tmp_path_factory.mktemp("clone") / "h3eval"
    subprocess.run(["git", "clone", "--quiet", str(empty_machine.ROOT), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files that are here, built once."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".venv", ".git", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(empty_machine.ROOT, folder / "source", ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(folder / "source")], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made elsewhere: a folder with a tiny `base`, three variants of it, and rows of text."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.llama(folder / "base", template=True, head_dim=32)
    small_fusion.experts(folder / "base", folder)
    for name in small_fusion.EXPERTS:
        for file in (folder / "base").iterdir():
            if not (folder / name / file.name).exists():
                shutil.copy(file, folder / name)
    small_fusion.rows(folder / "rows")
    return folder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of all environments."""
    if empty_machine.TABLE:
        terminalreporter.section("empty environments")
        for line in empty_machine.table():
            terminalreporter.write_line(line)
