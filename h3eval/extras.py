"""What a command needs and this machine lacks, as one line that says what to install.

Which package belongs to which extra is read from h3eval's own metadata, so that this can't differ from pyproject.toml.
"""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from h3eval.errors import MissingPackage

HERE = Path(__file__).parent
FOR_DEVELOPERS = "dev"
CORE = ""
"""Stands for the extra of what comes without one."""
OTHER_NAMES = {"sklearn": "scikit-learn", "vl_convert": "vl-convert-python", "yaml": "pyyaml"}
"""Distributions whose modules have another name. Dashes and underscores are the same anyway."""


def need(*modules: str, what: str) -> None:
    """Raise MissingPackage unless all these modules are installed; `what` needs them."""
    for module in modules:
        if not installed(module):
            raise MissingPackage(f"{what} needs {_named(module)}: {cure(module)}")


def installed(module: str) -> bool:
    """Can this top-level module be found? It is not imported."""
    try:
        return find_spec(module) is not None
    except ValueError:
        # Loaded, but by hand and without a spec: it is there.
        return True


def explained(error: Exception) -> str | None:
    """The line for an import that failed, or for a library that asks for another; None for any other fault.

    A package that is missing is told from one that is there and can't be loaded: the second is not mended by an extra.
    """
    chain = list(_chain(error))
    for each in reversed(chain):
        if module := _missing(each):
            return f"{_importer(each) or 'this command'} needs {_named(module)}: {cure(module)}"
        if _asks(each):
            return f"{_importer(each)}: {' '.join(str(each).split())}"
    failed = [each for each in reversed(chain) if isinstance(each, ImportError)]
    broken = next((name for each in failed if (name := _broken(each))), None)
    if broken is None:
        return None
    reason = next(iter(str(failed[0]).strip().splitlines()), type(error).__name__)
    return f"{_versioned(broken)} is installed but can't be loaded: {reason} (pip check says what does not fit)"


def extra_of(module: str) -> str | None:
    """The extra that brings a module: `CORE` where h3eval itself does, None where nothing does.

    Of several, the one that brings the least.
    """
    name = _plain(OTHER_NAMES.get(module, module))
    found = [extra for extra, brought in _extras().items() if name in brought and extra != FOR_DEVELOPERS]
    return min(found, key=lambda extra: (extra != CORE, len(_extras()[extra])), default=None)


def cure(module: str) -> str:
    """What installs a module."""
    extra = extra_of(module)
    if extra is None:
        return f"pip install {OTHER_NAMES.get(module, module)}"
    return f"pip install 'h3eval[{extra}]'" if extra else "pip install h3eval"


def _extras() -> dict[str, set[str]]:
    """Distributions by extra."""
    found: dict[str, set[str]] = {CORE: set()}
    try:
        lines = requires("h3eval") or []
    except PackageNotFoundError:
        # Run from a source tree that was never installed: nothing says what belongs to what.
        lines = []
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"""extra\s*==\s*["']([\w.-]+)["']""", line)
        found.setdefault(extra[1] if extra else CORE, set()).add(_plain(name[0] if name else line))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _named(module: str) -> str:
    return f"{OTHER_NAMES.get(module, module)}, which is not installed"


def _chain(error: Exception) -> Iterator[Exception]:
    """The error and those that it came from, the first cause last."""
    each: BaseException | None = error
    while isinstance(each, Exception):
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _asks(error: Exception) -> bool:
    """Does a library say what to install? Some raise ValueError for it."""
    return "pip install" in str(error) and bool(_importer(error))


def _missing(error: Exception) -> str | None:
    """The top-level module whose absence this error is about."""
    if isinstance(error, ImportError) and error.name:
        top = error.name.partition(".")[0]
        return top if isinstance(error, ModuleNotFoundError) and not installed(top) else None
    if not (isinstance(error, ImportError) or _asks(error)):
        return None
    # Libraries that look before they import say in words what they want. A path's parts are no such words.
    words = dict.fromkeys(re.findall(r"[A-Za-z_][\w-]*", re.sub(r"\S*[/\\]\S*", " ", str(error))))
    modules = (word.lower().replace("-", "_") for word in words)
    return next((each for each in modules if extra_of(each) is not None and not installed(each)), None)


def _broken(error: ImportError) -> str | None:
    """The top-level module that can't be loaded; None where it is h3eval."""
    frame = _innermost(error)
    importer = frame.f_globals.get("__name__", "") if frame else ""
    for name in (importer, error.name or ""):
        top = name.partition(".")[0]
        if top and top not in ("h3eval", "__main__", "importlib"):
            return top
    return None


def _importer(error: Exception) -> str:
    """Who wanted the module: a library, or a user's own file. Empty where it was h3eval."""
    frame = _innermost(error)
    if frame is None:
        return ""
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    file = Path(frame.f_code.co_filename)
    if top not in ("h3eval", "__main__"):
        return top
    return "" if file.is_relative_to(HERE) or _is_plugin(file) else str(file)


def _is_plugin(file: Path) -> bool:
    """Of ours: in a source checkout they lie beside the package."""
    return file.parent.parent == HERE.parent and file.parent.name in ("tasks", "judges", "reports")


def _innermost(error: BaseException) -> FrameType | None:
    """The frame whose import failed, beneath the import system's own."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if "importlib" not in frame.f_code.co_filename]
    return frames[-1] if frames else None


def _versioned(module: str) -> str:
    for name in packages_distributions().get(module, ()):
        return f"{module} {version(name)}"
    return module
