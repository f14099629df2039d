"""What `make` installs with: pip's settings reach uv, and torch's build fits the machine."""

import sys
from pathlib import Path

import environment
import pytest

UV = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
  {refused}) echo "error: Request failed" >&2; echo "  cause: no way to that index" >&2; exit 2;;
esac
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pip.conf, and no settings but those in it."""
    for name in ("FIND_LINKS", "INDEX_URL", "EXTRA_INDEX_URL", "CONSTRAINT", "CERT", "TRUSTED_HOST"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    for name, _ in environment.FOR_UV.values():
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    return file


def test_uv_is_told_what_pips_files_say(bare: Path) -> None:
    bare.write_text(
        "[global]\nfind-links = /a/wheels\n    /b/wheels\nindex-url = http://localhost:1/simple\n"
        "extra-index-url = http://localhost:2/simple http://localhost:3/simple\n[install]\nconstraint = /c.txt\n"
    )
    made = environment.settings()
    assert made["UV_FIND_LINKS"] == "/a/wheels,/b/wheels"
    assert made["UV_DEFAULT_INDEX"] == "http://localhost:1/simple"
    assert made["UV_INDEX"] == "http://localhost:2/simple http://localhost:3/simple"
    assert made["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert made["UV_CONSTRAINT"] == "/c.txt"


def test_variables_overrule_files_and_uvs_own_overrule_pips(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.write_text("[global]\nfind-links = /a\nindex-url = http://localhost:1/simple\n[install]\nfind-links = /b\n")
    assert environment.settings()["UV_FIND_LINKS"] == "/b"
    monkeypatch.setenv("PIP_FIND_LINKS", "/c")
    assert environment.settings()["UV_FIND_LINKS"] == "/c"
    monkeypatch.setenv("UV_FIND_LINKS", "/d")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://localhost:9/simple")
    made = environment.settings()
    assert (made["UV_FIND_LINKS"], made["UV_DEFAULT_INDEX"]) == ("/d", "http://localhost:9/simple")


PINNED = next(line for line in (environment.ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
AUTO, CPU, ANY = f"*auto*{PINNED}*", f"*{PINNED}+cpu*", f"*{PINNED}*"


@pytest.mark.parametrize(
    ("refused", "gpu", "calls", "told"),
    [
        ("nothing", False, ["auto"], ""),
        ("nothing", True, ["auto"], ""),
        (AUTO, False, ["auto", "+cpu"], "took the CPU build that pip finds"),
        (f"{AUTO}|{CPU}", False, ["auto", "+cpu", "plain"], "gigabytes of CUDA"),
        (AUTO, True, ["auto", "plain"], "taking the package index's build"),
    ],
)
def test_the_build_of_torch(
    refused: str, gpu: bool, calls: list[str], told: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In the order index for this machine, CPU build, whatever there is: CUDA never silently where there is no GPU."""
    log = tmp_path / "log"
    (tmp_path / "uv").write_text(UV.format(log=log, refused=refused))
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for name in ("uv", "python"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(environment, "DRIVERS", (str(tmp_path),) if gpu else ())
    assert environment.torch() == 0
    asked = log.read_text().splitlines()
    kinds = ["auto" if "--torch-backend auto" in line else "+cpu" if "+cpu" in line else "plain" for line in asked]
    assert kinds == calls
    said = capsys.readouterr().out
    assert told in said
    assert len(said.splitlines()) == (1 if told else 0)
    assert not told or "no way to that index" in said


def test_what_cannot_be_installed_at_all_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uv").write_text(UV.format(log=tmp_path / "log", refused=ANY))
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for name in ("uv", "python"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert environment.torch() != 0
