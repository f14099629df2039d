"""Programs of one zygote share nothing: each starts as the one before it did, whatever that has tried to leave.

And what a program can see of the machine: in namespaces nothing; under Landlock files' names, sizes and times, as
docs/sandbox.md says, and no content.
"""

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from h3eval.errors import NoSandbox
from h3eval.sandbox import tiers
from h3eval.sandbox.asserts import LIMITS
from h3eval.sandbox.jobs import Job
from h3eval.sandbox.runner import Jail
from h3eval.sandbox.turns import Turns
from h3eval.sandbox.wire import decode, encode

NUMBER = 123_456_789
LEAVE = f"""
import builtins, ctypes, fcntl, gc, json, os, random, resource, signal, socket, sys, threading, time
LIBC = ctypes.CDLL(None, use_errno=True)
def tries():
    # Its own two pipes end with it.
    for fd in (0, 1, 2, *range(5, 300)):
        yield lambda: os.lseek(fd, {NUMBER}, 0)
        for flags in (os.O_NONBLOCK, os.O_APPEND, os.O_ASYNC, os.O_DIRECT, os.O_NOATIME):
            yield lambda: fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | flags)
        for command in (fcntl.F_SETOWN, 10, 15, 1024, 1026, 1031, 1033, 1036, 1038):
            yield lambda: fcntl.fcntl(fd, command, 1)
        yield lambda: fcntl.flock(fd, fcntl.LOCK_EX)
        yield lambda: fcntl.lockf(fd, fcntl.LOCK_EX)
        yield lambda: os.write(fd, b'left')
        yield lambda: os.ftruncate(fd, 5)
        yield lambda: os.utime(fd, (1, 1))
        yield lambda: os.fchmod(fd, 0o600)
        yield lambda: os.set_inheritable(fd, True)
        yield lambda: fcntl.ioctl(fd, 0x5421, b'\\1\\0\\0\\0')
    for folder in ('/', '/tmp', '/dev', '/dev/shm', '/var/tmp', '/run', os.path.dirname(os.__file__), '.',
                   os.path.dirname(os.__file__) + '/site-packages', os.path.dirname(os.__file__) + '/dist-packages'):
        yield lambda: open(folder + '/left', 'x')
        yield lambda: os.open(folder, os.O_TMPFILE | os.O_RDWR)
        yield lambda: os.mkdir(folder + '/left_folder')
        yield lambda: os.link(os.__file__, folder + '/left_link')
        yield lambda: os.symlink('x', folder + '/left_symlink')
        yield lambda: os.mkfifo(folder + '/left_fifo')
        yield lambda: os.utime(folder, (1, 1))
        yield lambda: os.chdir(folder)
    yield lambda: os.utime(os.__file__, (1, 1))
    yield lambda: os.utime(os.devnull, (1, 1))
    yield lambda: os.umask(0o123)
    yield lambda: os.nice(3)
    yield lambda: os.sched_setaffinity(0, {{0}})
    yield lambda: os.environ.update(LEFT='1') or os.putenv('LEFT', '1')
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    yield lambda: LIBC.prctl(15, b'left', 0, 0, 0)
    yield lambda: LIBC.prctl(36, 1, 0, 0, 0)
    yield lambda: LIBC.syscall(29, 0x1eff, 4096, 0o1666)
    yield lambda: LIBC.syscall(240, b'/left', 0o102, 0o666, 0)
    yield lambda: LIBC.syscall(248, b'user', b'left', b'x', 1, -3)
    yield lambda: LIBC.syscall(319, b'left', 0)
    yield lambda: LIBC.syscall(135, 0x0040000)
    yield lambda: LIBC.syscall(251, 1, 0, 4)
    yield lambda: socket.socketpair()
    yield lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    yield lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 1000)
    yield lambda: random.seed({NUMBER})
    yield lambda: setattr(builtins, 'left', 1)
    yield lambda: setattr(json, 'left', 1)
    yield lambda: sys.modules.update(left=json)
    yield lambda: sys.setrecursionlimit(77)
    yield lambda: sys.path.append('left')
    yield lambda: sys.setswitchinterval(0.5)
    yield lambda: gc.disable()
    yield lambda: time.tzset()
def f(x):
    for each in tries():
        try: each()
        except (OSError, ValueError, AttributeError, OverflowError): pass
    return None
"""
LOOK = """
import builtins, ctypes, fcntl, gc, json, os, random, resource, signal, sys
def asked(call, *given):
    try: return call(*given)
    except OSError as error: return -error.errno
def listed(folder): return sorted(each for each in os.listdir(folder) if 'left' in each)
def f(x):
    found = {}
    for fd in (0, 1, 2):
        found[fd] = [asked(os.lseek, fd, 0, 1), asked(fcntl.fcntl, fd, fcntl.F_GETFL), asked(os.read, fd, 9)]
        held = os.stat(fd)
        found[fd] += [held.st_size, held.st_mtime_ns, held.st_atime_ns, held.st_mode]
    open_ = []
    for fd in range(3, 300):
        try: open_.append((fd, fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)))
        except OSError: pass
    name = ctypes.create_string_buffer(16)
    ctypes.CDLL(None).prctl(16, name, 0, 0, 0)
    folders = ('/', '/tmp', '/dev', '/dev/shm', '/var/tmp', '/run', os.path.dirname(os.__file__))
    found['files'] = [asked(listed, folder) for folder in folders]
    found['open'], found['name'] = open_, name.value
    found['times'] = os.stat(os.__file__).st_mtime_ns
    found['umask'] = [os.umask(0), os.umask(0)][0]
    found['process'] = [os.getcwd(), os.getpriority(0, 0), sorted(os.sched_getaffinity(0)), dict(os.environ)]
    found['limits'] = [resource.getrlimit(n) for n in range(16)]
    found['signals'] = [str(signal.getsignal(n)) for n in (10, 12, 14)] + [str(signal.pthread_sigmask(0, []))]
    found['timers'] = [signal.getitimer(n) for n in range(3)]
    found['random'] = [random.random() for _ in range(3)]
    found['python'] = [hasattr(builtins, 'left'), hasattr(json, 'left'), 'left' in sys.modules, sys.getrecursionlimit(),
                       sys.path, sys.getswitchinterval(), gc.isenabled(), len(sys.modules), len(gc.get_objects())]
    return found
"""


def made(name: str) -> Jail:
    try:
        return Jail(tiers.tier(name))
    except NoSandbox as error:
        pytest.skip(f"no {name} jail on this machine: {error}")


@pytest.fixture(params=tiers.NAMES)
def jail(request: pytest.FixtureRequest) -> Iterator[Jail]:
    with made(request.param) as opened:
        yield opened


def said(jail: Jail, code: str, *given: object) -> list[object]:
    """What a program answers to one input; its error's name after `!`."""
    found: list[bytes] = []
    job = Job(code, "f", encode(list(given)).encode() + b"\n", [5.0])
    jail.run(job, lambda index, text, used: not found.append(text))  # type: ignore[func-returns-value]
    return [each.decode() if each.startswith(b"!") else decode(each) for each in found]


def test_a_program_leaves_nothing_to_the_next(jail: Jail) -> None:
    """Every sample starts from the same, down to the numbers that `random` gives."""
    assert said(jail, LOOK, 1)  # a zygote's own memory settles with its first program
    before = said(jail, LOOK, 1)
    assert type(before[0]) is dict
    assert said(jail, LEAVE, 1) == [None]
    assert said(jail, LOOK, 1) == before
    with Jail(jail.tier) as other:
        assert said(other, LOOK, 1)[0]["random"] == before[0]["random"]  # type: ignore[index]


def test_standard_streams_lead_nowhere_and_may_be_written(jail: Jail) -> None:
    """As in EvalPlus, which swallows both."""
    code = """
import logging, os, sys, warnings
def f(x):
    for n in range(300):
        print('d' * 100, file=sys.stderr); print('d' * 100); os.write(2, b'd' * 1000); os.write(1, b'd' * 1000)
    logging.warning('seen'); warnings.warn('old'); sys.stderr.flush()
    with open(os.devnull, 'w') as nowhere: nowhere.write('x')
    return [os.read(0, 1), sys.stdin.read()]
"""
    assert said(jail, code, 1) == [[b"", ""]]


def test_descriptors_of_a_candidate_as_seen_from_outside(jail: Jail) -> None:
    """Three to nowhere, two pipes, and folders that can only be walked from; no open file is another process's too."""
    jobs = [Job("def f(x): return x", "f", b"", [5.0], limits=LIMITS, mode="calls") for _ in range(2)]
    with ExitStack() as held, Jail(jail.tier) as second:
        programs = [held.enter_context(Turns(each, job)) for each, job in zip((jail, second), jobs, strict=True)]
        for each in programs:
            assert each.ask(encode([[1], {}]).encode()) == b"1"
        pids = [each.meter.pid for each in programs]
        for pid in pids:
            found = {int(each.name): each for each in Path(f"/proc/{pid}/fd").iterdir()}
            kept = set(jail.tier.settings["keep"])
            assert set(found) == {0, 1, 2, 3, 4} | kept
            for fd in (0, 1, 2):
                assert os.readlink(found[fd]) == "/dev/null"
            assert all(os.readlink(found[fd]).startswith("pipe:") for fd in (3, 4))
            assert all(stat.S_ISDIR(os.stat(found[fd]).st_mode) for fd in kept)
            assert all(flags(pid, fd) & os.O_PATH for fd in kept)
        zygote = parent(pids[0])
        ours = [(os.getpid(), int(each)) for each in os.listdir("/proc/self/fd")]
        others = [(zygote, int(each)) for each in os.listdir(f"/proc/{zygote}/fd")]
        others += [(pids[1], fd) for fd in range(5)] + ours
        for fd in range(5):
            assert not [other for other in others if same_file((pids[0], fd), other)]
            assert not [other for other in range(5) if other != fd and same_file((pids[0], fd), (pids[0], other))]


def flags(pid: int, fd: int) -> int:
    (line,) = (each for each in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines() if each.startswith("flags:"))
    return int(line.split()[1], 8)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def same_file(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Is it one open file, with one place and one set of flags? The kernel compares for those who may trace both."""
    libc = ctypes.CDLL(None, use_errno=True)
    kcmp = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
    found = libc.syscall(kcmp, one[0], other[0], 0, one[1], other[1]) if kcmp else -1
    if found < 0:
        if ctypes.get_errno() == 9:
            return False  # closed meanwhile
        pytest.skip(f"kcmp: {os.strerror(ctypes.get_errno())}")
    return bool(found == 0)


def test_what_is_seen_of_files(jail: Jail, tmp_path: Path) -> None:
    """As docs/sandbox.md states: under Landlock names, sizes, times, links' targets; no content, no lists."""
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    (tmp_path / "there").write_text("x" * 1234)
    (tmp_path / "link").symlink_to("target")
    code = """
import os
def asked(call, *given):
    try: return call(*given)
    except OSError as error: return type(error).__name__
def f(folder):
    return {
        'size': asked(lambda: os.stat(folder + '/there').st_size), 'gone': asked(os.stat, folder + '/gone'),
        'target': asked(os.readlink, folder + '/link'), 'content': asked(lambda: open(folder + '/there').read()),
        'list': asked(os.listdir, folder), 'written': asked(lambda: open(folder + '/there', 'a')),
        'walked': asked(lambda: os.open('there', 0, dir_fd=os.open(folder, os.O_PATH))),
        'removed': asked(os.remove, folder + '/there'),
    }
"""
    (found,) = said(jail, code, str(tmp_path))
    nothing = dict.fromkeys(("size", "gone", "target", "content", "list", "walked"), "FileNotFoundError")
    seen = {
        "size": 1234, "gone": "FileNotFoundError", "target": "target", "content": "PermissionError",
        "list": "PermissionError", "walked": "PermissionError", "written": "PermissionError",
        "removed": "PermissionError",
    }  # fmt: skip
    hidden = {**nothing, "written": found["written"], "removed": "PermissionError"}  # type: ignore[index, call-overload]
    assert found == (seen if jail.tier.name == "landlock" else hidden)
    assert (tmp_path / "there").read_text() == "x" * 1234
