"""What `make` installs with: uv, told what pip is told, and the build of torch that fits this machine.

    python tools/environment.py torch                 install torch into the environment of this Python
    python tools/environment.py uv install ...        `uv pip install ...`, with pip's own indexes and folders

Needs nothing but Python's own library, pip and uv.
"""

import ast
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOR_UV = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", ""),
}
"""pip's settings that uv has too, under other names: variable, and what stands between several values."""
SECTIONS = ("global", "install", ":env:")
"""Of pip's settings: each overrules those before it."""
DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA, AMD and Windows' Linux: where one is there, a GPU is."""


def main(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    if words == ["torch"]:
        return torch()
    if words[:1] == ["uv"]:
        return subprocess.run(uv(words[1:]), env=settings(), check=False).returncode
    print(__doc__, file=sys.stderr)
    return 2


def uv(words: list[str]) -> list[str]:
    """uv's command line for this environment."""
    here = [] if "--python" in words else ["--python", sys.executable]
    return [str(Path(sys.executable).with_name("uv")), "pip", *words, *here]


def torch() -> int:
    """Install torch as constraints.txt has it, for the GPU that is here, or for the processor.

    PyTorch's own index has a build for each. Where it can't be reached, a CPU build is looked for in the places that
    pip knows; what a package index itself has comes last: on Linux it brings gigabytes of CUDA.
    """
    pinned = next(line for line in (ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
    # One more try is enough: a machine without a way to that index must not wait for it long.
    why = fault(["--torch-backend", "auto", pinned], {"UV_HTTP_RETRIES": "1"})
    if not why:
        return 0
    if platform.system() == "Linux" and not any(Path(driver).exists() for driver in DRIVERS):
        if not fault([f"{pinned}+cpu"]):
            print(f"torch: PyTorch's own index can't be used ({why}); took the CPU build that pip finds")
            return 0
        print(
            f"torch: PyTorch's own index can't be used ({why}), and pip finds no CPU build: taking the package "
            "index's, which brings gigabytes of CUDA. A CPU wheel in a folder that PIP_FIND_LINKS names spares that."
        )
    else:
        print(f"torch: PyTorch's own index can't be used ({why}); taking the package index's build")
    return subprocess.run(uv(["install", "--quiet", pinned]), env=settings(), check=False).returncode


def fault(wanted: list[str], more: Mapping[str, str] | None = None) -> str:
    """Why this can't be installed, in uv's last words; empty where it now is."""
    command, environment = uv(["install", "--quiet", *wanted]), {**settings(), **(more or {})}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    lines = [line.strip().removeprefix("cause: ") for line in done.stderr.splitlines() if line.strip()]
    return (lines[-1] if lines else f"exit {done.returncode}") if done.returncode else ""


def settings() -> dict[str, str]:
    """The environment for uv: this one, and what pip is told in files and variables. uv's own overrule."""
    told = pip_settings()
    made = dict(os.environ)
    for key, (variable, between) in FOR_UV.items():
        if value := told.get(key):
            made.setdefault(variable, between.join(value.split()) if between else value)
    if "UV_INDEX" in made and "extra-index-url" in told:
        # pip takes the best version of all its indexes.
        made.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return made


def pip_settings() -> dict[str, str]:
    """What pip is told by its files and variables, by the setting's name."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    by_section: dict[str, dict[str, str]] = {}
    for line in done.stdout.splitlines():
        name, sign, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if sign:
            by_section.setdefault(section, {})[key] = str(ast.literal_eval(value))
    return {key: value for section in SECTIONS for key, value in by_section.get(section, {}).items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
