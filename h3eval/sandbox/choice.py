"""Which jail to use: the strongest that holds, proved by programs that try to get out. None that holds, none is used.

Each canary tries one thing from within, as a candidate would, and says whether it succeeded. One success is enough
to refuse.
"""

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from h3eval.errors import ConfigError, NoSandbox
from h3eval.sandbox import tiers
from h3eval.sandbox.jobs import Job, Limits
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.tiers import NAMES, UNSAFE, Tier
from h3eval.sandbox.wire import encode

CONSENT = "H3EVAL_UNSAFE"
"""The variable that must be 1, besides `--unsafe-code`, for a run without a jail."""
CONTAINERS = ("docker", "gvisor")
"""Not driven from here. A candidate's pipes reach its jail as open descriptors, a pair for each program, and its
limits and filter are set around them: no container takes these from outside, nor does gVisor."""
CANARIES = """
import ctypes, os, socket

def read_ours(file, mark): return open(file).read()
def read_passwords(file, mark): return open("/etc/passwd").read()
def list_home(file, mark): return os.listdir(os.path.expanduser("~root")) or os.listdir("/home")
def list_processes(file, mark): return os.listdir("/proc")
def write_temporary(file, mark): return open(mark, "w")
def write_library(file, mark): return open(os.__file__, "a")
def connect(file, mark): return socket.create_connection(("127.0.0.1", 9), 1)
def local_socket(file, mark): return socket.socket(socket.AF_UNIX)
def fork(file, mark):
    if os.fork() == 0:
        os._exit(0)
    return True
def execute(file, mark): return os.execv("/bin/sh", ["sh", "-c", "exit 0"])
def signal_parent(file, mark): return os.kill(os.getppid(), 0) is None
def raise_limits(file, mark):
    import resource
    return resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000)) is None
def new_namespace(file, mark):
    if ctypes.CDLL(None).unshare(0x10000000) != 0:
        raise OSError("refused")
    return True
def be_root(file, mark):
    if os.geteuid() != 0:
        raise OSError("not root")
    return True
def environment(file, mark):
    if not any(word in name for name in os.environ for word in ("KEY", "TOKEN", "HOME", "PATH")):
        raise OSError("empty")
    return True

def canary(name, file, mark):
    try:
        globals()[name](file, mark)
    except OSError:
        return False
    except ValueError:
        return False
    return True
"""
TRIES = (
    "read_ours", "read_passwords", "list_home", "list_processes", "write_temporary", "write_library",
    "connect", "local_socket", "fork", "execute", "signal_parent", "raise_limits", "new_namespace", "be_root",
    "environment",
)  # fmt: skip
PATIENCE_S = 2.0


@dataclass(frozen=True)
class Chosen:
    """A jail's kind that holds, and what was tried to find that out."""

    tier: Tier
    canaries: tuple[str, ...]

    @property
    def about(self) -> str:
        """One line, for manifests and reports."""
        if self.tier.name == UNSAFE:
            return "UNSANDBOXED: the model's programs ran with this user's rights"
        return f"{self.tier.name}; {len(self.canaries)} canaries held: {', '.join(self.canaries)}"


def choose(name: str = "auto") -> Chosen:
    """The named tier, or the strongest one. Raise NoSandbox with a line for each that does not hold."""
    if name == UNSAFE:
        return Chosen(_consented(), ())
    if name in CONTAINERS:
        raise NoSandbox(
            f"sandbox:{name}: containers are not started from here, so no program was executed; run h3eval itself in "
            "one, where sandbox:auto looks for a jail that holds"
        )
    if name not in ("auto", *NAMES):
        raise ConfigError(f"sandbox:{name}: known are auto, {', '.join(NAMES)}, and {UNSAFE}")
    failed = []
    for each in NAMES if name == "auto" else (name,):
        try:
            tier = tiers.tier(each)
            return Chosen(tier, probe(tier))
        except (NoSandbox, OSError) as error:
            failed.append(f"{each}: {str(error).removeprefix(f'{each}: ')}")
    raise NoSandbox(
        "no sandbox holds on this machine, so no program was executed:\n  " + "\n  ".join(failed)
        + f"\n  (--unsafe-code with {CONSENT}=1 runs them with your own rights)"
    )  # fmt: skip


def probe(tier: Tier) -> tuple[str, ...]:
    """The canaries, all of which were held. Raise NoSandbox naming those that got out."""
    mark = Path(tempfile.gettempdir(), f"h3eval-escaped-{secrets.token_hex(8)}")
    with Jail(tier) as jail:
        if jail.user == 0:
            raise NoSandbox("root could not be given up")
        out = [name for name in TRIES if not _held(jail, name, __file__, str(mark))]
    if mark.exists():
        mark.unlink()
        out.append("a file outside was written")
    if out:
        raise NoSandbox(f"the jail leaks: {', '.join(out)}")
    return TRIES


def _held(jail: Jail, name: str, file: str, mark: str) -> bool:
    """Was it refused? A canary that did not answer proves nothing, and counts as out."""
    answers: list[bytes] = []

    def hear(index: int, text: bytes, used: float) -> bool:
        answers.append(text)
        return True

    line = encode([name, file, mark]).encode() + b"\n"
    outcome = jail.run(Job(CANARIES, "canary", line, [PATIENCE_S], limits=Limits(seconds=PATIENCE_S)), hear)
    return outcome.end == "done" and answers == [b"false"]


def _consented() -> Tier:
    if os.environ.get(CONSENT) != "1":
        raise NoSandbox(
            f"--unsafe-code would run the model's programs with your own rights: it needs {CONSENT}=1 in the "
            "environment too"
        )
    return tiers.tier(UNSAFE)
