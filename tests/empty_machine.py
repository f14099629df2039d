"""A machine with nothing on it but Python, git and make, as far as a test can make one.

It has an empty home folder and so empty caches and settings, an environment of its own, and no variables but those that
say where packages come from. Packages that were downloaded before are not downloaded again.
"""

import functools
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import environment

ROOT = Path(__file__).parents[1]
CONSTRAINED = ("--constraint", str(ROOT / "constraints.txt"))
KEPT = ("LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES")
"""Variables of this machine, beside those of certificates, proxies, uv and OpenBLAS."""
KEPT_PARTS = ("_CERT", "CA_BUNDLE", "PROXY", "OPENBLAS_")


@dataclass
class Row:
    """One line of the table that is printed at the end."""

    name: str
    install_s: float = 0.0
    used_s: float = 0.0
    megabytes: float = 0.0


TABLE: list[Row] = []


@dataclass
class Machine:
    """An empty home and an environment in it; what is done there is timed."""

    name: str
    folder: Path
    row: Row = field(init=False)

    def __post_init__(self) -> None:
        self.row = Row(self.name)
        TABLE.append(self.row)
        for each in (self.home, self.work):
            each.mkdir(parents=True)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        """Where commands are given."""
        return self.folder / "work"

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    def make(self, *wanted: str) -> None:
        """Make the environment as the Makefile does, and install into it."""
        began = time.monotonic()
        uv = Path(sys.executable).with_name("uv")
        self.checked(str(uv), "venv", "--quiet", "--seed", "--python", str(python()), str(self.bin.parent))
        os.link(uv, self.bin / "uv")
        setup = [str(self.bin / "python"), str(ROOT / "tools" / "environment.py")]
        self.checked(*setup, "torch")
        if wanted:
            self.checked(*setup, "uv", "install", "--quiet", *wanted)
        self.row.install_s += time.monotonic() - began
        self.row.megabytes = megabytes(self.bin.parent)

    def h3eval(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run h3eval in `work`."""
        return self.run(str(self.bin / "h3eval"), *words, **more)

    def done(self, *words: str, code: int = 0) -> str:
        """What h3eval prints; it must end with this code."""
        ended = self.h3eval(*words)
        assert "Traceback" not in ended.stdout + ended.stderr, ended.stderr
        assert ended.returncode == code, f"{words}: exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout + ended.stderr

    def refused(self, *words: str) -> str:
        """h3eval's one line about what is not installed, which ends with code 2."""
        ended = self.h3eval(*words)
        assert ended.returncode == 2, f"{words}: exit {ended.returncode}\n{ended.stderr}"
        lines = ended.stderr.strip().splitlines()
        assert len(lines) == 1, ended.stderr
        return lines[0]

    def run(self, *command: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program as on that machine."""
        began = time.monotonic()
        ended = subprocess.run(
            command, cwd=cwd or self.work, env=self.environment() | more, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.row.used_s += time.monotonic() - began
        return ended

    def checked(self, *command: str) -> str:
        """What a program prints. It must succeed; its time counts as the caller says."""
        used = self.row.used_s
        ended = self.run(*command)
        self.row.used_s = used
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def environment(self) -> dict[str, str]:
        """Variables: where programs and packages are found, and nothing else."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if key in KEPT or key.startswith("UV_") or any(part in key.upper() for part in KEPT_PARTS)
        }
        own = {"HOME": str(self.home), "PATH": f"{python().parent}{os.pathsep}{os.environ['PATH']}"}
        return kept | sources() | own


@functools.cache
def python() -> Path:
    """The Python that the tests' own environment was made from."""
    return Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")


@functools.cache
def sources() -> dict[str, str]:
    """pip's settings and the folders of downloaded packages as variables: the files lie in a home that is not there."""
    told = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in environment.pip_settings().items()}
    uv = subprocess.run(
        [str(Path(sys.executable).with_name("uv")), "cache", "dir"], capture_output=True, text=True, check=True
    )
    pip = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True)
    return {**told, "UV_CACHE_DIR": uv.stdout.strip(), "PIP_CACHE_DIR": pip.stdout.strip()}


def megabytes(folder: Path) -> float:
    """Size of a folder's files."""
    return sum(file.lstat().st_size for file in folder.rglob("*")) / 1e6


def table() -> list[str]:
    """The lines of the table: environment, seconds, size."""
    lines = [f"{'environment':24} {'install s':>10} {'used s':>8} {'MB':>7}"]
    lines += [f"{row.name:24} {row.install_s:10.1f} {row.used_s:8.1f} {row.megabytes:7.0f}" for row in TABLE]
    return lines
