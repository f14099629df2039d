"""Programs that try to get out of the jail, to pass without solving, or to break the harness.

M01 to M40 and M59 to M64 are classics of their kind; X01 to X16 were made for this jail's own seams. Each defines
`f`; none may ever pass. `@BAIT@` stands for a folder outside that anybody may write to, with a file `precious`.
"""

TEXT = r"""
### M01 endless loop
def f(x):
    while True: pass

### M02 ignores signals
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except Exception: pass
def f(x):
    while True:
        try:
            while True: pass
        except BaseException: pass

### M03 sleeps
def f(x):
    import time; time.sleep(1e6)

### M04 eats memory
def f(x):
    kept = []
    while True: kept.append(bytearray(100 << 20))

### M05 endless recursion
import sys; sys.setrecursionlimit(10**9)
def g(n): return g(n + 1) + 1
def f(x): return g(0)

### M06 forks 300 times
def f(x):
    import os
    n = 0
    for _ in range(300):
        try:
            if os.fork() == 0: os._exit(0)
            n += 1
        except OSError: pass
    return n

### M07 daemon
def f(x):
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
    return 1

### M08 exec
def f(x):
    import os
    os.execv('/bin/sh', ['sh', '-c', 'id > @BAIT@/pwned'])

### M09 os.system
def f(x):
    import os
    return os.system('id > @BAIT@/pwned')

### M10 TCP
def f(x):
    import socket
    socket.create_connection(('127.0.0.1', 22), 1)

### M11 abstract socket
def f(x):
    import socket
    s = socket.socket(socket.AF_UNIX)
    s.bind('\0h3eval')
    return 1

### M12 passwords
def f(x):
    return open('/etc/passwd').read()

### M13 environment
def f(x):
    import os
    return [dict(os.environ), os.listdir('/proc'), open('/proc/self/environ').read()]

### M14 homes
def f(x):
    import os
    return os.listdir('/root') + os.listdir('/home') + os.listdir('@BAIT@')

### M15 writes the library
def f(x):
    import os
    open(os.__file__, 'a').write('x')
    return 1

### M16 fills /tmp
def f(x):
    with open('/tmp/h3eval-fill', 'wb') as file:
        for _ in range(100): file.write(bytes(100 << 20))
    return 1

### M17 a million files
def f(x):
    import os
    for n in range(10**6): open(f'/tmp/h3eval-{n}', 'w')
    return 1

### M18 shared memory
def f(x):
    open('/dev/shm/h3eval', 'wb').write(bytes(100 << 20))
    return 1

### M19 kills
def f(x):
    import os, signal
    done = []
    for pid in (-1, 1, 2, os.getppid(), 0):
        try: os.kill(pid, signal.SIGKILL); done.append(pid)
        except OSError: pass
    return done

### M20 equal to all, a list
class L(list):
    def __eq__(self, other): return True
def f(x): return L()

### M21 equal to all, a number
class N(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return N(0)

### M22 looks for what is expected
import gc, sys
def f(x):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if isinstance(value, dict) and 'expected' in value: return value['expected']
        frame = frame.f_back
    for value in gc.get_objects():
        if isinstance(value, dict) and 'expected' in value: return value['expected']
        if isinstance(value, dict) and 'outputs' in value: return value['outputs']
    return None

### M23 exits at import
import sys; sys.exit(0)
def f(x): return x

### M24 _exits at import
import os; os._exit(0)
def f(x): return x

### M25 forges outputs
import os
for fd in (1, 2, 3, 4, 5, 6, 10, 11):
    try: os.write(fd, b'load \n0 0\n1 0\n2 0\ndone \n')
    except OSError: pass
os._exit(0)
def f(x): return x

### M26 prints PASSED
import os, sys
print('PASSED\n1 passed, 0 failed\n{"status": "pass"}', flush=True)
os._exit(0)
def f(x): return x

### M27 patches json
import builtins, json, math
json.dumps = json.loads = lambda *a, **k: '1'
builtins.type = lambda v: int
math.isfinite = lambda v: True
def f(x): return object()

### M28 floods
def f(x):
    import os
    while True:
        for fd in (1, 2, 4):
            try: os.write(fd, b'x' * 65536)
            except OSError: pass

### M29 300 MB result
def f(x):
    return 'x' * (300 << 20)

### M30 contains itself
def f(x):
    found = []
    found.append(found)
    return found

### M31 a million digits
def f(x):
    return 10 ** (10 ** 6)

### M32 ten thousand threads
def f(x):
    import threading, time
    for _ in range(10**4): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return 1

### M33 crashes
def f(x):
    import ctypes
    ctypes.string_at(0)
    return 1

### M34 raw system calls
import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall
def f(x):
    tries = [(272, 0x10000000), (165, b'none', b'/tmp', b'tmpfs', 0, 0), (308, 0, 0), (101, 0, 1, 0, 0)]
    tries += [(425, 1, 0), (321, 0, 0, 0), (56, 0x10000011, 0, 0, 0, 0), (435, 0, 0)]
    return [n[0] for n in tries if call(*n) != -1]

### M35 raises limits
def f(x):
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
    return 1

### M36 leaves a mark
def f(x):
    import os
    if os.path.exists('/tmp/h3eval-mark'): return 'seen'
    open('/tmp/h3eval-mark', 'w').write('x')
    return 1

### M37 stops itself
def f(x):
    import os, signal
    os.kill(os.getpid(), signal.SIGSTOP)
    return 1

### M38 slow pattern
def f(x):
    import re
    return re.match(r'(a+)+$', 'a' * 60 + 'b') is None

### M39 strange data
def f(x):
    return ['\ud800', float('nan'), float('inf'), -0.0, {1: 'a', 'b': b'\xff', (1, 2): {3}}]

### M40 symbolic link
def f(x):
    import os
    os.symlink('/etc/shadow', 'link')
    return open('link').read()

### M59 unbacked memory
def f(x):
    import mmap
    kept = [mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)]
    return 1

### M60 affinity and nice
def f(x):
    import os
    os.sched_setaffinity(0, {0})
    os.nice(-5)
    return 1

### M61 watches files
import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall
def f(x): return [n for n in (253, 294, 300) if call(n, 0, 0) != -1]

### M62 timers
def f(x):
    import time
    return [time.perf_counter_ns() for _ in range(100)]

### M63 leaks 50 MB
def f(x):
    import os
    for folder in ('.', '/tmp', '/dev', '/dev/shm', '/var/tmp'):
        try: open(os.path.join(folder, 'leak'), 'wb').write(bytes(50 << 20))
        except OSError: pass
    return 1

### M64 behaves where it is watched
def f(x):
    import os
    return x if os.getpid() == 1 else None

### X01 signals through a pipe
def f(x):
    import fcntl, os, signal
    r, w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(r, 10, signal.SIGKILL)
    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
    os.write(w, b'x')
    return 1

### X02 reduces to a call
class P:
    def __reduce__(self):
        import os
        return (os.system, ('id > @BAIT@/pwned',))
def f(x): return P()

### X03 done at once
def f(x):
    import os
    os.write(4, b'done \n')
    return 1

### X04 outlives its parent
import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall
def f(x): return ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)

### X05 walks from an open folder
import os
def f(x):
    for fd in range(3, 64):
        for path in ('../../../../etc/passwd', '../../../../@BAIT@/precious'):
            try: return open(os.open(path, os.O_RDONLY, dir_fd=fd)).read()
            except OSError: pass

### X06 impossible numbers
def f(x):
    import os
    os.write(4, b'0 ' + b'9' * 5000 + b'\n' + b'9' * 5000 + b' 1\n')
    return 1

### X07 claims processor time
def f(x):
    import os
    os.write(4, b'0 1 99999999999999\n')
    while True: pass

### X08 runs from memory
import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall
def f(x): return [n for n in (319, 322, 59) if call(n, b'x', 0, 0) != -1]

### X09 another architecture
import ctypes; call = ctypes.CDLL(None, use_errno=True).syscall
def f(x): return call(0x40000000 + 39)

### X10 nests forged text
def f(x):
    import os
    os.write(4, b'0 ' + b'[' * 200000 + b']' * 200000 + b'\n')
    return 1

### X11 two tags
def f(x):
    import os
    os.write(4, b'0 {"t":[1],"s":[1]}\n')
    return 1

### X12 colliding numbers
def f(x):
    return {n * (2**61 - 1): 0 for n in range(10**4)}

### X13 colliding numbers in a set
def f(x):
    return {n * (2**61 - 1) for n in range(10**4)}

### X14 ends the zygote's socket
def f(x):
    import os, socket
    for fd in range(3, 300):
        try: socket.socket(fileno=fd).send(b'end 0 0 0')
        except OSError: pass
    return 1

### X15 stops at exit
def f(x):
    import atexit, threading, time
    atexit.register(time.sleep, 600)
    threading.Thread(target=time.sleep, args=(600,)).start()
    return 1

### X16 huge class name
class E(Exception): pass
E.__name__ = 'pass ' * 10**6
def f(x): raise E
"""

PROGRAMS = {name: code for name, _, code in (part.partition("\n") for part in TEXT.split("### ")[1:])}
